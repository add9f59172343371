"""`headsmith qa evaluate`: exact match and F1, as the official SQuAD scripts compute them."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from headsmith.cli.output import Output, output_options
from headsmith.cli.qa_common import read_labelled, refuse_option, tell_problems
from headsmith.errors import DataError
from headsmith.files import check_file, write_file

__all__ = ["command", "read_predictions", "read_scores"]

_EPILOG = """\b
Examples:
  headsmith qa evaluate predictions.json dev-v2.0.json
  headsmith qa evaluate answers.jsonl dev-v2.0.json --per-question scores.jsonl
  headsmith qa evaluate predictions.json dev-v2.0.json --no-answer-scores scores.json
"""


@click.command(epilog=_EPILOG)
@click.argument("predictions", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--squad",
    "version",
    type=click.Choice(["auto", "1.1", "2.0"]),
    default="auto",
    show_default=True,
    help="Whose rules; auto takes 2.0 if some question has no answer.",
)
@click.option(
    "--no-answer-scores",
    "scores_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="JSON, id → how likely there is no answer; adds the best threshold.",
)
@click.option(
    "--threshold",
    type=float,
    default=1.0,
    show_default=True,
    help='A prediction counts as "no answer" where that score is above this.',
)
@click.option(
    "--per-question",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write each question's scores as JSON lines.",
)
@click.option("--overwrite", is_flag=True, help="Replace that file if it is there.")
@refuse_option
@output_options
def command(
    predictions: Path,
    data: Path,
    version: str,
    scores_file: Path | None,
    threshold: float,
    per_question: Path | None,
    overwrite: bool,
    bad: str,
    output: Output,
) -> None:
    """Score PREDICTIONS against DATA.

    PREDICTIONS is JSON, id → text with "" for no answer, or the JSON lines that `headsmith qa
    predict` prints. DATA is a SQuAD file, v1.1 or v2.0.
    """
    from headsmith.qa.metrics import evaluate
    from headsmith.qa.squad_data import Problems

    if per_question is not None:
        check_file(per_question, overwrite=overwrite)
    problems = Problems()
    questions = read_labelled(data, bad, problems)
    given = read_predictions(predictions)
    scores = None if scores_file is None else read_scores(scores_file)
    found = evaluate(
        questions,
        given,
        version={"auto": None, "1.1": 1, "2.0": 2}[version],
        no_answer_scores=scores,
        threshold=threshold,
    )
    tell_problems(output, problems, data)
    if found.missing:
        rule = (
            "count as wrong" if found.version == 1 else "are left out, as the official script does"
        )
        output.warn(
            f"{found.missing} of {len(questions)} questions have no prediction; they {rule}."
        )
    if found.unknown:
        output.warn(f"{found.unknown} predictions are for questions that {data} does not hold.")
    if scores is not None and (lacking := sum(q.id not in scores for q in questions)):
        output.warn(f"{lacking} questions have no no-answer score; 0 was taken.")
    if per_question is not None:
        lines = "".join(
            json.dumps(
                {
                    "id": s.id,
                    "exact": s.exact,
                    "f1": s.f1,
                    "has_answer": s.has_answer,
                    "prediction": s.prediction,
                },
                ensure_ascii=False,
            )
            + "\n"
            for s in found.questions
        )
        write_file(per_question, lines, overwrite=overwrite)
    table = output.table(
        "", ">exact match", ">F1", ">questions", title=f"SQuAD v{_name(found.version)}"
    )
    table.add_row("all", f"{found.exact:.3f}", f"{found.f1:.3f}", f"{found.total:,}")
    names = {"HasAns": "with an answer", "NoAns": "without an answer"}
    for part, (exact, f1, total) in found.parts.items():
        table.add_row(names[part], f"{exact:.3f}", f"{f1:.3f}", f"{total:,}")
    shown: list[Any] = [table]
    for name, best in (("exact match", found.best_exact), ("F1", found.best_f1)):
        if best is not None:
            shown.append(f" Best {name}: {best.score:.3f} at threshold {best.threshold:g}")
    result: dict[str, Any] = {
        **found.to_dict(),
        "squad": _name(found.version),
        "missing": found.missing,
    }
    result |= {"unknown": found.unknown, "skipped": dict(problems.counts)}
    output.result(result, *shown, brief=[f"{found.exact:.3f} {found.f1:.3f}"])


def _name(version: int) -> str:
    return "1.1" if version == 1 else "2.0"


def read_predictions(path: Path) -> dict[str, str]:
    """Predictions by id, from a JSON object or from JSON lines.

    Raises:
        DataError: the file is missing or is neither.
    """
    text = _read(path)
    try:
        data = json.loads(text)
    except RecursionError as error:
        raise DataError(f"{path} is nested too deeply.") from error
    except ValueError as error:
        return _from_lines(text, path, error)
    if isinstance(data, dict) and set(data) >= {"id", "answer"} and isinstance(data["id"], str):
        return _from_lines(text, path, None)
    if not isinstance(data, dict):
        raise DataError(f"{path}: expected a JSON object, id → text. Received a {_kind(data)}.")
    for key, value in data.items():
        if not isinstance(value, str):
            raise DataError(
                f"{path}: the prediction of {key!r} is no text. Received a {_kind(value)}."
            )
    return data


def _from_lines(text: str, path: Path, cause: Exception | None) -> dict[str, str]:
    found: dict[str, str] = {}
    # Not splitlines(): an answer may hold U+2028 and other ends of lines that JSON does not know.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path} is not valid JSON: {cause or error}. Expected an object, id → text, or "
                "JSON lines."
            ) from error
        if not isinstance(record, dict) or not isinstance(record.get("answer"), str):
            raise DataError(f"{path}, line {number}: expected an object with 'id' and 'answer'.")
        found[str(record.get("id"))] = record["answer"]
    return found


def read_scores(path: Path) -> dict[str, float]:
    """No-answer scores by id, from a JSON object.

    Raises:
        DataError: the file is missing or is not that.
    """
    try:
        data = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(data, dict):
        raise DataError(f"{path}: expected a JSON object, id → number. Received a {_kind(data)}.")
    return {key: _score(path, key, value) for key, value in data.items()}


def _score(path: Path, key: str, value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with suppress(OverflowError):  # a whole number beyond all floats
            if not math.isnan(value):
                return float(value)
    raise DataError(f"{path}: the score of {key!r} is no number. Received {value!r:.40}.")


def _read(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"The file {path} does not exist.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _kind(value: object) -> str:
    names = {dict: "object", list: "list", str: "text", bool: "truth value", type(None): "null"}
    return names.get(type(value), "number")
