"""The benchmarks page, from the tables that the benchmarks wrote.

Two kinds of CSV files in `benchmarks/results` are understood:

- rows of ours beside a reference, as `benchmarks/results.py` writes them (`ours_ms`, …);
- ways of pruning at several sizes, as `pruning-*.csv` has them: `way`, `kept` (or
  `flops_kept`), measures, and last what they were measured with.
"""

from __future__ import annotations

import csv
from itertools import groupby
from pathlib import Path

from headsmith_docs import plots

__all__ = ["page"]

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
_CIRCUMSTANCES = (
    "device",
    "cpu",
    "cores",
    "threads",
    "system",
    "python",
    "torch",
    "numpy",
    "transformers",
    "headsmith",
    "dtype",
    "date",
)
_TOPICS = {
    "chunking": "Chunked execution",
    "conv1d": "Conv1D",
    "heads": "Finding heads",
    "keras_wing": "Keras",
    "losses": "Losses, beside Transformers 5",
    "qa": "Questions and answers",
    "slicing": "Slicing layers",
    "squad": "The SQuAD head",
    "summary": "SequenceSummary",
    "whole_models": "Whole models",
}

Row = dict[str, str]


def page(folder: str | Path = RESULTS) -> str:
    """A section for each table; a sentence where there is none.

    Args:
        folder: where the CSV files are.
    """
    files = sorted(Path(folder).glob("*.csv"))
    tables = [(path.stem, rows) for path in files if (rows := _read(path))]
    if not tables:
        return "No results are kept in this checkout: `make bench` measures them."
    beside = [row for _, rows in tables if "ours_ms" in rows[0] for row in rows]
    parts = [_beside(beside)] if beside else []
    parts += [_ways(name, rows) for name, rows in tables if "ours_ms" not in rows[0]]
    return "\n\n".join(parts)


def _read(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _beside(rows: list[Row]) -> str:
    """Rows of ours and a reference, by topic."""
    parts = [
        "## Ours beside the reference",
        "Median of a call ± half the interquartile range; both sides in turns, in one process or "
        "two that take turns. Ratios above 1 are in our favour. Memory is the peak beyond what was "
        "held before the call.",
        _measured_with(rows),
    ]
    for topic, group in groupby(rows, key=lambda row: row.get("topic", "")):
        found = list(group)
        parts.append(f"### {_TOPICS.get(topic, topic.replace('_', ' '))}")
        bars = [
            (f"{r['case']}, {r['setting']}", ratio)
            for r in found
            if (ratio := _number(r.get("faster_median", ""))) and ratio > 0
        ]
        if bars:
            parts.append(plots.ratios(f"ratio-{topic}", bars))
        parts.append(_beside_table(found))
    return "\n\n".join(parts)


def _beside_table(rows: list[Row]) -> str:
    weighed = any(r.get("ours_peak_extra_mib") for r in rows)
    head = ["case", "ours, ms", "reference, ms", "as fast"]
    head += ["extra MiB, ours / reference"] if weighed else []
    lines = [_line(head), _line(["---", "---:", "---:", "---:"] + ["---:"] * weighed)]
    for r in rows:
        cells = [f"{r['case']}, {r['setting']}"]
        cells += [
            f"{_short(r[f'{side}_ms'])} ± {_short(_half(r.get(f'{side}_iqr_ms', '')))}"
            for side in ("ours", "reference")
        ]
        ratio = _number(r.get("faster_median", ""))
        cells.append(f"{ratio:.2f}×" if ratio else "")
        if weighed:
            pair = [_short(r.get(f"{s}_peak_extra_mib", "")) for s in ("ours", "reference")]
            cells.append(" / ".join(pair) if all(pair) else "")
        lines.append(_line(cells))
    return "\n".join(lines)


def _ways(name: str, rows: list[Row]) -> str:
    """Ways of pruning, each at several sizes."""
    columns = [c for c in rows[0] if c not in _CIRCUMSTANCES and any(r[c] for r in rows)]
    size = next((c for c in ("kept", "flops_kept") if c in columns), None)
    title = name.removeprefix("pruning-").replace("_", " ").replace("-", " ").capitalize()
    parts = [f"## Pruning: {title.lower()}" if name.startswith("pruning") else f"## {title}"]
    measures = [c for c in columns if c not in ("way", size) and _is_numeric(rows, c)]
    if "way" in columns and size and measures:
        lines: dict[str, list[tuple[float, float]]] = {}
        for r in rows:
            x, y = _number(r[size]), _number(r[measures[0]])
            if x is not None and y is not None:
                line = r["way"] + (" (labels)" if r.get("labels") else "")
                lines.setdefault(line, []).append((x, y))
        if any(len(points) > 1 for points in lines.values()):
            parts.append(plots.curves(f"curves-{name}", lines, size, measures[0]))
    told = [c.replace("_", " ") for c in columns]
    ranks = ["---:" if _is_numeric(rows, c) else "---" for c in columns]
    parts.append(
        "\n".join([_line(told), _line(ranks), *(_line([r[c] for c in columns]) for r in rows)])
    )
    parts.append(_measured_with(rows))
    return "\n\n".join(parts)


def _measured_with(rows: list[Row]) -> str:
    told = []
    for name in _CIRCUMSTANCES:
        if name == "system":
            continue  # the kernel's whole name tells readers nothing
        values = sorted({r[name] for r in rows if r.get(name)})
        if name == "date":
            values = sorted({v[:10] for v in values})
        if values:
            told.append(_plain(f"{name} {' or '.join(values)}"))
    return f"Measured with: {'; '.join(told)}." if told else ""


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    """Text in which nothing is Markdown or HTML."""
    return text.replace("<", "&lt;").replace("|", r"\|").replace("*", r"\*")


def _is_numeric(rows: list[Row], column: str) -> bool:
    return all(_number(r[column]) is not None for r in rows if r[column])


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _half(text: str) -> str:
    value = _number(text)
    return "" if value is None else str(value / 2)


def _short(text: str) -> str:
    value = _number(text)
    if value is None:
        return text
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
