"""What is left at several sizes, ours beside scores alone: the curve of the report.

"Alone" is what pruning tools usually do: every block keeps the same fraction of its heads and
neurons, by magnitude or at random; nothing is tried and nothing repaired. All models are measured
on the same held-out data and timed in turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from headsmith.errors import BudgetError
from headsmith.pruning.compare import compare
from headsmith.pruning.data import Batch
from headsmith.pruning.families import describe
from headsmith.pruning.latency import measure
from headsmith.pruning.objective import Objective
from headsmith.pruning.pipeline import prune
from headsmith.pruning.sharing import twin
from headsmith.spec.cost import total_flops
from headsmith.spec.run import CurvePoint, LatencyRun

__all__ = ["ALONE", "OURS", "further_sizes", "tradeoff"]

OURS = "headsmith"
ALONE = ("magnitude", "random")
_SECONDS = 40.0


def further_sizes(kept: float) -> tuple[float, ...]:
    """Two more fractions of the FLOPs to show beside `kept`: a larger and a smaller one.

    Example:
        >>> from headsmith.pruning.tradeoff import further_sizes
        >>> further_sizes(0.5)
        (0.75, 0.3)
    """
    return round((1 + kept) / 2, 3), round(0.6 * kept, 3)


def tradeoff(
    dense: nn.Module,
    pruned: nn.Module,
    batches: Sequence[Batch],
    held_out: Sequence[Batch],
    objective: Objective,
    *,
    length: int = 128,
    timed: tuple[int, int] | None = (32, 128),
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    **settings: Any,
) -> list[CurvePoint]:
    """Cut `dense` to the size of `pruned` and to two others, by our way and by scores alone.

    Args:
        dense: the unpruned model; left as it was.
        pruned: what pruning it gave.
        batches: calibration data, as `prune` had them.
        held_out: data to measure on.
        objective: what was to be kept.
        length: tokens of a sequence, for which FLOPs are counted.
        timed: sequences a call and tokens a sequence, to time; None times nothing.
        seed: of the score that is random, and of the further jobs.
        progress: told how far the work is.
        settings: what else `prune` was given, but for the budget.

    Returns:
        A point a way and size, `headsmith` first, sizes falling. A size that a way cannot be cut
        to is left out.
    """
    shapes = describe(dense).shapes
    whole = total_flops(shapes, length)
    main = total_flops(describe(pruned).shapes, length) / whole
    sizes = sorted((main, *further_sizes(main)), reverse=True)
    jobs = [(way, size) for way in (OURS, *ALONE) for size in sizes]
    models: dict[str, nn.Module] = {"unpruned": dense}
    found: list[tuple[str, str, dict[str, float], float]] = []
    for number, (way, size) in enumerate(jobs):
        progress("tradeoff", number, len(jobs))
        if way == OURS and size == main:
            model = pruned
        else:
            model = twin(dense)
            budget = {**settings, "flops": size} if way == OURS else _alone(way, size)
            try:
                prune(model, batches if way == OURS else batches[:1], objective, length=length,
                      seed=seed, **budget)  # fmt: skip
            except BudgetError:
                continue
        after = describe(model).shapes
        quality = compare(dense, model, held_out, objective).quality
        # Widths are all that times depend on: scores alone leave the same.
        name = " ".join(f"{s.count}" for s in after)
        models.setdefault(name, model)
        found.append((way, name, quality, total_flops(after, length) / whole))
    times = _times(models, timed)
    progress("tradeoff", len(jobs), len(jobs))
    return [CurvePoint(way, flops, quality, times.get(name)) for way, name, quality, flops in found]


def _alone(score: str, size: float) -> dict[str, Any]:
    return {"keep": size, "score": score, "mend": False}


def _times(models: Mapping[str, nn.Module], timed: tuple[int, int] | None) -> dict[str, LatencyRun]:
    if timed is None:
        return {}
    batch, length = timed
    found = measure(models, batch=batch, length=length, max_seconds=_SECONDS)
    before = found.pop("unpruned")
    return {name: LatencyRun(batch, length, before, after) for name, after in found.items()}
