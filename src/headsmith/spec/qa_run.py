"""QARunRecord: what a training run of a QA model was given and gave, as plain data.

Written beside the model as `headsmith-run.json`, as that of a pruning run is; reports are drawn
from it alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from headsmith.errors import DataError
from headsmith.spec.typed import check_fields

__all__ = ["QARunRecord", "thinned"]

_FORMAT = "headsmith-qa-run"
_VERSION = 1


@dataclass(frozen=True)
class QARunRecord:
    """One training run of a QA model.

    Args:
        model: the encoder, as the user gave it.
        model_type: its Transformers model type.
        headsmith: version that ran.
        versions: package → version.
        machine: `device`, `processor`, `cores`, `threads`.
        created: ISO 8601 time, UTC.
        command: the command line that repeats the run, or "".
        settings: options, as given.
        data: `train`, `questions`, `windows`, `eval`, `skipped`, …
        losses: (step, mean loss since the point before), at most some hundred.
        seconds: stage → seconds.
        scores: on the evaluation data, as the official script calls them; empty without.
        calibration: of "no answer": `source`, `threshold`, `offset`, `temperature`, `questions`.
        thresholds: (threshold, F1 on the evaluation data) with rising thresholds; empty where
            every question has an answer.
        samples: `{"question", "answer", "right", "f1"}` of a few questions.
    """

    model: str
    model_type: str
    headsmith: str
    versions: dict[str, str]
    machine: dict[str, Any]
    created: str
    command: str
    settings: dict[str, Any]
    data: dict[str, Any]
    losses: list[tuple[int, float]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    thresholds: list[tuple[float, float]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)

    @staticmethod
    def is_one(data: object) -> bool:
        """Whether JSON data say that they are such a record."""
        return isinstance(data, Mapping) and data.get("format") == _FORMAT

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"format": _FORMAT, "version": _VERSION, **asdict(self)}

    def to_json(self) -> str:
        """The record as a JSON text."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, data: object) -> QARunRecord:
        """Read what `to_dict` gave.

        Raises:
            DataError: `data` is no such record.
        """
        if not isinstance(data, Mapping) or not cls.is_one(data):
            raise DataError('A QA run record is a JSON object with "format": "headsmith-qa-run".')
        if data.get("version") != _VERSION:
            raise DataError(
                f"This headsmith reads QA run records of version {_VERSION}. "
                f"Received version {data.get('version')!r}."
            )
        try:
            check_fields(cls, data)
            given = {f.name: data[f.name] for f in fields(cls) if f.name in data}
            for name in ("losses", "thresholds"):
                given[name] = [(a, b) for a, b in data.get(name, [])]
            return cls(**given)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"The run record is incomplete or malformed: {error}.") from error

    @classmethod
    def from_json(cls, text: str) -> QARunRecord:
        """Read what `to_json` wrote.

        Raises:
            DataError: the text is not JSON, or no such record.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"The run record is not valid JSON: {error}.") from error
        return cls.from_dict(data)


def thinned(losses: list[float], most: int = 200) -> list[tuple[int, float]]:
    """Losses of each step as at most `most` points, each the mean of its steps.

    Example:
        >>> from headsmith.spec.qa_run import thinned
        >>> thinned([4.0, 2.0, 1.0, 3.0], most=2)
        [(2, 3.0), (4, 2.0)]
    """
    size = max(1, -(-len(losses) // most))
    found = []
    for start in range(0, len(losses), size):
        part = losses[start : start + size]
        found.append((start + len(part), sum(part) / len(part)))
    return found
