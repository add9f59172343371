"""The heat map of heads: which stay, which go, and how much each matters in its layer."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from headsmith.report.figures.layout import LABEL, WIDTH
from headsmith.report.ranks import ranks
from headsmith.report.svg import picture, tag, text
from headsmith.spec.run import BlockRun

__all__ = ["head_map"]

_TALLY = 92.0  # room for "1024 of 4096" on the right
_LEVELS = 5  # shades, from `s0` to `s4`
_MOST_CELLS = 20_000  # a page with more would be too heavy to open


def head_map(blocks: Sequence[BlockRun]) -> Markup | None:
    """Layers down, heads across: kept ones shaded and numbered by rank, removed ones crossed.

    Args:
        blocks: those of a run, of any kind.

    Returns:
        The picture, or None where there are no heads to show, or far too many.
    """
    rows = [b for b in blocks if b.kind == "heads"]
    most = max((b.count for b in rows), default=0)
    if not most or len(rows) * most > _MOST_CELLS:
        return None
    pitch = min(46.0, (WIDTH - LABEL - _TALLY) / most)
    height = min(32.0, max(pitch * 0.8, 6.0))
    gap = 4.0 if pitch >= 20 else 1.0
    drawn: list[Markup] = []
    if pitch >= 20:
        drawn.append(text(LABEL - 12, 13, "head", "muted small", "end"))
        drawn += [
            text(LABEL + (h + 0.5) * pitch - gap / 2, 13, str(h), "muted small", "middle")
            for h in range(most)
        ]
    top = 22.0
    for place, block in enumerate(rows):
        y = top + place * (height + gap)
        drawn.append(_row_label(block, y, height))
        drawn += _cells(block, y, pitch, pitch - gap, height)
        drawn.append(_row_tally(block, LABEL + most * pitch + 8, y, height))
    below = top + len(rows) * (height + gap)
    drawn.append(_legend(below + 10, ranked=any(b.importance for b in rows), numbered=pitch >= 20))
    gone = sum(b.count - len(b.kept) for b in rows)
    title = (
        f"Heat map of attention heads: {gone} of {sum(b.count for b in rows)} removed "
        f"over {len(rows)} layers."
    )
    return picture("heads-title", title, WIDTH, below + 36, *drawn)


def _cells(block: BlockRun, y: float, pitch: float, width: float, height: float) -> list[Markup]:
    kept = set(block.kept)
    places = ranks(block.importance, block.kept) if len(block.importance) == block.count else []
    found = []
    for head in range(block.count):
        x = LABEL + head * pitch
        rank = f", rank {places[head]} of {block.count}" if places else ""
        name = f"Layer {block.layer}, head {head}: "
        if head not in kept:
            inset = min(width, height) * 0.32
            middle_x, middle_y, arm = x + width / 2, y + height / 2, min(width, height) / 2 - inset
            cross = (
                f"M{middle_x - arm:.1f} {middle_y - arm:.1f}l{2 * arm:.1f} {2 * arm:.1f}"
                f"m0 {-2 * arm:.1f}l{-2 * arm:.1f} {2 * arm:.1f}"
            )
            parts = [
                tag("rect", x=x, y=y, width=width, height=height, rx=3, class_="gone"),
                tag("path", d=cross, class_="cross"),
            ]
            found.append(tag("g", tag("title", f"{name}removed{rank}"), *parts))
            continue
        share = 1 - (places[head] - 1) / max(1, block.count - 1) if places else 0.5
        level = round(share * (_LEVELS - 1))
        parts = [tag("rect", x=x, y=y, width=width, height=height, rx=3, class_=f"cell s{level}")]
        if places and pitch >= 20:
            parts.append(
                text(
                    x + width / 2,
                    y + height / 2 + 4,
                    str(places[head]),
                    f"on s{level}t",
                    "middle",
                )
            )
        found.append(tag("g", tag("title", f"{name}kept{rank}"), *parts))
    return found


def _row_label(block: BlockRun, y: float, height: float) -> Markup:
    size = "small" if height >= 11 else "tiny"
    return text(LABEL - 12, y + height / 2 + 4, f"Layer {block.layer}", size, "end")


def _row_tally(block: BlockRun, x: float, y: float, height: float) -> Markup:
    size = "small" if height >= 11 else "tiny"
    return text(x, y + height / 2 + 4, f"{len(block.kept)} of {block.count}", f"muted {size}")


def _legend(y: float, *, ranked: bool, numbered: bool) -> Markup:
    x = LABEL
    parts = []
    if ranked:
        for level in reversed(range(_LEVELS)):
            parts.append(tag("rect", x=x, y=y, width=22, height=14, rx=2, class_=f"cell s{level}"))
            x += 24
        parts.append(
            text(
                x + 6,
                y + 11,
                "kept: 1 matters most in its layer"
                if numbered
                else "kept, from most to least important",
                "muted small",
            )
        )
        x += 230
    else:
        parts.append(tag("rect", x=x, y=y, width=22, height=14, rx=2, class_="cell s2"))
        parts.append(text(x + 30, y + 11, "kept", "muted small"))
        x += 84
    parts.append(tag("rect", x=x, y=y, width=22, height=14, rx=2, class_="gone"))
    parts.append(tag("path", d=f"M{x + 8:.1f} {y + 4:.1f}l6 6m0 -6l-6 6", class_="cross"))
    parts.append(text(x + 30, y + 11, "removed", "muted small"))
    return tag("g", *parts)
