"""The main job: score, search, cut, repair, measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from headsmith.errors import DataError, HeadsmithError
from headsmith.pruning.budget import Floors, one_budget
from headsmith.pruning.data import Batch
from headsmith.pruning.distil import Distilled, distil
from headsmith.pruning.families import Description, describe
from headsmith.pruning.latency_search import within_latency
from headsmith.pruning.objective import Objective, objective_for
from headsmith.pruning.repair import Refit, repair
from headsmith.pruning.score import SCORES, Ranking
from headsmith.pruning.search import allocate
from headsmith.pruning.sensitivity import measure
from headsmith.pruning.sharing import twin, unshare
from headsmith.pruning.statistics import collect
from headsmith.pruning.surgery import apply_plan, check_plan
from headsmith.pruning.tokens import count_tokens
from headsmith.pruning.verify import verify_family
from headsmith.spec.plan import BlockPlan, PrunePlan

__all__ = [
    "Progress",
    "Pruned",
    "carry_out",
    "check_model",
    "make_plan",
    "prune",
    "rank",
]

Progress = Callable[[str, int, int], None]
"""Told (stage, steps done, steps in all) as the work goes on."""

# Where more data no longer changed the outcome: tokens for the statistics (half a thousand
# sentences), and for measuring the error of one trial size (under a hundred).
_STATISTICS_TOKENS = 16384
_TRIAL_TOKENS = 2048

_NO_FLOORS = Floors()


@dataclass
class Pruned:
    """What pruning gave.

    Args:
        model: the model, smaller; the one that was handed in.
        dense: the model as it was. What was neither cut nor refitted, such as the embeddings,
            is in memory once for both: copy it before you train one and need the other.
        plan: what was kept.
        rankings: block name → order and importance of its groups.
        refits: block name → what repair did; empty without repair.
        distilled: what distillation did; None without it.
        seconds: stage → seconds it took.
    """

    model: nn.Module
    dense: nn.Module
    plan: PrunePlan
    rankings: dict[str, Ranking] = field(default_factory=dict)
    refits: dict[str, Refit] = field(default_factory=dict)
    distilled: Distilled | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def _silent(stage: str, done: int, total: int) -> None:
    """Report nowhere."""


def check_model(model: nn.Module) -> Description:
    """Describe a model, and refuse one whose weights are not all finite.

    Raises:
        UnknownFamilyError: no family describes the model.
        HeadsmithError: a weight is NaN or infinite.
    """
    description = describe(model)
    broken = [
        name for name, p in model.named_parameters() if p.device.type != "meta" and not _finite(p)
    ]
    if broken:
        raise HeadsmithError(
            f"{len(broken)} weights of the model are NaN or infinite, the first {broken[0]!r}. "
            "Nothing was done; the checkpoint is damaged."
        )
    return description


def _finite(parameter: torch.Tensor) -> bool:
    if not parameter.numel() or not parameter.is_floating_point():
        return True
    # NaN spreads into the extremes; a sum could overflow without any weight being infinite.
    low, high = parameter.detach().aminmax()
    return bool(torch.isfinite(low)) and bool(torch.isfinite(high))


def rank(
    model: nn.Module,
    batches: Sequence[Batch],
    objective: Objective | None = None,
    *,
    score: str = "obs",
    seed: int = 0,
    progress: Progress = _silent,
) -> dict[str, Ranking]:
    """Order the heads and neurons of every block by how little they matter.

    Args:
        model: a model of a known family.
        batches: calibration data.
        objective: what is to be kept; None chooses by the model (`objective_for`).
        score: one of `headsmith.pruning.SCORES`.
        seed: of whatever is random.
        progress: told how far the work is.

    Returns:
        Block name → ranking.
    """
    description = check_model(model)
    objective = objective or objective_for(model)
    return _rank(model, description, batches, objective, score, seed, progress)[0]


def _rank(
    model: nn.Module,
    description: Description,
    batches: Sequence[Batch],
    objective: Objective,
    score: str,
    seed: int,
    progress: Progress,
) -> tuple[dict[str, Ranking], Any]:
    if score not in SCORES:
        raise ValueError(f"score is one of {', '.join(SCORES)}. Received {score!r}.")
    if not batches:
        raise DataError("No calibration data. Give at least one batch.")
    if any("input_ids" in batch and "attention_mask" not in batch for batch in batches):
        raise DataError(
            "Every batch of texts needs an attention_mask, 1 where a token is not padding. "
            f"Received {sorted(batches[0])}."
        )
    if description.discovered:
        verify_family(model, batches[0])
    statistics = collect(
        model,
        description,
        _first(batches, _STATISTICS_TOKENS),
        objective,
        seed=seed,
        step=lambda done, total: progress("statistics", done, total),
    )
    generator = torch.Generator().manual_seed(seed)
    rankings = {}
    for number, block in enumerate(description.blocks, start=1):
        found = SCORES[score](block, description.base, statistics[block.name], generator)
        rankings[block.name] = found
        progress("order", number, len(description.blocks))
    return rankings, statistics


def make_plan(
    model: nn.Module,
    batches: Sequence[Batch],
    objective: Objective | None = None,
    *,
    flops: float | None = None,
    params: float | None = None,
    latency: float | None = None,
    keep: float | None = None,
    max_bytes: float | None = None,
    floors: Floors = _NO_FLOORS,
    length: int = 128,
    batch: int = 1,
    score: str = "obs",
    seed: int = 0,
    progress: Progress = _silent,
) -> tuple[PrunePlan, dict[str, Ranking]]:
    """Score and search: decide what stays, without touching the model.

    Give one budget: `flops`, `params`, `latency`, `keep` or `max_bytes`.

    Args:
        model: a model of a known family.
        batches: calibration data; the first part of it serves to measure trial sizes.
        objective: what is to be kept; None chooses by the model (`objective_for`).
        flops: fraction of the blocks' FLOPs to keep, in (0, 1].
        params: fraction of the blocks' parameters to keep, in (0, 1].
        latency: fraction of the model's time on this device to keep, in (0, 1], for inputs of
            `batch` sequences of `length` tokens.
        keep: fraction of heads and of neurons that every block keeps, in (0, 1]; the same for
            all, so that nothing is tried and the search costs no time.
        max_bytes: what all the model's weights may take, in their dtype.
        floors: what every block keeps at least; by default whole blocks may go.
        length: tokens of a sequence, for which FLOPs are counted and time is taken.
        batch: sequences of a call, for `latency`.
        score: one of `headsmith.pruning.SCORES`.
        seed: of whatever is random.
        progress: told how far the work is.

    Raises:
        BudgetError: not exactly one budget is given, it is out of range, or cannot be met.
    """
    budget = one_budget(
        {
            "flops": flops,
            "params": params,
            "latency": latency,
            "keep": keep,
            "max_bytes": max_bytes,
        }
    )
    description = check_model(model)
    shapes = description.shapes
    # What can be counted is counted first: a budget that cannot be met shows before the work.
    counted = (
        budget.counted(model, shapes, length) if budget.kind not in ("latency", "keep") else None
    )
    objective = objective or objective_for(model)
    rankings, statistics = _rank(model, description, batches, objective, score, seed, progress)

    def plan_of(kept: Mapping[str, int]) -> PrunePlan:
        blocks = {
            b.name: BlockPlan(b.kind, b.count, rankings[b.name].best(kept[b.name]))
            for b in description.blocks
        }
        return PrunePlan(description.model_type, blocks)

    if budget.kind == "keep":
        return plan_of(budget.uniform(shapes, floors)), rankings
    sensitivities = measure(
        model,
        description,
        statistics,
        rankings,
        _first(batches, _TRIAL_TOKENS),
        objective,
        step=lambda done, total: progress("sensitivity", done, total),
    )
    if counted is not None:
        return plan_of(allocate(shapes, sensitivities, *counted, floors)), rankings
    plan = within_latency(
        model,
        description,
        sensitivities,
        budget.amount,
        plan_of,
        batch=batch,
        length=length,
        floors=floors,
        progress=progress,
    )
    return plan, rankings


def _first(batches: Sequence[Batch], tokens: int) -> list[Batch]:
    """As many batches as hold `tokens` tokens, in their order, which is random."""
    chosen: list[Batch] = []
    found = 0
    for batch in batches:
        chosen.append(batch)
        found += count_tokens(batch)
        if found >= tokens:
            break
    return chosen


def prune(
    model: nn.Module,
    batches: Sequence[Batch],
    objective: Objective | None = None,
    *,
    mend: bool = True,
    finetune_minutes: float = 0.0,
    seed: int = 0,
    progress: Progress = _silent,
    **search: Any,
) -> Pruned:
    """Prune a model in place: score, search, cut for good, and repair what is left.

    Args:
        model: a model of a known family.
        batches: calibration data, some hundred texts or more; no labels are needed.
        objective: what is to be kept; None chooses by the model (`objective_for`).
        mend: refit the output projections after the cut.
        finetune_minutes: time to spend on distillation from the unpruned model afterwards.
        seed: of whatever is random.
        progress: told how far the work is.
        search: one budget, and whatever else `make_plan` takes.

    Returns:
        The smaller model with its plan and what was found on the way.
    """
    clock = _Clock(progress)
    plan, rankings = make_plan(model, batches, objective, seed=seed, progress=clock, **search)
    result = _carry_out(model, plan, batches, objective, mend, finetune_minutes, seed, clock)
    result.rankings.update(rankings)
    return result


def carry_out(
    model: nn.Module,
    plan: PrunePlan,
    batches: Sequence[Batch] = (),
    objective: Objective | None = None,
    *,
    mend: bool = True,
    finetune_minutes: float = 0.0,
    seed: int = 0,
    progress: Progress = _silent,
) -> Pruned:
    """Cut a model to a plan that was made before, and repair it where there is data.

    Args:
        model: the model that the plan is for; changed in place.
        plan: what stays.
        batches: calibration data for the repair; none leaves the weights as they are.
        objective: what distillation is to keep; None chooses by the model (`objective_for`).
        mend: refit the output projections after the cut.
        finetune_minutes: time to spend on distillation from the unpruned model afterwards.
        seed: of the order in which distillation sees the batches.
        progress: told how far the work is.

    Raises:
        PlanError: the plan is for another model; nothing has been changed then.
    """
    check_plan(plan, check_model(model))
    clock = _Clock(progress)
    return _carry_out(model, plan, batches, objective, mend, finetune_minutes, seed, clock)


def _carry_out(
    model: nn.Module,
    plan: PrunePlan,
    batches: Sequence[Batch],
    objective: Objective | None,
    mend: bool,
    finetune_minutes: float,
    seed: int,
    clock: _Clock,
) -> Pruned:
    """Cut a checked model to a checked plan, and mend it."""
    dense = twin(model)
    apply_plan(model, plan)
    result = Pruned(model, dense, plan)
    if mend and batches and not plan.is_empty:
        after = describe(model)
        unshare((after.base.get_submodule(b.writer) for b in after.blocks), dense)
        result.refits = repair(
            dense, model, batches, step=lambda done, total: clock("repair", done, total)
        )
    if finetune_minutes and batches and not plan.is_empty:
        unshare(model.modules(), dense)
        result.distilled = distil(
            dense,
            model,
            batches,
            objective or objective_for(dense),
            minutes=finetune_minutes,
            seed=seed,
            step=lambda done, total: clock("distillation", done, total),
        )
    result.seconds = clock.seconds
    return result


class _Clock:
    """Passes progress on, and adds up what each stage took."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
        self._progress(stage, done, total)
