"""The tables of the migration guide, written from the table that the code uses.

python -m headsmith.compat.guide docs/migrating.md
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from headsmith.compat.name_rules import RULES
from headsmith.compat.names import METHODS, NAMES, Name
from headsmith.compat.reexports import REEXPORTS, TOKENIZER_REEXPORTS
from headsmith.errors import DataError
from headsmith.files import replace_file

__all__ = ["BEGIN", "END", "tables", "with_tables"]

BEGIN = "<!-- tables: written by python -m headsmith.compat.guide -->"
END = "<!-- end of tables -->"


def tables() -> str:
    """Markdown: names by module, re-exports, and methods, each with what to use instead."""
    lines = ["| name | in 4.57 | in 5 | instead |", "|---|---|---|---|"]
    for module, rows in groupby(NAMES, key=lambda row: row.module):
        for names in _alike(list(rows)):
            row = names[0]
            told = ", ".join(f"`{name.name}`" for name in names)
            lines.append(
                f"| {told} in `{module}` | {row.status_457} | {row.status_5} | {_instead(names)} |"
            )
    lines += [
        "",
        "Model modules lost what they had imported for themselves:",
        "",
        "| name | gone from | instead |",
        "|---|---|---|",
    ]
    homes = {row.name: row for row in reversed(NAMES)}
    for name, models in REEXPORTS.items():
        count = len(models.split())
        places = (
            f"{count} model modules" if count > 8 else f"`modeling_` {', '.join(_stems(models))}"
        )
        home = homes[name].target.partition(":")[0]
        lines.append(f"| `{name}` | {places} | `{home}` |")
    for together, (home, models) in TOKENIZER_REEXPORTS.items():
        told = ", ".join(f"`{name}`" for name in together.split())
        lines.append(f"| {told} | {len(models.split())} tokenizer modules | `{home}` |")
    lines += ["", "| in model modules | in 4.57 | in 5 | instead |", "|---|---|---|---|"]
    for rule in RULES:
        lines.append(f"| {rule.name} | {rule.status_457} | {rule.status_5} | {rule.instead} |")
    lines += ["", "| method or behaviour | in 4.57 | in 5 | instead |", "|---|---|---|---|"]
    for method in METHODS:
        what = f"`{method.name}`" if method.name.isidentifier() else method.name
        lines.append(f"| {what} | {method.status_457} | {method.status_5} | {method.instead} |")
    return "\n".join(lines)


def _alike(rows: list[Name]) -> list[list[Name]]:
    """Rows of one module that differ in the name only, together."""
    groups: dict[tuple[str, str, str, str, bool], list[Name]] = {}
    for row in rows:
        home, _, new = row.target.partition(":")
        key = (row.status_457, row.status_5, home, row.note, new == row.name)
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _instead(names: list[Name]) -> str:
    row = names[0]
    home, _, new = row.target.partition(":")
    if not home:
        return row.note or "restored"
    renamed = sorted({name.target.partition(":")[2] for name in names}) if new != row.name else []
    told = f"`{home}`" + (f": {', '.join(f'`{n}`' for n in renamed)}" if renamed else "")
    return f"{told}; {row.note}" if row.note else told


def _stems(models: str) -> list[str]:
    return [f"`{model.rpartition('=')[2]}`" for model in models.split()]


def with_tables(page: str) -> str:
    """A page with its tables as they are now.

    Args:
        page: Markdown with the lines `BEGIN` and `END`.

    Raises:
        DataError: it does not have them.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DataError(f"Expected a page with the lines {BEGIN!r} and {END!r}. Received neither.")
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def main(arguments: list[str]) -> None:
    """Write the tables into a page.

    Args:
        arguments: the page's path.
    """
    path = Path(arguments[0])
    replace_file(path, with_tables(path.read_text(encoding="utf-8")).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
