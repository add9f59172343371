"""One pruning job from texts to a saved folder: what `prune` and `demo` have in common."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import headsmith
from headsmith.cli.loading import fit_length
from headsmith.cli.machine import machine, versions
from headsmith.spec.cost import BlockShape, total_flops, total_parameters
from headsmith.spec.plan import PrunePlan
from headsmith.spec.run import FILE_NAME, BlockRun, CurvePoint, LatencyRun, RunRecord

if TYPE_CHECKING:
    from torch import nn

    from headsmith.pruning.budget import Floors
    from headsmith.pruning.compare import Comparison
    from headsmith.pruning.data import Batches
    from headsmith.pruning.objective import Objective
    from headsmith.pruning.pipeline import Progress, Pruned

__all__ = ["PLAN_FILE", "REPORT_FILE", "Job", "make_smaller", "predicted", "run", "write"]

PLAN_FILE = "headsmith-plan.json"
REPORT_FILE = "report.html"
_SAMPLES = 6
_SECONDS_A_SHAPE = 15.0


@dataclass(frozen=True)
class Job:
    """What one job is to do.

    Args:
        name: the model's name or folder, as the user gave it.
        source: where the texts came from.
        budget: as `make_plan` takes it, such as `{"flops": 0.5}`; empty with a plan.
        plan: a plan made before; None searches one.
        length: tokens of a sequence, for which FLOPs are counted.
        score: name of the score.
        floors: what every block keeps at least; None lets whole blocks go.
        batch: sequences of a call that a latency budget is about.
        repair: whether to refit what is left.
        rearrange: whether what stays changes places with what goes, once the sizes are found.
        rounds: in how many rounds of scoring, cutting and repair.
        finetune_minutes: time to spend on distillation.
        seed: of all that is random.
        shapes: (batch, length) pairs to time.
        compare: whether to prune in other ways and to other sizes too, for the curve.
        output: where the checkpoint will be.
        command: the command line that repeats the job.
        settings: further settings to note in the record.
        work: a folder for what is finished, so that an interrupted job can go on; None keeps
            nothing.
    """

    name: str
    source: str
    budget: Mapping[str, float]
    plan: PrunePlan | None = None
    length: int = 128
    score: str = "obs"
    floors: Floors | None = None
    batch: int = 1
    repair: bool = True
    rearrange: bool = False
    rounds: int = 1
    finetune_minutes: float = 0.0
    seed: int = 0
    shapes: Sequence[tuple[int, int]] = ((1, 128), (32, 128))
    compare: bool = False
    output: str = ""
    command: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    work: Path | None = None


def run(
    job: Job, model: nn.Module, data: Batches, objective: Objective, progress: Progress
) -> tuple[Pruned, RunRecord]:
    """Prune `model` in place, compare it with what it was, time both, and tell it all.

    Args:
        job: what to do.
        model: the model, on its device.
        data: calibration and held-out texts, tokenised.
        objective: what is to be kept.
        progress: told how far the work is.
    """
    # What is needed at the end is imported now: a broken installation shows before the work.
    from headsmith.pruning.compare import compare
    from headsmith.pruning.families import describe
    from headsmith.pruning.latency import measure
    from headsmith.report.card import card  # noqa: F401
    from headsmith.report.page import render  # noqa: F401

    shapes = describe(model).shapes
    before = _totals(model, shapes, job.length)
    pruned = make_smaller(job, model, data, objective, progress)

    quality = compare(
        pruned.dense,
        model,
        data.held_out,
        objective,
        step=lambda done, total: progress("quality", done, total),
    )
    latency = []
    for batch, length in job.shapes:
        fitting = fit_length(model, length)
        found = measure(
            {"before": pruned.dense, "after": model},
            batch=batch,
            length=fitting,
            max_seconds=_SECONDS_A_SHAPE,
            progress=lambda _, done, total: progress("latency", done, total),
        )
        latency.append(LatencyRun(batch, fitting, found["before"], found["after"]))
    curve = _curve(job, pruned, data, objective, progress) if job.compare else []
    after = _totals(model, describe(model).shapes, job.length)
    return pruned, _record(job, pruned, data, objective, quality, latency, curve, before, after)


def _curve(
    job: Job, pruned: Pruned, data: Batches, objective: Objective, progress: Progress
) -> list[CurvePoint]:
    from headsmith.pruning.budget import Floors
    from headsmith.pruning.tradeoff import tradeoff

    batch, length = max(job.shapes, key=lambda s: s[0] * s[1], default=(0, 0))
    return tradeoff(
        pruned.dense,
        pruned.model,
        data.calibration,
        data.held_out,
        objective,
        length=job.length,
        timed=(batch, fit_length(pruned.dense, length)) if batch else None,
        seed=job.seed,
        progress=progress,
        score=job.score,
        floors=job.floors or Floors(),
        mend=job.repair,
        finetune_minutes=job.finetune_minutes,
    )


def make_smaller(
    job: Job, model: nn.Module, data: Batches, objective: Objective, progress: Progress
) -> Pruned:
    """Prune `model` in place; the part of `run` that several processes do together."""
    from headsmith.pruning.budget import Floors
    from headsmith.pruning.pipeline import carry_out, prune

    alike: dict[str, Any] = {
        "mend": job.repair,
        "finetune_minutes": job.finetune_minutes,
        "seed": job.seed,
        "work": job.work,
        "progress": progress,
    }
    if job.plan is not None:
        return carry_out(model, job.plan, data.calibration, objective, **alike)
    return prune(
        model,
        data.calibration,
        objective,
        length=job.length,
        score=job.score,
        floors=job.floors or Floors(),
        batch=job.batch,
        rearrange=job.rearrange,
        rounds=job.rounds,
        **{**alike, **job.budget},
    )


def _record(
    job: Job,
    pruned: Pruned,
    data: Batches,
    objective: Objective,
    quality: Comparison,
    latency: list[LatencyRun],
    curve: list[CurvePoint],
    before: dict[str, int],
    after: dict[str, int],
) -> RunRecord:
    from headsmith.pruning.families import describe

    model = pruned.model
    kind = "agreement" if "agreement" in quality.quality else "cosine"
    texts = [text for batch in data.held_out_texts for text in batch]
    return RunRecord(
        model=job.name,
        model_type=pruned.plan.model_type,
        model_class=type(model).__name__,
        headsmith=headsmith.__version__,
        versions=versions(),
        machine=machine(next(model.parameters()).device),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=job.command,
        settings={
            **job.budget,
            "score": job.score if job.plan is None else "given plan",
            "match": objective.name,
            "repair": job.repair,
            **_optional_settings(job, pruned),
            "length": job.length,
            "seed": job.seed,
            "output": job.output,
            **job.settings,
        },
        data={
            "source": job.source,
            "texts": sum(len(b["input_ids"]) for b in data.calibration),
            "tokens": data.tokens,
            "held_out": len(texts),
        },
        blocks=_blocks(pruned, describe(pruned.dense).shapes),
        before=before,
        after=after,
        quality=quality.quality,
        latency=latency,
        curve=curve,
        seconds={stage: round(s, 2) for stage, s in pruned.seconds.items()},
        samples=_samples(texts, quality.per_text, kind),
    )


def _optional_settings(job: Job, pruned: Pruned) -> dict[str, Any]:
    """Settings that were not left at what they usually are."""
    found: dict[str, Any] = {}
    if "latency" in job.budget:
        found["latency_batch"] = job.batch
    if job.floors is not None and (job.floors.heads or job.floors.neurons):
        found |= {"min_heads": job.floors.heads, "min_neurons": job.floors.neurons}
    if job.rearrange:
        found["rearrange"] = True
    if job.rounds > 1:
        found["rounds"] = job.rounds
    if pruned.distilled is not None:
        found |= {
            "finetune_minutes": job.finetune_minutes,
            "finetune_steps": pruned.distilled.steps,
        }
    return found


def _blocks(pruned: Pruned, shapes: Sequence[BlockShape]) -> list[BlockRun]:
    from headsmith.pruning.families import describe

    layers = {b.name: b.layer_index for b in describe(pruned.dense).blocks}
    found = []
    for shape in shapes:
        planned = pruned.plan.blocks.get(shape.name)
        kept = range(shape.count) if planned is None else planned.kept
        ranking = pruned.rankings.get(shape.name)
        refit = pruned.refits.get(shape.name)
        found.append(
            BlockRun(
                name=shape.name,
                kind=shape.kind,
                layer=layers[shape.name],
                count=shape.count,
                kept=list(kept),
                importance=[float(f"{i:.4g}") for i in ranking.importance] if ranking else [],
                error_before=refit.before if refit else None,
                error_after=refit.after if refit else None,
            )
        )
    return found


def _samples(texts: Sequence[str], values: Sequence[float], kind: str) -> list[dict[str, Any]]:
    """Texts spread evenly from the worst kept to the best kept."""
    if len(values) != len(texts) or not texts:
        return []
    order = sorted(range(len(texts)), key=lambda i: values[i])
    count = min(_SAMPLES, len(order))
    chosen = [order[round(i * (len(order) - 1) / max(1, count - 1))] for i in range(count)]
    return [{"text": texts[i][:300], kind: values[i]} for i in dict.fromkeys(chosen)]


def _totals(model: nn.Module, shapes: Sequence[BlockShape], length: int) -> dict[str, int]:
    state = model.state_dict().values()
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "encoder_parameters": total_parameters(shapes),
        "flops": total_flops(shapes, length),
        "bytes": sum(t.numel() * t.element_size() for t in state),
    }


def predicted(
    model: nn.Module, shapes: Sequence[BlockShape], plan: PrunePlan, length: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Sizes before, and after `plan`, without carrying it out.

    Args:
        model: the model as it is.
        shapes: its blocks.
        plan: what would stay.
        length: tokens of a sequence, for which FLOPs are counted.
    """
    before = _totals(model, shapes, length)
    kept = {name: len(b.kept) for name, b in plan.blocks.items()}
    gone = before["encoder_parameters"] - total_parameters(shapes, kept)
    size = next(model.parameters()).element_size()
    return before, {
        "parameters": before["parameters"] - gone,
        "encoder_parameters": before["encoder_parameters"] - gone,
        "flops": total_flops(shapes, length, kept),
        "bytes": before["bytes"] - gone * size,
    }


def write(
    out: Path,
    pruned: Pruned,
    record: RunRecord,
    tokenizer: Any,
    files: Mapping[str, str | bytes],
    *,
    overwrite: bool,
    beside: bool = False,
) -> dict[str, Path]:
    """Write checkpoint, model card, plan, run record and report; all of it or nothing.

    Args:
        out: the folder to write.
        pruned: what pruning gave.
        record: told of it.
        tokenizer: saved beside the model.
        files: further files to put beside the model, path → contents.
        overwrite: replace a folder that is there.
        beside: keep the checkpoint in a folder `model` of its own below `out`, and the record
            and the report beside that.

    Returns:
        What was written: `model`, `plan`, `record` and `report` → path.
    """
    from headsmith.cli.card import model_card
    from headsmith.files import new_folder
    from headsmith.pruning import save
    from headsmith.report.card import FILE_NAME as CARD
    from headsmith.report.page import render

    source = str(getattr(pruned.model, "name_or_path", "") or record.model)
    files = {**files, CARD: model_card(record, source, files)}
    told = {
        PLAN_FILE: pruned.plan.to_json(),
        FILE_NAME: record.to_json(),
        REPORT_FILE: render(record),
    }
    if not beside:
        save(
            pruned.model,
            out,
            tokenizer=tokenizer,
            texts={**files, **told},
            overwrite=overwrite,
        )
        model = out
    else:
        with new_folder(out, overwrite=overwrite) as aside:
            save(pruned.model, aside / "model", tokenizer=tokenizer, texts=files)
            for name, text in told.items():
                (aside / name).write_text(text, encoding="utf-8")
        model = out / "model"
    return {
        "model": model,
        "plan": out / PLAN_FILE,
        "record": out / FILE_NAME,
        "report": out / REPORT_FILE,
    }


def shown_path(path: Path) -> str:
    """A path as people would type it from here."""
    try:
        return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
    except OSError:
        return str(path)
