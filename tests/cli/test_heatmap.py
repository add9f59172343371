"""Heat maps in the terminal, with and without colours, wide and narrow."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from headsmith.cli.heatmap import HeadMap, HeadRow
from headsmith.spec.run import BlockRun


def _drawn(rows: list[HeadRow], *, width: int = 80, colour: bool = False) -> str:
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        color_system="truecolor" if colour else None,
    )
    console.print(HeadMap(rows))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_ranks_and_shades_without_colour() -> None:
    lines = _drawn([HeadRow(3, [0.1, 9.0, 2.0, 0.5], 4)]).splitlines()
    assert lines[0].split() == ["Head", "0", "1", "2", "3"]
    assert lines[1].split() == ["Layer", "3", "░", "4", "█", "1", "▓", "2", "▒", "3"]
    # A head's number stands above its rank.
    assert [lines[0].index(str(h)) for h in range(4)] == [
        lines[1].index(s) + 2 for s in ("░", "█", "▓", "▒")
    ]


def test_removed_heads_are_dots() -> None:
    blocks = [
        BlockRun("a", "heads", 0, 3, [0, 2], [0.5, 0.1, 0.9]),
        BlockRun("b", "neurons", 0, 9, [1], [0.5] * 9),
    ]
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(HeadMap.of_run(blocks))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 2
    assert lines[1].split() == ["Layer", "0", "▓", "2", "·", "█", "1"]


def test_without_importance_there_is_no_rank() -> None:
    assert _drawn([HeadRow(0, [], 2, {1})]).splitlines()[1].split() == ["Layer", "0", "·", "█"]


def test_colour_instead_of_shades() -> None:
    drawn = _drawn([HeadRow(0, [0.1, 0.9], 2)], colour=True)
    assert "\x1b[" in drawn
    assert "48;2;253;231;37" in drawn  # the brightest, for the most important
    assert not set("░▒▓█") & set(drawn)


@pytest.mark.parametrize("width", [12, 20, 40, 80, 140])
def test_it_fits_wherever_one_column_a_head_does(width: int) -> None:
    heads = min(32, width - 10)
    rows = [HeadRow(0, list(range(heads)), heads)]
    drawn = _drawn(rows, width=width).splitlines()[-1]
    assert sum(drawn.count(shade) for shade in "░▒▓█") == heads
    assert len(drawn) <= width
    coloured = Text.from_ansi(_drawn(rows, width=width, colour=True).splitlines()[-1])
    assert coloured.cell_len <= width
    shaded = sum(s.end - s.start for s in coloured.spans if s.style.bgcolor)  # type: ignore[union-attr]
    assert shaded >= heads


def test_a_layer_without_heads() -> None:
    assert _drawn([HeadRow(0, [], 0), HeadRow(1, [1.0], 1)]).count("\n") == 3


def test_nothing_at_all() -> None:
    assert _drawn([]) == " Head\n"
