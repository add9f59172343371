"""Bars of error: how much of what the cut broke is left after repair."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from headsmith.report.figures.layout import LABEL, WIDTH
from headsmith.report.numbers import percent
from headsmith.report.svg import picture, tag, text
from headsmith.spec.run import BlockRun

__all__ = ["repair_bars"]


def repair_bars(blocks: Sequence[BlockRun]) -> Markup | None:
    """How much of the error that the cut made is left after repair, a bar a block.

    Args:
        blocks: those of a run, of any kind.

    Returns:
        The picture, or None where nothing was repaired.
    """
    rows = [b for b in blocks if b.error_before and b.error_after is not None]
    if not rows:
        return None
    layers = sorted({b.layer for b in rows})
    step, height = (28.0, 16.0) if len(layers) <= 24 else (17.0, 10.0)
    panel = (WIDTH - LABEL) / 2
    room = panel - 96
    drawn = []
    for column, (kind, name) in enumerate((("heads", "attention"), ("neurons", "feed-forward"))):
        x = LABEL + column * panel
        drawn.append(text(x, 13, name, "strong small"))
        for block in (b for b in rows if b.kind == kind):
            y = 24 + layers.index(block.layer) * step
            left = (block.error_after or 0.0) / (block.error_before or 1.0)
            share = "<0.1%" if 0 < left < 0.001 else percent(left)
            note = (
                f"Layer {block.layer}, {name}: mean squared error {block.error_before:.3g} before "
                f"repair, {block.error_after:.3g} after"
            )
            drawn.append(
                tag(
                    "g",
                    tag("title", note),
                    tag("rect", x=x, y=y, width=room, height=height, rx=3, class_="before"),
                    tag(
                        "rect",
                        x=x,
                        y=y,
                        width=room * min(max(left, 0.0), 1.0),
                        height=height,
                        rx=3,
                        class_="after",
                    ),
                    text(x + room + 8, y + height / 2 + 4, f"{share} left", "muted small"),
                )
            )
    for place, layer in enumerate(layers):
        y = 24 + place * step + height / 2 + 4
        drawn.append(text(LABEL - 12, y, f"Layer {layer}", "small", "end"))
    title = "Bars of the error left in each block after repair, as a share of the error before."
    return picture("repair-title", title, WIDTH, 24 + len(layers) * step, *drawn)
