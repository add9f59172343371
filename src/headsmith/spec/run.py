"""RunRecord: what a pruning run was given, decided and measured, as plain data.

Commands write it beside the checkpoint as `headsmith-run.json`; reports are drawn from it
alone, later and without any framework.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from headsmith.errors import DataError

__all__ = ["FILE_NAME", "BlockRun", "CurvePoint", "LatencyRun", "RunRecord", "Timing"]

FILE_NAME = "headsmith-run.json"
_FORMAT = "headsmith-run"
_VERSION = 1


@dataclass(frozen=True)
class BlockRun:
    """One block before and after.

    Args:
        name: its name in the plan.
        kind: `"heads"` or `"neurons"`.
        layer: place of its layer in the model, from 0.
        count: heads or neurons before.
        kept: indices that stayed.
        importance: of each head or neuron, in the units of the score, comparable within the
            block; empty where not known.
        error_before: mean squared error of the block's output before repair; None without it.
        error_after: the same after repair.
    """

    name: str
    kind: str
    layer: int
    count: int
    kept: list[int]
    importance: list[float] = field(default_factory=list)
    error_before: float | None = None
    error_after: float | None = None


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one forward call over several rounds.

    Args:
        median_ms: the median.
        low_ms: the lower quartile.
        high_ms: the upper quartile.
        rounds: how many calls were timed.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    rounds: int


@dataclass(frozen=True)
class LatencyRun:
    """Time of the model before and after, measured in turns on one shape.

    Args:
        batch: sequences a call.
        length: tokens a sequence.
        before: the unpruned model.
        after: the pruned model.
    """

    batch: int
    length: int
    before: Timing
    after: Timing

    @property
    def speedup(self) -> float:
        """Median before ÷ median after."""
        return self.before.median_ms / max(self.after.median_ms, 1e-9)


@dataclass(frozen=True)
class CurvePoint:
    """One model of the comparison with other ways to prune.

    Args:
        way: how it was pruned, such as `"magnitude"`.
        flops: fraction of the blocks' FLOPs that stayed.
        quality: held-out measures, as those of the run.
        latency: its time beside the unpruned model's; None where not measured.
    """

    way: str
    flops: float
    quality: dict[str, float]
    latency: LatencyRun | None = None


@dataclass(frozen=True)
class RunRecord:
    """One pruning run.

    Args:
        model: name or path as the user gave it.
        model_type: the Transformers model type, such as `"bert"`.
        model_class: class name, such as `"BertModel"`.
        headsmith: version that ran.
        versions: package → version.
        machine: facts about the device: `device`, `processor`, `cores`, `threads`.
        created: ISO 8601 time, UTC.
        command: the command line that repeats the run, or "".
        settings: budget, score, seed and the like, as given.
        data: `source`, `texts`, `tokens`, `held_out` (texts), …
        blocks: before and after of every block.
        before: `parameters`, `encoder_parameters`, `flops` (per token, of the blocks), `bytes`.
        after: the same for the pruned model.
        quality: held-out measures, such as `cosine` (mean), `cosine_low` (5th percentile).
        latency: measured times; empty where not measured.
        seconds: stage → seconds.
        curve: the model and others of its kind, pruned in other ways and to other sizes.
        samples: a few held-out texts with their own measure, `{"text": …, "cosine": …}`.
    """

    model: str
    model_type: str
    model_class: str
    headsmith: str
    versions: dict[str, str]
    machine: dict[str, Any]
    created: str
    command: str
    settings: dict[str, Any]
    data: dict[str, Any]
    blocks: list[BlockRun]
    before: dict[str, int]
    after: dict[str, int]
    quality: dict[str, float] = field(default_factory=dict)
    latency: list[LatencyRun] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    curve: list[CurvePoint] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"format": _FORMAT, "version": _VERSION, **asdict(self)}

    def to_json(self) -> str:
        """The record as a JSON text."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_dict(cls, data: object) -> RunRecord:
        """Read what `to_dict` gave.

        Raises:
            DataError: `data` is not a run record; the message names what is wrong.
        """
        if not isinstance(data, Mapping) or data.get("format") != _FORMAT:
            raise DataError('A run record is a JSON object with "format": "headsmith-run".')
        if data.get("version") != _VERSION:
            raise DataError(
                f"This headsmith reads run records of version {_VERSION}. "
                f"Received version {data.get('version')!r}."
            )
        try:
            given = {f.name: data[f.name] for f in fields(cls) if f.name in data}
            given["blocks"] = [BlockRun(**b) for b in data["blocks"]]
            given["latency"] = [_latency(run) for run in data.get("latency", [])]
            given["curve"] = [_point(point) for point in data.get("curve", [])]
            return cls(**given)
        except (KeyError, TypeError) as error:
            raise DataError(f"The run record is incomplete or malformed: {error}.") from error

    @classmethod
    def from_json(cls, text: str) -> RunRecord:
        """Read what `to_json` wrote.

        Raises:
            DataError: the text is not JSON, or not a run record.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"The run record is not valid JSON: {error}.") from error
        return cls.from_dict(data)


def _latency(data: Mapping[str, Any]) -> LatencyRun:
    before, after = (Timing(**data[side]) for side in ("before", "after"))
    return LatencyRun(data["batch"], data["length"], before, after)


def _point(data: Mapping[str, Any]) -> CurvePoint:
    timed = data["latency"]
    latency = None if timed is None else _latency(timed)
    return CurvePoint(data["way"], data["flops"], data["quality"], latency)
