"""Search for a plan that takes a given fraction of the model's time on this device.

The table of block times says what sizes should cost; the clock has the last word. The plan is
cut into a copy, both are timed in turns, and the difference corrects the next search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from headsmith.errors import BudgetError
from headsmith.pruning.block_times import block_times
from headsmith.pruning.budget import Floors
from headsmith.pruning.families import Description
from headsmith.pruning.latency import measure
from headsmith.pruning.search import allocate
from headsmith.pruning.sensitivity import Sensitivity
from headsmith.pruning.sharing import twin
from headsmith.pruning.surgery import apply_plan
from headsmith.spec.plan import PrunePlan

__all__ = ["within_latency"]

_TOLERANCE = 0.02
_ATTEMPTS = 5
_SECONDS = 6.0


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
        The plan whose measured time came closest; within 2% unless the clock is too unsteady.

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
        step=lambda done, total: progress("block times", done, total),
    )
    allowed = fraction * times.whole_ms - times.fixed_ms
    best: tuple[float, PrunePlan] | None = None
    for attempt in range(_ATTEMPTS):
        if allowed <= 0:
            break
        try:
            plan = plan_of(allocate(description.shapes, sensitivities, times.cost, allowed, floors))
        except BudgetError:
            break
        smaller = twin(model)
        apply_plan(smaller, plan)
        found = measure(
            {"before": model, "after": smaller}, batch=batch, length=length, max_seconds=_SECONDS
        )
        reached = found["after"].median_ms / found["before"].median_ms
        off = abs(reached / fraction - 1)
        if best is None or off < best[0]:
            best = off, plan
        progress("latency search", attempt + 1, _ATTEMPTS)
        if off <= _TOLERANCE:
            break
        allowed += (fraction - reached) * times.whole_ms
    if best is None:
        raise BudgetError(
            f"No plan takes {fraction:.0%} of the time: what cannot be removed takes "
            f"{times.fixed_ms:.1f} of {times.whole_ms:.1f} ms at {batch} × {length} tokens. "
            "Keep more, or time a longer input."
        )
    progress("latency search", _ATTEMPTS, _ATTEMPTS)
    return best[1]
