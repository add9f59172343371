"""The main job: score, search, cut, repair, measure."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from headsmith.errors import HeadsmithError
from headsmith.pruning.budget import Floors, one_budget
from headsmith.pruning.data import Batch
from headsmith.pruning.distil import Distilled, check_minutes, distil
from headsmith.pruning.families import Description, describe
from headsmith.pruning.latency_search import within_latency
from headsmith.pruning.objective import Objective, objective_for
from headsmith.pruning.processes import from_first, is_first
from headsmith.pruning.rearrangement import rearranged
from headsmith.pruning.repair import Refit, repair
from headsmith.pruning.rounds import KINDS, Schedule
from headsmith.pruning.score import Ranking
from headsmith.pruning.scoring import STATISTICS_TOKENS, first_batches, score_blocks
from headsmith.pruning.search import allocate
from headsmith.pruning.sharing import twin, unshare
from headsmith.pruning.surgery import apply_plan, check_layers, check_plan
from headsmith.pruning.work import Work, key_of
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
        taken_over: what an interrupted run had finished: `"scores"`, `"plan"`,
            `"rearrangement"`, `"repair"`.
    """

    model: nn.Module
    dense: nn.Module
    plan: PrunePlan
    rankings: dict[str, Ranking] = field(default_factory=dict)
    refits: dict[str, Refit] = field(default_factory=dict)
    distilled: Distilled | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    taken_over: tuple[str, ...] = ()


def _silent(stage: str, done: int, total: int) -> None:
    """Report nowhere."""


def check_model(model: nn.Module) -> Description:
    """Describe a model, and refuse one that cannot be cut or whose weights are not all finite.

    Raises:
        UnknownFamilyError: no family describes the model.
        PlanError: a layer is wrapped by an adapter or quantized.
        HeadsmithError: a weight is NaN or infinite.
    """
    description = describe(model)
    check_layers(description)
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
    tokens: int = STATISTICS_TOKENS,
    seed: int = 0,
    progress: Progress = _silent,
) -> dict[str, Ranking]:
    """Order the heads and neurons of every block by how little they matter.

    Args:
        model: a model of a known family.
        batches: calibration data.
        objective: what is to be kept; None chooses by the model (`objective_for`).
        score: one of `headsmith.pruning.SCORES`.
        tokens: of `batches` to look at, at most; rounded up to a batch.
        seed: of whatever is random.
        progress: told how far the work is.

    Returns:
        Block name → ranking.
    """
    found, _ = score_blocks(
        model,
        check_model(model),
        batches,
        objective or objective_for(model),
        score,
        seed=seed,
        trials=False,
        tokens=tokens,
        work=Work(),
        label="",
        progress=progress,
    )
    return found.rankings


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
    rearrange: bool = False,
    tokens: int = STATISTICS_TOKENS,
    seed: int = 0,
    work: Work | None = None,
    label: str = "",
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
        rearrange: whether groups that stay then change places with such as go, in blocks of the
            sizes found, as long as that lowers the error after refitting; one more pass.
        tokens: of `batches` that statistics are taken of, at most; rounded up to a batch.
        seed: of whatever is random.
        work: where what is finished is kept, and taken from.
        label: goes into the names of those files.
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
    work = work or Work()
    objective = objective or objective_for(model)
    scores, key = score_blocks(
        model,
        description,
        batches,
        objective,
        score,
        seed=seed,
        trials=budget.kind != "keep",
        tokens=tokens,
        work=work,
        label=label,
        progress=progress,
    )
    rankings = scores.rankings

    def plan_of(kept: Mapping[str, int]) -> PrunePlan:
        blocks = {
            b.name: BlockPlan(b.kind, b.count, rankings[b.name].best(kept[b.name]))
            for b in description.blocks
        }
        return PrunePlan(description.model_type, blocks)

    def timed() -> PrunePlan:
        return within_latency(
            model,
            description,
            scores.sensitivities,
            budget.amount,
            plan_of,
            batch=batch,
            length=length,
            floors=floors,
            progress=progress,
        )

    if budget.kind == "keep":
        plan = plan_of(budget.uniform(shapes, floors))
    elif counted is not None:
        plan = plan_of(allocate(shapes, scores.sensitivities, *counted, floors))
    else:
        # The clock does not say the same twice: what it led to is kept.
        settings = (budget.amount, vars(floors), batch, length)
        # The other processes would be in the way of the clock.
        plan = _kept(work, f"plan-{label}", key_of(key, *settings), timed, by_first=True)
    if rearrange:
        chosen = first_batches(batches, tokens)
        plan = _kept(
            work,
            f"rearrangement-{label}",
            key_of(key, plan.to_dict()),
            lambda: rearranged(
                model, description, chosen, objective, plan, seed=seed, progress=progress
            ),
        )
    return plan, rankings


def _kept(
    work: Work, name: str, key: str, make: Callable[[], PrunePlan], *, by_first: bool = False
) -> PrunePlan:
    """The plan that an earlier run kept, or else the one that is made now, and kept.

    Args:
        work: where plans are kept.
        name: of the file.
        key: what the plan is made of.
        make: makes it.
        by_first: whether the first process makes it alone.
    """
    held = work.read(name, key)
    if held is None:
        held = make().to_dict() if is_first() or not by_first else None
        held = from_first(held)
        work.write(name, key, held)
    return PrunePlan.from_dict(held)


def prune(
    model: nn.Module,
    batches: Sequence[Batch],
    objective: Objective | None = None,
    *,
    rounds: int = 1,
    mend: bool = True,
    finetune_minutes: float = 0.0,
    seed: int = 0,
    work: str | os.PathLike[str] | None = None,
    progress: Progress = _silent,
    **search: Any,
) -> Pruned:
    """Prune a model in place: score, search, cut for good, and repair what is left.

    Where several processes work together (`torch.distributed` runs), each calls this with the
    same arguments; they share the work and all end with the same model.

    Args:
        model: a model of a known family.
        batches: calibration data, some hundred texts or more; no labels are needed.
        objective: what is to be kept; None chooses by the model (`objective_for`).
        rounds: in how many rounds of scoring, cutting and repair the budget is reached, each
            keeping the same fraction of what the one before left; more than 1 with `flops`,
            `params` and `max_bytes` only.
        mend: refit the output projections after the cut.
        finetune_minutes: time to spend on distillation from the unpruned model afterwards.
        seed: of whatever is random.
        work: a folder for what is finished while the work goes on. If the process is killed,
            the same call with a fresh model takes it up from there. It is left for you to
            delete once the model is saved (`Work(folder).remove()`).
        progress: told how far the work is.
        search: one budget, and whatever else `make_plan` takes.

    Returns:
        The smaller model with its plan and what was found on the way.

    Raises:
        BudgetError: not exactly one budget is given, it is out of range, or cannot be met; or
            `finetune_minutes` is negative, infinite or not a number.
        OutputError: `work` is there and is something else.
    """
    check_minutes(finetune_minutes)
    clock = _Clock(progress)
    kept = Work(None if work is None else Path(work))
    schedule = Schedule(model, check_model(model).shapes, rounds, search)
    others = {name: value for name, value in search.items() if name not in KINDS}
    job = _Job(model, batches, objective, mend, kept, clock)
    for number in range(1, rounds + 1):
        budget = schedule(number, model, describe(model).shapes)
        if budget is None:
            continue
        label = f"{number}-" if rounds > 1 else ""
        plan, rankings = make_plan(
            model,
            batches,
            objective,
            **{**others, **budget},
            seed=seed,
            work=kept,
            label=label,
            progress=clock,
        )
        job.cut(plan, label)
        # Of the first round, for it ranks all there was.
        job.result.rankings = job.result.rankings or rankings
    return job.finish(finetune_minutes, seed)


def carry_out(
    model: nn.Module,
    plan: PrunePlan,
    batches: Sequence[Batch] = (),
    objective: Objective | None = None,
    *,
    mend: bool = True,
    finetune_minutes: float = 0.0,
    seed: int = 0,
    work: str | os.PathLike[str] | None = None,
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
        work: a folder for what is finished, as `prune` has it.
        progress: told how far the work is.

    Raises:
        PlanError: the plan is for another model; nothing has been changed then.
        BudgetError: `finetune_minutes` is negative, infinite or not a number.
    """
    check_minutes(finetune_minutes)
    check_plan(plan, check_model(model))
    job = _Job(
        model, batches, objective, mend, Work(None if work is None else Path(work)),
        _Clock(progress),
    )  # fmt: skip
    job.cut(plan, "")
    return job.finish(finetune_minutes, seed)


class _Job:
    """Cuts a model, mends it, and knows what it was."""

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[Batch],
        objective: Objective | None,
        mend: bool,
        work: Work,
        clock: _Clock,
    ) -> None:
        self._batches, self._mend, self._work, self._clock = batches, mend, work, clock
        dense = twin(model)
        self._objective = objective or objective_for(dense)
        self.result = Pruned(model, dense, PrunePlan(describe(model).model_type))

    def cut(self, plan: PrunePlan, label: str) -> None:
        """Cut to a checked plan for the model as it is, and refit what is left."""
        result = self.result
        apply_plan(result.model, plan)
        result.plan = result.plan.then(plan)
        if not self._mend or not self._batches or plan.is_empty:
            return
        after = describe(result.model)
        unshare((after.base.get_submodule(b.writer) for b in after.blocks), result.dense)
        result.refits = repair(
            result.dense,
            result.model,
            self._batches,
            work=self._work,
            label=label,
            step=lambda done, total: self._clock("repair", done, total),
        )

    def finish(self, minutes: float, seed: int) -> Pruned:
        """Distil, if it is asked for, and hand over."""
        result = self.result
        if minutes and self._batches and not result.plan.is_empty:
            unshare(result.model.modules(), result.dense)
            result.distilled = distil(
                result.dense,
                result.model,
                self._batches,
                self._objective,
                minutes=minutes,
                seed=seed,
                work=self._work,
                step=lambda done, total: self._clock("distillation", done, total),
            )
        result.seconds = self._clock.seconds
        result.taken_over = tuple(self._work.found)
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
