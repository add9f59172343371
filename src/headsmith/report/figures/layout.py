"""What the pictures share: sizes, so that their layers stand in line, and round numbers."""

from __future__ import annotations

import math

__all__ = ["LABEL", "WIDTH", "ticks"]

WIDTH = 760.0
LABEL = 72.0
"""Room for "Layer 12" on the left."""


def ticks(low: float, high: float) -> list[float]:
    """Four to seven round numbers that hold both."""
    spread = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(spread / 4))
    step = next(power * m for m in (1, 2, 5, 10) if spread / (power * m) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return [round(i * step, 10) for i in range(first, last + 1)]
