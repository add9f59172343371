"""Search: how many groups each block keeps, so that the summed error is least within a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headsmith.errors import BudgetError
from headsmith.pruning.budget import Floors
from headsmith.pruning.sensitivity import Sensitivity
from headsmith.spec.cost import BlockShape

__all__ = ["allocate", "choices"]

_NO_FLOORS = Floors()
_UNITS = 4000  # resolution of the budget in the dynamic program


def choices(count: int, kind: str, least: int = 0) -> list[int]:
    """Sizes a block may be cut to: any number of heads, neurons in steps that kernels like."""
    step = 1
    if kind == "neurons":
        # Matrix kernels work in tiles: multiples of 32 ran up to 7% faster at equal FLOPs.
        step = 32 if count >= 512 else max(1, count // 16)
    return sorted(c for c in {*range(0, count, step), least, count} if least <= c <= count)


def allocate(
    shapes: Sequence[BlockShape],
    sensitivities: Mapping[str, Sensitivity],
    cost: Callable[[BlockShape, int], float],
    budget: float,
    floors: Floors = _NO_FLOORS,
) -> dict[str, int]:
    """Choose a size for each block by dynamic programming.

    Args:
        shapes: the blocks.
        sensitivities: error of each block at some sizes.
        cost: what a block costs at a size (FLOPs, parameters, …).
        budget: the most that all may cost together.
        floors: what every block keeps at least.

    Returns:
        Block name → groups kept. The costs never add up to more than `budget`.

    Raises:
        BudgetError: even the smallest sizes cost more than the budget.
    """
    unit = budget / _UNITS
    best = np.zeros(_UNITS + 1)
    taken: list[NDArray[np.int64]] = []
    spending: list[list[int]] = []
    for shape in shapes:
        sizes = choices(shape.count, shape.kind, floors.of(shape))
        errors = sensitivities[shape.name].at(sizes)
        # Rounded up, so that the whole never exceeds the budget.
        units = [int(np.ceil(cost(shape, s) / unit - 1e-9)) for s in sizes]
        table = np.full((len(sizes), _UNITS + 1), np.inf)
        for row, (error, spent) in enumerate(zip(errors, units, strict=True)):
            if spent <= _UNITS:
                table[row, spent:] = best[: _UNITS + 1 - spent] + error
        choice = table.argmin(0)
        best = table[choice, np.arange(_UNITS + 1)]
        taken.append(choice)
        spending.append(units)
    if not np.isfinite(best[_UNITS]):
        least = sum(cost(s, choices(s.count, s.kind, floors.of(s))[0]) for s in shapes)
        whole = sum(cost(s, s.count) for s in shapes)
        raise BudgetError(
            f"No plan meets this budget: what the floors keep costs {least / whole:.1%} of the "
            f"unpruned blocks. Received a budget of {budget / whole:.1%}. Raise it, or lower the "
            "floors."
        )
    left = _UNITS
    kept: dict[str, int] = {}
    for shape, choice, units in reversed(list(zip(shapes, taken, spending, strict=True))):
        index = int(choice[left])
        kept[shape.name] = choices(shape.count, shape.kind, floors.of(shape))[index]
        left -= units[index]
    return _fill(shapes, sensitivities, cost, budget, kept)


def _fill(
    shapes: Sequence[BlockShape],
    sensitivities: Mapping[str, Sensitivity],
    cost: Callable[[BlockShape, int], float],
    budget: float,
    kept: dict[str, int],
) -> dict[str, int]:
    """Spend what rounding left over on the steps that lower the error most for their cost."""
    kept = dict(kept)
    spare = budget * (1 + 1e-12) - sum(cost(s, kept[s.name]) for s in shapes)
    while True:
        best: tuple[float, str, int, float] | None = None
        for shape in shapes:
            now = kept[shape.name]
            larger = next(
                (c for c in choices(shape.count, shape.kind, shape.least) if c > now), None
            )
            price = np.inf if larger is None else cost(shape, larger) - cost(shape, now)
            if larger is None or price > spare:
                continue
            errors = sensitivities[shape.name].at([now, larger])
            gain = float(errors[0] - errors[1]) / max(price, 1e-30)
            if best is None or gain > best[0]:
                best = gain, shape.name, larger, price
        if best is None:
            return kept
        _, name, size, price = best
        kept[name] = size
        spare -= price
