"""What differs from Transformers 4.34 in one item: its rows of `differences.md`."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

__all__ = ["rows_of", "table"]

_PAGE = Path(__file__).parents[2] / "differences.md"


@cache
def table(wing: str) -> dict[str, list[tuple[str, str, str]]]:
    """Item → rows of (4.34, headsmith, test), an item's rows going on until the next is named.

    Args:
        wing: the heading of the table, `"PyTorch"` or `"Keras"`.
    """
    text = _PAGE.read_text(encoding="utf-8").partition(f"## {wing}\n")[2].partition("\n## ")[0]
    found: dict[str, list[tuple[str, str, str]]] = {}
    item = ""
    for line in text.splitlines():
        if not line.startswith("| ") or line.startswith("| Item"):
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        item = cells[0] or item
        found.setdefault(item, []).append((cells[1], cells[2], cells[3]))
    return found


def rows_of(wing: str, item: str) -> str:
    """The rows in which an item is named, without the tests.

    Args:
        wing: `"PyTorch"` or `"Keras"`.
        item: a name of 4.34.

    Raises:
        LookupError: no row names it.
    """
    rows = [r for key, rs in table(wing).items() if f"`{item}`" in key for r in rs]
    if not rows:
        raise LookupError(f"docs/differences.md has no row about `{item}` under {wing}.")
    lines = ["| in 4.34 | here |", "|---|---|"]
    lines += [f"| {old} | {new} |" for old, new, _ in rows]
    return "\n".join(lines)
