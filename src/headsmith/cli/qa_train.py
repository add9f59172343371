"""`headsmith qa train`: an encoder with a SQuAD head, trained, calibrated and measured."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from headsmith.cli.options import MODEL
from headsmith.cli.output import Output, output_options
from headsmith.cli.qa_common import batch_size_option, refuse_option
from headsmith.cli.target import check_out

__all__ = ["command"]

_EPILOG = """\b
Examples:
  headsmith qa train my-encoder --data train.json --eval dev.json -o reader
  headsmith qa train my-encoder --data train.json -o reader --resume
  accelerate launch -m headsmith.cli qa train my-encoder --data train.json -o reader
A run that was killed is taken up again by the same command with --resume; until the end its
state is kept in the folder OUT.training.
"""


@click.command(epilog=_EPILOG)
@click.argument("encoder", type=MODEL)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="Questions with answers: a SQuAD file, or JSON lines.",
)
@click.option(
    "--eval",
    "eval_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Questions to measure on afterwards.",
)
@click.option(
    "--calibrate",
    "calibrate_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help='Questions to fit on when to say "no answer".  [default: one context in 20 of --data, '
    "if some question there has no answer]",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Where to write the model.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output folder if it is there.")
@click.option("--resume", is_flag=True, help="Take up a run that was killed.")
@click.option("--epochs", type=click.IntRange(min=1), default=2, show_default=True)
@batch_size_option(16, "Windows in one batch and process.")
@click.option(
    "--accumulate",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Batches whose gradients make one step.",
)
@click.option("--learning-rate", type=float, default=1e-4, show_default=True, metavar="RATE")
@click.option("--warmup", type=float, default=0.1, show_default=True, metavar="FRACTION")
@click.option(
    "--max-length",
    type=click.IntRange(min=4),
    default=384,
    show_default=True,
    metavar="TOKENS",
    help="Tokens of a window.",
)
@click.option(
    "--stride",
    type=click.IntRange(min=0),
    default=128,
    show_default=True,
    metavar="TOKENS",
    help="Context tokens that neighbouring windows share.",
)
@click.option(
    "--answer-start",
    type=click.Choice(["soft", "gold"]),
    default="soft",
    show_default=True,
    help="Which start the answer class is trained on; gold is what Transformers 4.34 did.",
)
@click.option(
    "--mixed-precision",
    type=click.Choice(["no", "fp16", "bf16"]),
    default="no",
    show_default=True,
)
@click.option(
    "--save-every",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="STEPS",
    help="Steps between two states that can be taken up.",
)
@click.option(
    "--workers", type=click.IntRange(min=0), default=0, help="Processes that make windows."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--cpu", is_flag=True, help="Stay on the CPU where there is a GPU.")
@refuse_option
@output_options
def command(
    encoder: str,
    data: Path,
    eval_file: Path | None,
    calibrate_file: Path | None,
    out: Path,
    overwrite: bool,
    resume: bool,
    epochs: int,
    batch_size: int,
    accumulate: int,
    learning_rate: float,
    warmup: float,
    max_length: int,
    stride: int,
    answer_start: str,
    mixed_precision: str,
    save_every: int,
    workers: int,
    seed: int,
    cpu: bool,
    bad: str,
    output: Output,
) -> None:
    """Train ENCODER to answer questions with spans of a text.

    ENCODER is a local folder or the id of a model on the hub, of any family that Transformers
    has an encoder and a fast tokenizer of. Prints how it scores, and writes the model, the
    record of the run and a report page.
    """
    if not 0 < learning_rate < float("inf"):
        raise click.BadParameter("expected a number above 0.", param_hint="'--learning-rate'")
    if not 0 <= warmup <= 1:
        raise click.BadParameter("expected a fraction from 0 to 1.", param_hint="'--warmup'")
    check_out(out, overwrite=overwrite, source=encoder)
    from headsmith.cli.qa_job import QAJob, run

    options: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "accumulate": accumulate,
        "learning_rate": learning_rate,
        "warmup": warmup,
        "seed": seed,
        "mixed_precision": mixed_precision,
        "save_every": save_every,
    }
    head = {"answer_start": answer_start, "max_length": max_length, "stride": stride}
    run(
        QAJob(
            encoder=encoder,
            data=data,
            eval_file=eval_file,
            calibrate_file=calibrate_file,
            out=out,
            overwrite=overwrite,
            resume=resume,
            workers=workers,
            cpu=cpu,
            bad=bad,
            options=options,
            head=head,
            command=shlex.join(["headsmith", *sys.argv[1:]]),
        ),
        output,
    )
