"""The report page of a QA training run, drawn from its record alone."""

from __future__ import annotations

import json
from typing import Any

from headsmith.errors import DataError
from headsmith.report import figures, tables
from headsmith.report.page import day, template
from headsmith.spec.qa_run import QARunRecord

__all__ = ["qa_headline", "render_qa"]

_PARTS = (("", "all questions"), ("HasAns_", "with an answer"), ("NoAns_", "without an answer"))


def qa_headline(record: QARunRecord) -> str:
    """How the run went, in one sentence.

    Example:
        >>> from headsmith.report.qa_page import qa_headline
        >>> from headsmith.spec.qa_run import QARunRecord
        >>> record = QARunRecord("m", "bert", "0.1.0", {}, {}, "", "", {}, {"questions": 8000},
        ...                      scores={"exact": 50.94, "f1": 61.2})
        >>> qa_headline(record)
        'Exact match 50.9, F1 61.2 after 8,000 questions.'
    """
    seen = record.data.get("questions")
    after = f" after {seen:,} questions" if isinstance(seen, int) else ""
    exact = record.scores.get("exact", record.scores.get("exact_match"))
    if exact is None:
        return f"Trained to answer questions{after}."
    return f"Exact match {exact:.1f}, F1 {record.scores.get('f1', 0.0):.1f}{after}."


def render_qa(record: QARunRecord) -> str:
    """Draw the page: one HTML file that needs nothing else; all values are escaped.

    Args:
        record: what `headsmith qa train` wrote as `headsmith-run.json`.

    Raises:
        DataError: the record holds values of the wrong kind.

    Example:
        >>> from headsmith.report.qa_page import render_qa
        >>> from headsmith.spec.qa_run import QARunRecord
        >>> record = QARunRecord("<m>", "bert", "0.1.0", {}, {}, "", "", {}, {})
        >>> "<m>" in render_qa(record)
        False
    """
    try:
        return template("qa.html.j2").render(**_contents(record))
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
        raise DataError(
            "The run record holds values that cannot be drawn. Expected what "
            f"`headsmith qa train` writes. Received: {type(error).__name__}: {error}."
        ) from error


def _contents(record: QARunRecord) -> dict[str, Any]:
    scores = _scores(record)
    limit = record.calibration.get("threshold")
    return {
        "run": record,
        "headline": qa_headline(record),
        "tiles": [(row[2], f"F1, {row[0]}") for row in scores],
        "scores": scores,
        "loss": figures.loss_curve(record.losses),
        "thresholds": figures.threshold_curve(
            record.thresholds, limit if isinstance(limit, float) else None
        ),
        "snippet": _snippet(record),
        "facts": {
            "Data": tables.pairs(record.data),
            "Settings": tables.pairs(record.settings),
            "No answer": tables.pairs(record.calibration),
            "Machine": tables.pairs(record.machine),
            "Versions": list({"headsmith": record.headsmith, **record.versions}.items()),
            "Time": tables.stages(record.seconds),
        },
        "created": day(record.created),
    }


def _scores(record: QARunRecord) -> list[tuple[str, str, str, str]]:
    found = []
    for prefix, name in _PARTS:
        exact = record.scores.get(f"{prefix}exact", None if prefix else _v1(record))
        f1 = record.scores.get(f"{prefix}f1")
        if exact is None or f1 is None:
            continue
        total = record.scores.get(f"{prefix}total", record.data.get("eval_questions", 0))
        found.append((name, f"{exact:.1f}", f"{f1:.1f}", f"{int(total):,}"))
    return found


def _v1(record: QARunRecord) -> float | None:
    return record.scores.get("exact_match")


def _snippet(record: QARunRecord) -> str:
    folder = record.settings.get("output")
    path = json.dumps(folder if isinstance(folder, str) and folder else "path/to/the/folder")
    return (
        "from headsmith.qa import QAModel, answer\n"
        "from transformers import AutoTokenizer\n\n"
        f"model = QAModel.from_pretrained({path})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({path})\n"
        'answer(model, tokenizer, "Who sleeps?", "The cat sleeps.").answer\n'
    )
