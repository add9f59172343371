"""`headsmith prune`: make a model smaller for good."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headsmith.cli.options import (
    MODEL,
    SIZE,
    calibration_options,
    data_option,
    device_option,
    length_option,
)
from headsmith.cli.output import Output, output_options, silent
from headsmith.cli.result import plan_table, summary
from headsmith.cli.target import check_out
from headsmith.errors import BudgetError, PlanError
from headsmith.spec.plan import PrunePlan

if TYPE_CHECKING:
    from torch import nn

    from headsmith.pruning.data import Batches
    from headsmith.pruning.objective import Objective

__all__ = ["command"]

_EPILOG = """\b
Examples:
  headsmith prune my-encoder --data texts.txt --flops 0.5 -o smaller
  headsmith prune my-encoder --data reviews.csv --text-column review --params 0.7 -o smaller
  headsmith prune my-encoder --data texts.txt --latency 0.5 --latency-batch 32 -o smaller
  headsmith prune my-encoder --data texts.txt --size 40MB --finetune-minutes 10 -o smaller
  headsmith prune my-encoder --data texts.txt --flops 0.5 --dry-run
  headsmith prune my-encoder --data texts.txt --plan smaller/headsmith-plan.json -o again
Two processes, each with its half of the texts:
  torchrun --nproc-per-node 2 -m headsmith.cli prune my-encoder --data texts.txt --keep 0.5 -o out
Load the result in Python:
  import headsmith.pruning
  model = transformers.AutoModel.from_pretrained("smaller")
"""


@click.command(epilog=_EPILOG)
@click.argument("model", type=MODEL)
@data_option(required=False)
@click.option(
    "--flops",
    type=float,
    metavar="FRACTION",
    help="Keep this fraction of the FLOPs of attention and feed-forward blocks: 0.5 halves them.",
)
@click.option(
    "--params",
    type=float,
    metavar="FRACTION",
    help="Keep this fraction of their parameters instead.",
)
@click.option(
    "--latency",
    type=float,
    metavar="FRACTION",
    help="Keep this fraction of the model's time on this device instead; it is measured.",
)
@click.option(
    "--keep",
    type=float,
    metavar="FRACTION",
    help="Keep this fraction of heads and neurons in every block alike.",
)
@click.option(
    "--size",
    type=SIZE,
    metavar="SIZE",
    help="Keep as much as fits: all weights take at most so many bytes, as in 40MB.",
)
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Cut to a plan made before instead of searching one.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where to write the model; must not exist or be empty.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output folder if it is there.")
@click.option(
    "--dry-run", is_flag=True, help="Print the plan and the predicted size; write nothing."
)
@click.option(
    "--min-heads",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Heads every attention block keeps at least.",
)
@click.option(
    "--min-neurons",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Neurons every feed-forward block keeps at least.",
)
@click.option(
    "--latency-batch",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Sequences of a call that --latency is about; --length says how long.",
)
@click.option(
    "--texts",
    type=click.IntRange(min=1),
    default=1536,
    show_default=True,
    metavar="N",
    help="Texts to calibrate on, at most.",
)
@click.option(
    "--repair/--no-repair",
    default=True,
    show_default=True,
    help="Refit what is left to do what all did.",
)
@click.option(
    "--rearrange",
    is_flag=True,
    help="Let what stays change places with what goes where that lowers the error; reads the "
    "texts once more.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Reach --flops, --params or --size by so many rounds of scoring, cutting and repair.",
)
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Go on with what an interrupted run left in FOLDER.work, or begin anew.",
)
@click.option(
    "--finetune-minutes",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    metavar="MINUTES",
    help="Then train it for so long to put out what the unpruned model does; no labels.",
)
@click.option(
    "--time/--no-time",
    "timed",
    default=True,
    show_default=True,
    help="Measure latency before and after.",
)
@click.option(
    "--compare",
    is_flag=True,
    help="Also prune to two other sizes, by magnitude and at random, for a curve in the report; "
    "takes about three times as long.",
)
@length_option
@calibration_options
@device_option
@output_options
def command(
    model: str,
    data: Path | None,
    text_column: str | None,
    flops: float | None,
    params: float | None,
    latency: float | None,
    keep: float | None,
    size: int | None,
    plan_file: Path | None,
    out: Path | None,
    overwrite: bool,
    dry_run: bool,
    min_heads: int,
    min_neurons: int,
    latency_batch: int,
    texts: int,
    repair: bool,
    rearrange: bool,
    rounds: int,
    resume: bool,
    finetune_minutes: float,
    timed: bool,
    compare: bool,
    length: int,
    score: str,
    match: str,
    batch_size: int,
    max_length: int,
    seed: int,
    device: str,
    output: Output,
) -> None:
    """Make MODEL smaller and faster: score, remove, repair, save.

    MODEL is a local folder or the id of a model on the hub. No labels are needed: texts like
    those the model is for show which heads and neurons matter. Some hundred are enough, 1,500
    are better. A QA model of `headsmith qa train` takes a SQuAD file as --data, and keeps its
    own loss low.
    """
    amounts = {"flops": flops, "params": params, "latency": latency, "keep": keep}
    budget = _budget({**amounts, "size": size}, plan_file)
    searched = {
        "--rearrange": rearrange,
        "--rounds": rounds > 1,
        "--min-heads": min_heads,
        "--min-neurons": min_neurons,
    }
    idle = [name for name, given in searched.items() if given]
    if plan_file is not None and idle:
        raise click.UsageError(f"--plan says what stays; {idle[0]} is for searching a plan.")
    if rounds > 1 and not budget.keys() & {"flops", "params", "max_bytes"}:
        raise click.UsageError(
            "--rounds leads to --flops, --params or --size in several steps. "
            f"Received --rounds {rounds} with --{next(iter(budget))}."
        )
    if dry_run and rounds > 1:
        raise click.UsageError(
            "--dry-run shows the plan of one round, for each further one scores what the last "
            f"one left. Received --rounds {rounds}: leave it out."
        )
    plan = None if plan_file is None else read_plan(plan_file)
    if not dry_run:
        if out is None:
            raise click.UsageError("Name the folder to write: -o FOLDER (or try --dry-run).")
        check_out(out, overwrite=overwrite, source=model)
    if data is None:
        raise click.UsageError(
            "Name a file with texts like those the model is for: --data texts.txt."
        )
    from headsmith.cli.calibration import make_batches, read_material

    read = read_material(model, data, text_column)
    from headsmith.pruning.processes import is_first, processes

    click.get_current_context().with_resource(processes())
    if not is_first():
        output.quiet = True
    with output.working("Opening the model"):
        from headsmith.cli.loading import choose_objective, open_model, sentence_files
        from headsmith.pruning.budget import Floors
        from headsmith.pruning.pipeline import check_model

        opened, tokenizer = open_model(model, device)
        check_model(opened)
        objective = choose_objective(opened, model, match)  # type: ignore[arg-type]
        batches = make_batches(
            read,
            opened,
            tokenizer,
            batch_size=batch_size,
            max_length=max_length,
            limit=texts,
            seed=seed,
        )
    search: dict[str, Any] = {
        **budget,
        "floors": Floors(min_heads, min_neurons),
        "length": length,
        "batch": latency_batch,
        "score": score,
        "rearrange": rearrange,
        "seed": seed,
    }
    if dry_run:
        _dry_run(opened, batches, objective, search, plan, output)
        return
    from headsmith.cli.job import Job, make_smaller, run, shown_path, write
    from headsmith.cli.resume import resumable
    from headsmith.report.headline import headline

    assert out is not None  # noqa: S101 - seen to above
    with resumable(out, output, resume=resume) as work:
        job = Job(
            name=model,
            source=data.name,
            budget=budget,
            plan=plan,
            length=length,
            score=score,
            floors=search["floors"],
            batch=latency_batch,
            repair=repair,
            rearrange=rearrange,
            rounds=rounds,
            finetune_minutes=finetune_minutes,
            seed=seed,
            shapes=tuple((n, length) for n in sorted({1, 32, latency_batch})) if timed else (),
            compare=compare,
            output=str(out),
            command=shlex.join(["headsmith", *sys.argv[1:]]),
            settings={"batch_size": batch_size, "max_length": max_length},
            work=work,
        )
        if not is_first():
            make_smaller(job, opened, batches, objective, silent)
            return
        with output.progress() as report:
            pruned, record = run(job, opened, batches, objective, report)
        with output.working("Saving"):
            files = sentence_files(model)
            written = write(out, pruned, record, tokenizer, files, overwrite=overwrite)
    output.result(
        {
            "written": {kind: str(path) for kind, path in written.items()},
            "run": record.to_dict(),
        },
        *summary(record),
        headline(record),
        f"Model and report: {shown_path(out)}",
        brief=[str(out)],
    )


def _budget(amounts: dict[str, float | None], plan_file: Path | None) -> dict[str, float]:
    """The one budget among the options, under the name `make_plan` has for it; none with a plan."""
    given = {**amounts, "plan": plan_file}
    named = [f"--{name}" for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise click.UsageError(
            "Say how small: one of --flops, --params, --latency, --keep, --size or --plan. "
            f"Received {' and '.join(named) if named else 'none'}."
        )
    budget = {name: value for name, value in amounts.items() if value is not None}
    for name, value in budget.items():
        if name != "size" and not 0 < value <= 1:
            raise BudgetError(
                f"--{name} is the fraction to keep, above 0 and at most 1 (0.6 keeps 60%). "
                f"Received {value:g}."
            )
    return {"max_bytes" if name == "size" else name: value for name, value in budget.items()}


def read_plan(path: Path) -> PrunePlan:
    """The plan in a JSON file: a bare one, or the one inside what `--dry-run` printed.

    Raises:
        PlanError: the file cannot be read, or holds no plan.
    """
    import json

    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"The plan {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise PlanError(f"The plan {path} is not valid JSON: {error}.") from error
    if isinstance(data, dict) and isinstance(data.get("plan"), dict):
        data = data["plan"]
    return PrunePlan.from_dict(data)


def _dry_run(
    model: nn.Module,
    batches: Batches,
    objective: Objective,
    search: dict[str, Any],
    plan: PrunePlan | None,
    output: Output,
) -> None:
    from headsmith.cli.job import predicted
    from headsmith.cli.result import size_table
    from headsmith.pruning.families import describe
    from headsmith.pruning.pipeline import make_plan
    from headsmith.pruning.processes import is_first
    from headsmith.pruning.surgery import check_plan

    description = describe(model)
    if plan is None:
        with output.progress() as report:
            plan, _ = make_plan(model, batches.calibration, objective, progress=report, **search)
    check_plan(plan, description)
    if not is_first():
        return
    before, after = predicted(model, description.shapes, plan, search["length"])
    output.result(
        {"plan": plan.to_dict(), "before": before, "after": after},
        plan_table(description.shapes, plan),
        size_table(before, after),
        "Nothing was written (dry run).",
        brief=[plan.to_json().rstrip()],
    )
