"""`headsmith latency`: how long models take, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from headsmith.cli.options import MODEL, device_option, length_option
from headsmith.cli.output import Output, clean, output_options

if TYPE_CHECKING:
    from rich.table import Table

    from headsmith.spec.run import Timing

__all__ = ["command"]

_EPILOG = """\b
Examples:
  headsmith latency my-model smaller
  headsmith latency my-model smaller --batch 1 --batch 32 --length 64
  headsmith latency smaller --threads 1 --rounds 50 --format json
"""


@click.command(epilog=_EPILOG)
@click.argument("models", type=MODEL, nargs=-1, required=True, metavar="MODEL [MODEL]...")
@click.option(
    "--batch",
    "batches",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1, 32),
    show_default="1 and 32",
    metavar="N",
    help="Sequences a call; repeat it for several.",
)
@length_option
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    metavar="N",
    help="Calls timed of each model.  [default: as many as a second or more holds]",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processor threads torch may use.  [default: torch's own choice]",
)
@device_option
@output_options
def command(
    models: tuple[str, ...],
    batches: tuple[int, ...],
    length: int,
    rounds: int | None,
    threads: int | None,
    device: str,
    output: Output,
) -> None:
    """Time models side by side.

    Each MODEL is a local folder or the id of a model on the hub. They take turns on the same
    random tokens, so that a busy machine is equally unkind to all; shown are the median of one
    forward call, the quartiles, and the speed-up against the first model.
    """
    with output.working("Opening the models"):
        from headsmith.cli.loading import open_without_tokenizer, pick_device
        from headsmith.cli.machine import machine

        target = pick_device(device)
        opened = {
            name: open_without_tokenizer(path, target)
            for name, path in zip(_names(models), models, strict=True)
        }
    rows: list[dict[str, Any]] = []
    with _threads(threads):
        facts = machine(target)
        for batch in dict.fromkeys(batches):
            with output.progress() as report:
                timings = _measure(opened, batch, length, rounds, report)
            rows += _rows(timings, batch, length)
    output.result(
        {"machine": facts, "latency": rows},
        _table(output, rows),
        _footnote(facts, length),
        brief=[f"{r['model']}\t{r['batch']}\t{r['length']}\t{r['median_ms']:.4g}" for r in rows],
    )


def _names(models: Sequence[str]) -> Iterator[str]:
    """One name a model; the same model twice, to see the noise, is told apart."""
    seen: Counter[str] = Counter()
    for model in models:
        seen[model] += 1
        yield model if seen[model] == 1 else f"{model} ({seen[model]})"


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measure(
    models: dict[str, Any], batch: int, length: int, rounds: int | None, report: Any
) -> dict[str, Timing]:
    from headsmith.pruning.latency import measure

    def titled(stage: str, done: int, total: int) -> None:
        report(f"Timing, batch {batch}", done, total)

    return measure(models, batch=batch, length=length, rounds=rounds, progress=titled)


def _rows(timings: dict[str, Timing], batch: int, length: int) -> Iterator[dict[str, Any]]:
    first = next(iter(timings.values()))
    for name, timing in timings.items():
        yield {
            "model": name,
            "batch": batch,
            "length": length,
            "median_ms": timing.median_ms,
            "low_ms": timing.low_ms,
            "high_ms": timing.high_ms,
            "rounds": timing.rounds,
            "speedup": first.median_ms / max(timing.median_ms, 1e-9),
        }


def _table(output: Output, rows: list[dict[str, Any]]) -> Table:
    from headsmith.report.numbers import milliseconds

    table = output.table("Model", ">Batch", ">Median", ">Quartiles", ">Speed-up", ">Rounds")
    previous = None
    for row in rows:
        if previous is not None and row["batch"] != previous:
            table.add_section()
        previous = row["batch"]
        table.add_row(
            clean(row["model"]),
            str(row["batch"]),
            milliseconds(row["median_ms"]),
            f"{milliseconds(row['low_ms'])} – {milliseconds(row['high_ms'])}",
            f"{row['speedup']:.2f}×",
            str(row["rounds"]),
        )
    return table


def _footnote(facts: dict[str, Any], length: int) -> str:
    return (
        f" {length} tokens a sequence; {facts['device']}, {facts['processor']}, "
        f"{facts['threads']} thread{'' if facts['threads'] == 1 else 's'}"
    )
