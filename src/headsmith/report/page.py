"""The report page: one HTML file that needs nothing else, drawn from a run record."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any

import jinja2

from headsmith.errors import DataError
from headsmith.report import figures, tables
from headsmith.report.headline import headline, kept, main_latency
from headsmith.report.numbers import closeness, percent
from headsmith.report.snippet import snippet
from headsmith.spec.run import RunRecord

__all__ = ["day", "render", "template"]


def render(record: RunRecord) -> str:
    """Draw the page.

    The page is one HTML file with pictures inside. It is readable without JavaScript, in light
    and in dark, on paper, and by screen readers; nothing is loaded from anywhere. All values
    are escaped: a record may come from a stranger.

    Args:
        record: what `headsmith prune` wrote as `headsmith-run.json`.

    Returns:
        The HTML text.

    Raises:
        DataError: the record holds values of the wrong kind.

    Example:
        >>> from headsmith.report.page import render
        >>> from headsmith.spec.run import RunRecord
        >>> record = RunRecord("<tiny>", "bert", "BertModel", "0.1.0", {}, {}, "", "", {}, {}, [],
        ...                    {"flops": 100}, {"flops": 50})
        >>> page = render(record)
        >>> "Half the FLOPs" in page, "<tiny>" in page
        (True, False)
    """
    try:
        return template().render(**_contents(record))
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
        raise DataError(
            "The run record holds values that cannot be drawn. Expected what "
            f"`headsmith prune` writes. Received: {type(error).__name__}: {error}."
        ) from error


@cache
def template(name: str = "page.html.j2") -> jinja2.Template:
    """One of the pages' templates, in which every value is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("headsmith.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _contents(record: RunRecord) -> dict[str, Any]:
    return {
        "run": record,
        "headline": headline(record),
        "tiles": _tiles(record),
        "changes": tables.changes(record),
        "latency": figures.latency_bars(record.latency),
        "tradeoff": figures.tradeoff_curve(record.curve),
        "heads": figures.head_map(record.blocks),
        "ranked": any(b.importance for b in record.blocks if b.kind == "heads"),
        "neurons": figures.neuron_bars(record.blocks),
        "repair": figures.repair_bars(record.blocks),
        "quality": tables.quality_rows(record),
        "samples": _samples(record),
        "blocks": tables.block_rows(record),
        "snippet": snippet(record),
        "facts": {
            "Data": tables.pairs(record.data),
            "Settings": tables.pairs(record.settings),
            "Machine": tables.pairs(record.machine),
            "Versions": list({"headsmith": record.headsmith, **record.versions}.items()),
            "Time": tables.stages(record.seconds),
        },
        "created": day(record.created),
    }


def _tiles(record: RunRecord) -> list[tuple[str, str]]:
    """The few numbers that matter, each with what it counts."""
    tiles = []
    for key, name in (("flops", "of the FLOPs"), ("parameters", "of the parameters")):
        left = kept(record, key)
        if left is not None:
            tiles.append((percent(left), name))
    latency = main_latency(record)
    if latency is not None:
        tiles.append((f"{latency.speedup:.2f}×", f"as fast at batch {latency.batch}"))
    if "cosine" in record.quality:
        tiles.append((closeness(record.quality["cosine"]), "cosine to the original"))
    elif "agreement" in record.quality:
        tiles.append((percent(record.quality["agreement"]), "same answers"))
    return tiles


def _samples(record: RunRecord) -> list[tuple[str, str]]:
    """Held-out texts, each with its own measure."""
    found = []
    for sample in record.samples:
        measures = [v for k, v in sample.items() if k != "text" and isinstance(v, (int, float))]
        found.append((str(sample.get("text", "")), closeness(measures[0]) if measures else "–"))
    return found


def day(created: str) -> str:
    """A time as people write it; as it came where it cannot be read."""
    try:
        when = datetime.fromisoformat(created)
    except ValueError:
        return created
    zone = " UTC" if when.utcoffset() == timedelta(0) else ""
    return f"{when.day} {when:%B %Y, %H:%M}{zone}"
