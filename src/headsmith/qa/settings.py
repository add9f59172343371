"""QASettings: what a QA checkpoint tells beside its weights, as `headsmith-qa.json`."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from headsmith.errors import CheckpointError

__all__ = ["FILE_NAME", "HEAD_FILE", "Calibration", "QASettings", "read_settings"]

FILE_NAME = "headsmith-qa.json"
HEAD_FILE = "qa_head.safetensors"
_FORMAT = "headsmith-qa"
_VERSION = 1

NoAnswer = Literal["class", "span", "both"]


@dataclass(frozen=True)
class Calibration:
    """When a question counts as one without answer, fitted on questions not trained on.

    P(no answer) = 1 / (1 + exp(-(score - offset) / temperature)).

    Args:
        source: which score: `"class"` the answer class, `"span"` the log-odds of the CLS token
            against the best span, `"both"` their sum.
        threshold: the answer is empty where the score is above it.
        offset: score at which both are as likely.
        temperature: above 0; how many units of the score are one unit of log-odds.
        questions: how many it was fitted on; 0 = never.
    """

    source: NoAnswer = "both"
    threshold: float = math.inf
    offset: float = 0.0
    temperature: float = 1.0
    questions: int = 0

    def probability(self, score: float) -> float:
        """How likely there is no answer, 0 to 1.

        Example:
            >>> from headsmith.qa.settings import Calibration
            >>> Calibration(offset=2.0).probability(2.0)
            0.5
        """
        odds = (score - self.offset) / self.temperature
        if odds > 0:
            return 1 / (1 + math.exp(-odds))
        return math.exp(odds) / (1 + math.exp(odds))


@dataclass(frozen=True)
class QASettings:
    """The settings of a QA model.

    Args:
        start_n_top: starts of the beam search.
        end_n_top: ends of each start.
        answer_start: which start the answer class is trained on: `"soft"` as at inference, or
            `"gold"` as Transformers 4.34 did.
        max_length: tokens of a window.
        stride: context tokens that neighbouring windows share.
        question_first: whether the question stands before the context; None leaves it to the
            tokenizer.
        calibration: of "no answer".

    Example:
        >>> from headsmith.qa.settings import QASettings
        >>> QASettings.from_json(QASettings(stride=64).to_json()).stride
        64
    """

    start_n_top: int = 5
    end_n_top: int = 5
    answer_start: Literal["soft", "gold"] = "soft"
    max_length: int = 384
    stride: int = 128
    question_first: bool | None = None
    calibration: Calibration = field(default_factory=Calibration)

    def __post_init__(self) -> None:
        for name, least in (("start_n_top", 1), ("end_n_top", 1), ("max_length", 4), ("stride", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} is a whole number from {least}. Received {value!r}.")
        if self.answer_start not in ("soft", "gold"):
            raise ValueError(f"answer_start is soft or gold. Received {self.answer_start!r}.")
        if self.calibration.source not in ("class", "span", "both"):
            raise ValueError(
                f"source is class, span or both. Received {self.calibration.source!r}."
            )
        if not self.calibration.temperature > 0:
            raise ValueError(f"temperature is above 0. Received {self.calibration.temperature!r}.")

    def to_json(self) -> str:
        """The settings as a JSON text."""
        data = asdict(self)
        for name, value in data["calibration"].items():
            if isinstance(value, float) and math.isinf(value):
                data["calibration"][name] = str(value)  # JSON has no infinity
        return json.dumps({"format": _FORMAT, "version": _VERSION, **data}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> QASettings:
        """Read what `to_json` wrote.

        Raises:
            CheckpointError: it is not that.
        """
        try:
            data = json.loads(text)
            if data.get("format") != _FORMAT or data.get("version") != _VERSION:
                raise ValueError(f'expected "format": "{_FORMAT}", "version": {_VERSION}')
            known = {f.name for f in fields(cls)}
            settings = cls(**{k: v for k, v in data.items() if k in known - {"calibration"}})
            given: dict[str, Any] = dict(data.get("calibration") or {})
            if given.get("threshold") in ("inf", "-inf"):
                given["threshold"] = float(given["threshold"])
            return replace(settings, calibration=Calibration(**given)).checked()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{FILE_NAME} cannot be understood: {error}.") from error

    def checked(self) -> QASettings:
        """Self, if its calibration holds numbers.

        Raises:
            ValueError: it does not.
        """
        for name in ("threshold", "offset", "temperature"):
            value = getattr(self.calibration, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
                raise ValueError(f"{name} is a number. Received {value!r}")
        return self


def read_settings(path: str | os.PathLike[str]) -> QASettings | None:
    """The settings of a QA checkpoint; None where `path` holds none.

    Args:
        path: a local folder, or the id of a model on the hub.

    Raises:
        CheckpointError: they cannot be understood.
    """
    folder = Path(path)
    if folder.is_dir():
        file = folder / FILE_NAME
        if not file.is_file():
            return None
    else:
        from transformers.utils.hub import cached_file

        try:
            found = cached_file(str(path), FILE_NAME)
        except (OSError, ValueError):  # not there, not reachable, or not a name the hub can have
            return None
        if found is None:
            return None
        file = Path(found)
    try:
        return QASettings.from_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}.") from error
