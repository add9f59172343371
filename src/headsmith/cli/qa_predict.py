"""`headsmith qa predict`: answer one question, a file of them, or a stream."""

from __future__ import annotations

import json
import math
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from headsmith.cli.options import MODEL, device_option
from headsmith.cli.output import Output, clean, output_options
from headsmith.cli.qa_common import (
    batch_size_option,
    featurizer_for,
    open_qa,
    refuse_option,
    tell_problems,
)
from headsmith.errors import DataError
from headsmith.files import check_file, write_file

if TYPE_CHECKING:
    from headsmith.qa.decoding import Prediction

__all__ = ["command"]

_AT_ONCE = 64

_EPILOG = """\b
Examples:
  headsmith qa predict reader --question "Who sleeps?" --context "The cat sleeps."
  headsmith qa predict reader --question "Who sleeps?" --context @page.txt
  headsmith qa predict reader --data dev.json -o predictions.json
  producer | headsmith qa predict reader --data - | consumer
Each line that comes in is {"id": …, "question": …, "context": …}; each that goes out is
{"id": …, "answer": …, "nbest": […], "no_answer_score": …, "no_answer_probability": …, …}.
"""


@click.command(epilog=_EPILOG)
@click.argument("model", type=MODEL)
@click.option(
    "--data", metavar="FILE", help="Questions: a SQuAD file, JSON lines, or - for standard input."
)
@click.option("--question", metavar="TEXT", help="One question.")
@click.option("--context", metavar="TEXT", help="The text it is about, or @FILE to read it.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write predictions as JSON, id → text, for `headsmith qa evaluate`.",
)
@click.option(
    "--no-answer-scores",
    "scores_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the no-answer scores as JSON, id → number.",
)
@click.option("--overwrite", is_flag=True, help="Replace these files if they are there.")
@click.option(
    "--n-best",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Answers of each question to tell.",
)
@click.option("--no-overlaps", is_flag=True, help="Tell no two answers that share characters.")
@click.option(
    "--max-answer-tokens",
    type=click.IntRange(min=1),
    default=30,
    show_default=True,
    help="Longer answers are not considered.",
)
@click.option(
    "--threshold",
    type=float,
    metavar="SCORE",
    help='Say "no answer" above this no-answer score.  [default: the model\'s own]',
)
@click.option("--always-answer", is_flag=True, help='Never say "no answer".')
@click.option(
    "--max-length",
    type=click.IntRange(min=4),
    metavar="TOKENS",
    help="Tokens of a window.  [default: as trained]",
)
@click.option(
    "--stride",
    type=click.IntRange(min=0),
    metavar="TOKENS",
    help="Context tokens that neighbouring windows share.  [default: as trained]",
)
@click.option(
    "--legacy",
    is_flag=True,
    help="Pair starts and ends as the scripts of Transformers 4.34 did, for comparison.",
)
@batch_size_option(32, "Windows run at once.")
@refuse_option
@device_option
@output_options
def command(
    model: str,
    data: str | None,
    question: str | None,
    context: str | None,
    out: Path | None,
    scores_file: Path | None,
    overwrite: bool,
    n_best: int,
    no_overlaps: bool,
    max_answer_tokens: int,
    threshold: float | None,
    always_answer: bool,
    max_length: int | None,
    stride: int | None,
    legacy: bool,
    batch_size: int,
    bad: str,
    device: str,
    output: Output,
) -> None:
    """Answer questions with a QA MODEL.

    Give one --question and its --context, or --data. Without -o, answers to --data come as
    JSON lines on standard output, in the order of the questions, as soon as they are known.
    """
    if (data is None) == (question is None) or (question is None) != (context is None):
        raise click.UsageError("Give --question and --context, or --data.")
    if threshold is not None and always_answer:
        raise click.UsageError("Give --threshold or --always-answer, not both.")
    if threshold is not None and math.isnan(threshold):
        raise click.UsageError("--threshold is a number. Received nan.")
    for file in (out, scores_file):
        if file is not None:
            check_file(file, overwrite=overwrite)
    if out is not None and out == scores_file:
        raise click.UsageError("Give --out and --no-answer-scores files of their own.")
    text = None if context is None else _context(context)
    if data not in (None, "-") and not Path(str(data)).is_file():
        raise DataError(f"The data file {data} does not exist.")
    with output.working("Opening the model"):
        opened, tokenizer = open_qa(model, device)
        from headsmith.pruning.latency import longest_input
        from headsmith.qa.predicting import DecodingOptions, predict
        from headsmith.qa.squad_data import Problems, Question, read_lines, read_squad

        settings = opened.settings
        featurizer = featurizer_for(tokenizer, settings, longest_input(opened), max_length, stride)
    options = DecodingOptions(n_best, max_answer_tokens, not no_overlaps, legacy, batch_size)
    calibration = settings.calibration
    if always_answer or threshold is not None:
        limit = math.inf if threshold is None else threshold
        calibration = replace(calibration, threshold=limit)
    if question is not None:
        asked = [Question("question", question, str(text))]
        found = next(predict(opened, featurizer, asked, options, calibration=calibration))
        _tell_one(found, output)
        return
    problems = Problems(refuse=bad == "refuse")
    if data == "-":
        stream = _Arriving(sys.stdin)
        seen: set[str] = set()  # what an id stands for must not hang on which lines came together
        predictions = _in_turns(
            stream,
            lambda lines, number: predict(
                opened,
                featurizer,
                read_lines(lines, labels=False, problems=problems, first=number + 1, seen=seen),
                options,
                calibration=calibration,
                problems=problems,
                at_once=_AT_ONCE,
            ),
        )
    else:
        predictions = predict(
            opened,
            featurizer,
            read_squad(str(data), labels=False, problems=problems),
            options,
            calibration=calibration,
            problems=problems,
        )
    texts: dict[str, str] = {}
    scores: dict[str, float] = {}
    count = 0
    for prediction in predictions:
        count += 1
        if out is None:
            click.echo(_line(prediction))
            if data == "-":
                sys.stdout.flush()
        else:
            texts[prediction.id] = prediction.answer
        if scores_file is not None:
            scores[prediction.id] = _number(prediction.no_answer_score)
    for file, values in ((out, texts), (scores_file, scores)):
        if file is not None:
            written = json.dumps(values, ensure_ascii=False, indent=1)
            write_file(file, written + "\n", overwrite=overwrite)
    tell_problems(output, problems, "standard input" if data == "-" else data)
    if not count and problems.total:
        raise DataError("No question could be used.")
    if out is not None:
        output.result(
            {"written": out, "questions": count, "skipped": dict(problems.counts)},
            f" {count:,} predictions written to {out}",
            brief=[str(out)],
        )


def _context(given: str) -> str:
    if not given.startswith("@"):
        return given
    path = Path(given[1:])
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _tell_one(found: Prediction, output: Output) -> None:
    table = output.table("answer", ">probability", ">from", ">to")
    for span in found.nbest:
        table.add_row(clean(span.text), f"{span.probability:.3f}", str(span.start), str(span.end))
    says = f" {clean(found.answer)}" if found.answer else " No answer."
    output.result(
        _record(found),
        says,
        table,
        f" P(no answer) {found.no_answer_probability:.3f}",
        brief=[clean(found.answer)],
    )


def _record(found: Prediction) -> dict[str, Any]:
    return {
        "id": found.id,
        "answer": found.answer,
        "nbest": [asdict(span) for span in found.nbest],
        "no_answer_score": _number(found.no_answer_score),
        "no_answer_probability": found.no_answer_probability,
        "window": found.window,
    }


def _number(value: float) -> float:
    """A finite stand-in for an infinite score: JSON has none."""
    return min(max(value, -1e9), 1e9)


def _line(found: Prediction) -> str:
    return json.dumps(_record(found), ensure_ascii=False)


class _Arriving:
    """Lines of a stream, as many at a time as have come: none waits for those behind it."""

    def __init__(self, stream: TextIO) -> None:
        self._lines: queue.Queue[str | BaseException | None] = queue.Queue(4 * _AT_ONCE)
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()
        self.ended = False

    def _read(self, stream: TextIO) -> None:
        try:
            for line in stream:
                self._lines.put(line)
        except (OSError, ValueError) as error:
            self._lines.put(error)
        self._lines.put(None)

    def take(self) -> list[str]:
        """Wait for a line, and take what else is there."""
        found: list[str] = []
        while len(found) < _AT_ONCE:
            try:
                line = self._lines.get(block=not found)
            except queue.Empty:
                break
            if line is None:
                self.ended = True
                break
            if isinstance(line, BaseException):
                raise DataError(f"Standard input cannot be read as UTF-8 text: {line}.") from line
            found.append(line)
        return found


def _in_turns(
    stream: _Arriving, answer: Callable[[list[str], int], Iterator[Prediction]]
) -> Iterator[Prediction]:
    number = 0
    while not stream.ended:
        lines = stream.take()
        yield from answer(lines, number)
        number += len(lines)
