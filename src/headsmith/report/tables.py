"""The small tables of the report, as rows of ready texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headsmith.report.headline import kept
from headsmith.report.numbers import closeness, counted, milliseconds, percent, sized
from headsmith.report.stages import STAGES
from headsmith.spec.plan import format_ranges
from headsmith.spec.run import RunRecord

__all__ = ["Change", "block_rows", "changes", "pairs", "quality_rows", "stages"]

_QUALITY = {
    "cosine": "Mean cosine to the original's output",
    "cosine_low": "One text in twenty is below",
    "similarity_rank_correlation": "Rank correlation of all similarities between texts",
    "agreement": "Same answer as the original",
    "error": "Error of what was to be preserved (0 is perfect)",
}
_TITLES = {
    "flops": "FLOPs to keep",
    "params": "Parameters to keep",
    "length": "Sequence length",
    "tokens": "Tokens read",
    "held_out": "Texts held out",
}
_FRACTIONS = {"agreement"}
_LONGEST = 300  # characters of a value; nobody reads a whole file in a table


@dataclass(frozen=True)
class Change:
    """One row of the before and after table.

    Args:
        name: what is compared.
        before: its value for the unpruned model.
        after: its value for the pruned model.
        change: how they differ, in a word.
        better: whether this is what pruning is for.
    """

    name: str
    before: str
    after: str
    change: str
    better: bool


def changes(record: RunRecord) -> list[Change]:
    """Parameters, FLOPs, size on disk and measured times, before and after."""
    rows = []
    for key, name, write in (
        ("parameters", "Parameters, whole model", counted),
        ("encoder_parameters", "Parameters in attention and feed-forward blocks", counted),
        ("flops", "FLOPs for one token, in those blocks", counted),
        ("bytes", "Size on disk", sized),
    ):
        left = kept(record, key)
        if left is not None:
            rows.append(
                Change(
                    name,
                    write(record.before[key]),
                    write(record.after[key]),
                    _less(left),
                    left < 1,
                )
            )
    for run in record.latency:
        rows.append(
            Change(
                f"One call, batch {run.batch} × {run.length} tokens",
                milliseconds(run.before.median_ms),
                milliseconds(run.after.median_ms),
                f"{run.speedup:.2f}× as fast",
                run.speedup > 1,
            )
        )
    return rows


def _less(left: float) -> str:
    if left == 1:
        return "the same"
    return f"−{percent(1 - left)}" if left < 1 else f"+{percent(left - 1)}"


def quality_rows(record: RunRecord) -> list[tuple[str, str]]:
    """Held-out measures with their names in words."""
    return [
        (
            _QUALITY.get(key, _title(key)),
            percent(value) if key in _FRACTIONS else closeness(value),
        )
        for key, value in record.quality.items()
    ]


def block_rows(record: RunRecord) -> list[tuple[str, str, str, str]]:
    """Every block in numbers: name, kind, kept of all, and which indices those are."""
    return [
        (
            block.name,
            block.kind,
            f"{len(block.kept):,} of {block.count:,}",
            _shortened(format_ranges(sorted(block.kept)) or "none"),
        )
        for block in record.blocks
    ]


def pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Plain facts as (name, value), the names in words."""
    return [(_title(key), _fact(value)) for key, value in values.items()]


def _fact(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return _shortened(", ".join(map(_fact, value)))
    return _shortened(str(value))


def stages(seconds: Mapping[str, float]) -> list[tuple[str, str]]:
    """What each stage took."""
    return [
        (STAGES.get(name) or _title(name), f"{value:.1f}\u00a0s") for name, value in seconds.items()
    ]


def _title(key: str) -> str:
    words = _TITLES.get(key) or str(key).replace("_", " ")
    return words[:1].upper() + words[1:]


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
