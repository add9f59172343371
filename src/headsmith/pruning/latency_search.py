"""Search for a plan that takes a given fraction of the model's time on this device.

The table of block times says what sizes should cost; the clock has the last word. The plan is
cut into a copy, both are timed in turns until it is known within half a percent how they compare,
and the difference corrects the next search. A plan that lands is timed once more before it is
believed: of several unsteady measurements the one closest to the target is the luckiest, not the
truest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from headsmith.errors import BudgetError
from headsmith.pruning.block_times import block_times
from headsmith.pruning.budget import Floors
from headsmith.pruning.families import Description
from headsmith.pruning.latency import Ratio, ratio
from headsmith.pruning.search import allocate
from headsmith.pruning.sensitivity import Sensitivity
from headsmith.pruning.sharing import twin
from headsmith.pruning.surgery import apply_plan
from headsmith.spec.plan import PrunePlan

__all__ = ["within_latency"]

_TOLERANCE = 0.02
_ATTEMPTS = 6
_SECONDS = 30.0
_TABLE_SECONDS = 6.0


def within_latency(
    model: nn.Module,
    description: Description,
    sensitivities: Mapping[str, Sensitivity],
    fraction: float,
    plan_of: Callable[[Mapping[str, int]], PrunePlan],
    *,
    batch: int,
    length: int,
    floors: Floors,
    progress: Callable[[str, int, int], None],
) -> PrunePlan:
    """Find the plan of least error that takes `fraction` of the model's time.

    Args:
        model: the unpruned model; left as it was.
        description: what `describe` says of it.
        sensitivities: error of each block by size.
        fraction: of the time of one forward call to keep.
        plan_of: makes a plan of block name → groups kept.
        batch: sequences a call.
        length: tokens a sequence.
        floors: what every block keeps at least.
        progress: told how far the work is.

    Returns:
        The plan whose measured time, confirmed by a second measurement, came closest; within 2%
        of the target unless the clock is too unsteady, or sizes are too coarse.

    Raises:
        BudgetError: what cannot be removed takes longer.
    """
    if getattr(model, "main_input_name", "input_ids") != "input_ids" or getattr(
        getattr(model, "config", None), "is_encoder_decoder", False
    ):
        raise BudgetError(
            "A budget of latency is for models that take input_ids alone. "
            f"Received a {type(model).__name__}; give flops or params."
        )
    times = block_times(
        model,
        description,
        batch=batch,
        length=length,
        seconds=_TABLE_SECONDS,
        step=lambda done, total: progress("block times", done, total),
    )

    def timed(plan: PrunePlan, seed: int) -> Ratio:
        smaller = twin(model)
        apply_plan(smaller, plan)
        return ratio(model, smaller, batch=batch, length=length, max_seconds=_SECONDS, seed=seed)

    tried: list[_Tried] = []
    allowed = fraction * times.whole_ms - times.fixed_ms
    for attempt in range(_ATTEMPTS):
        if allowed <= 0:
            break
        try:
            plan = plan_of(allocate(description.shapes, sensitivities, times.cost, allowed, floors))
        except BudgetError:
            break
        # A plan that comes up again is timed again, and all that is known of it counts.
        known = next((t.reached.rounds for t in tried if t.plan == plan), ())
        found = Ratio.of((*known, *timed(plan, 2 * attempt).rounds))
        if abs(found.value / fraction - 1) <= _TOLERANCE:
            found = Ratio.of((*found.rounds, *timed(plan, 2 * attempt + 1).rounds))
        tried = [t for t in tried if t.plan != plan]
        tried.append(_Tried(allowed, plan, found))
        progress("latency search", attempt + 1, _ATTEMPTS)
        if abs(found.value / fraction - 1) <= _TOLERANCE:
            break
        allowed = _corrected(tried, fraction, times.whole_ms)
    if not tried:
        raise BudgetError(
            f"No plan takes {fraction:.0%} of the time: what cannot be removed takes "
            f"{times.fixed_ms:.1f} of {times.whole_ms:.1f} ms at {batch} × {length} tokens. "
            "Keep more, or time a longer input."
        )
    progress("latency search", _ATTEMPTS, _ATTEMPTS)
    return min(tried, key=lambda t: abs(t.reached.value - fraction)).plan


@dataclass(frozen=True)
class _Tried:
    """One plan, the milliseconds its blocks were allowed, and the fraction of time it took."""

    allowed: float
    plan: PrunePlan
    reached: Ratio


def _corrected(tried: list[_Tried], fraction: float, whole_ms: float) -> float:
    """What to allow next: between what was too much and too little, or off by what it missed."""
    above = min(
        (t for t in tried if t.reached.value > fraction),
        key=lambda t: t.reached.value,
        default=None,
    )
    below = max(
        (t for t in tried if t.reached.value <= fraction),
        key=lambda t: t.reached.value,
        default=None,
    )
    last = tried[-1]
    if above is None or below is None or above.allowed <= below.allowed:
        return last.allowed + (fraction - last.reached.value) * whole_ms
    share = (fraction - below.reached.value) / (above.reached.value - below.reached.value)
    return below.allowed + share * (above.allowed - below.allowed)
