"""A heat map of heads in the terminal: layers down, heads across.

Each cell holds the head's rank in its layer, 1 the most important, and a shade: a colour where
the terminal has colours, a character from light to full where it has not. Removed heads are
dots. Cells shrink where there is little room, first to the shade alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headsmith.report.ranks import ranks

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

    from headsmith.spec.run import BlockRun

__all__ = ["HeadMap", "HeadRow"]

_SHADES = "░▒▓█"
# Viridis at five points: even in brightness, and told apart by colour-blind eyes.
_COLOURS = (
    "#ffffff on #440154",
    "#ffffff on #3b528b",
    "#ffffff on #21918c",
    "#000000 on #5ec962",
    "#000000 on #fde725",
)
_REMOVED = "·"
_WIDEST = 4


@dataclass(frozen=True)
class HeadRow:
    """One layer of the map.

    Args:
        layer: its number.
        importance: of each head; empty where not known.
        kept: the heads that stay; None where none goes.
        count: how many heads there are.
    """

    layer: int
    importance: Sequence[float]
    count: int
    kept: Collection[int] | None = None


class HeadMap:
    """The heat map, to be printed with `Output.show` or `Output.result`.

    Args:
        rows: one for each layer.

    Example:
        >>> from rich.console import Console
        >>> from headsmith.cli.heatmap import HeadMap, HeadRow
        >>> Console(width=60, color_system=None).print(HeadMap([HeadRow(0, [0.1, 0.9], 2)]))
         Head    0   1
         Layer 0 ░ 2 █ 1
    """

    def __init__(self, rows: Sequence[HeadRow]) -> None:
        self.rows = rows

    @classmethod
    def of_run(cls, blocks: Sequence[BlockRun]) -> HeadMap:
        """The map of a pruning run: what was kept, and how important it was."""
        return cls(
            [
                HeadRow(b.layer, b.importance, b.count, set(b.kept))
                for b in blocks
                if b.kind == "heads"
            ]
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Draw for the console at hand."""
        from rich.text import Text

        most = max((row.count for row in self.rows), default=0)
        label = max([len(_label(row)) for row in self.rows] + [len(" Head")]) + 1
        cell = max(1, min(_WIDEST, (options.max_width - label) // max(1, most)))
        coloured = console.color_system is not None and not console.no_color
        if cell > 2:
            heads = "".join(f"{h:>{3}}".ljust(cell) for h in range(most))
            yield Text(f"{' Head':<{label}}{heads}".rstrip(), style="dim", no_wrap=True)
        for row in self.rows:
            line = Text(f"{_label(row):<{label}}", no_wrap=True)
            for text, style in _cells(row, cell, coloured):
                line.append(text, style)
            yield line


def _label(row: HeadRow) -> str:
    return f" Layer {row.layer}"


def _cells(row: HeadRow, width: int, coloured: bool) -> Iterator[tuple[str, str]]:
    kept = set(range(row.count)) if row.kept is None else set(row.kept)
    places = ranks(row.importance, kept) if row.importance else [0] * row.count
    for head in range(row.count):
        if head not in kept:
            yield f"{_REMOVED:>{min(3, width)}}".ljust(width), "dim"
            continue
        # 0 for the least important of the layer, 1 for the most.
        share = (
            1.0
            if row.count < 2 or not places[head]
            else (row.count - places[head]) / (row.count - 1)
        )
        number = f"{places[head] or '':>2}"
        if coloured:
            style = _COLOURS[round(share * (len(_COLOURS) - 1))]
            text = f" {number}"[:width] if width > 2 else ""
            yield text.ljust(width), style
        else:
            shade = _SHADES[round(share * (len(_SHADES) - 1))]
            yield (f"{shade}{number}" if width > 2 else shade).ljust(width), ""
