"""Bars of feed-forward neurons: how many stay in each layer."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from headsmith.report.figures.layout import LABEL, WIDTH
from headsmith.report.numbers import percent
from headsmith.report.svg import picture, tag, text
from headsmith.spec.run import BlockRun

__all__ = ["neuron_bars"]


def neuron_bars(blocks: Sequence[BlockRun]) -> Markup | None:
    """A bar a layer: how many of its feed-forward neurons stay.

    Args:
        blocks: those of a run, of any kind.

    Returns:
        The picture, or None where there are no neurons to show.
    """
    rows = [b for b in blocks if b.kind == "neurons"]
    most = max((b.count for b in rows), default=0)
    if not most:
        return None
    step, height = (28.0, 18.0) if len(rows) <= 24 else (16.0, 11.0)
    room = WIDTH - LABEL - 172
    drawn = []
    for place, block in enumerate(rows):
        y = 6 + place * step
        whole, left = room * block.count / most, room * len(block.kept) / most
        share = len(block.kept) / block.count if block.count else 0.0
        label = f"{len(block.kept):,} of {block.count:,} ({percent(share)})"
        drawn.append(
            tag(
                "g",
                tag("title", f"Layer {block.layer}: {label} neurons kept"),
                text(LABEL - 12, y + height / 2 + 4, f"Layer {block.layer}", "small", "end"),
                tag("rect", x=LABEL, y=y, width=whole, height=height, rx=3, class_="track"),
                tag("rect", x=LABEL, y=y, width=left, height=height, rx=3, class_="after"),
                text(LABEL + whole + 10, y + height / 2 + 4, label, "muted small"),
            )
        )
    title = (
        f"Bars of feed-forward neurons: {sum(len(b.kept) for b in rows):,} of "
        f"{sum(b.count for b in rows):,} kept over {len(rows)} layers."
    )
    return picture("neurons-title", title, WIDTH, 6 + len(rows) * step, *drawn)
