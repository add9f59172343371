"""`headsmith migrate`: imports of names that Transformers moved or dropped, rewritten."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headsmith.cli.output import Output, clean, output_options

if TYPE_CHECKING:
    from headsmith.compat.migrate import Migrated, Migration

__all__ = ["command"]

_EPILOG = """\b
Examples:
  headsmith migrate src                 show what would change, as a diff
  headsmith migrate src > x.patch       the same for git apply or patch -p1
  headsmith migrate src --write         change it
  headsmith doctor src                  what a rewrite cannot mend
"""


@click.command(epilog=_EPILOG)
@click.argument("path", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--write/--diff",
    "write",
    default=False,
    help="Change the files, or show what would change.  [default: --diff]",
)
@output_options
def command(path: tuple[Path, ...], write: bool, output: Output) -> None:
    """Rewrite imports that Transformers 5 broke.

    PATH is a file or a folder with Python files. Names go to their new place in Transformers
    where that does the same, else to headsmith. Nothing but `from ... import ...` of absolute
    modules is touched; files that do not parse are named and left alone.
    """
    from headsmith.compat.migrate import migrate

    with output.progress() as report:
        done = migrate(path, write=write, workers=os.cpu_count() or 1, progress=report)
    for file in done.skipped:
        output.warn(f"{clean(file.path)} is left as it is: {clean(file.skipped)}")
    output.result(
        {
            "files": done.files,
            "written": write,
            "changed": [_plain(file) for file in done.changed],
            "skipped": [{"path": f.path, "reason": f.skipped} for f in done.skipped],
        },
        *([] if write else [_coloured(file.diff) for file in done.changed]),
        *([_table(output, done)] if write and done.changed else []),
        *([_summary(done)] if write else []),
        brief=[file.path for file in done.changed],
        piped=None if write else b"".join(file.patch for file in done.changed),
    )
    if not write:
        output.note(_summary(done))


def _plain(file: Migrated) -> dict[str, Any]:
    told = asdict(file)
    del told["patch"]  # bytes; `diff` says the same
    return told


def _coloured(diff: str) -> Any:
    from rich.text import Text

    styles = {"+++": "bold", "---": "bold", "@@": "cyan", "+": "green", "-": "red"}
    text = Text()
    for line in diff.split("\n"):
        style = next((s for start, s in styles.items() if line.startswith(start)), "")
        text.append(clean(line.expandtabs()) + "\n", style=style)
    text.rstrip()
    return text


def _table(output: Output, done: Migration) -> Any:
    table = output.table("File", ">Names moved")
    for file in done.changed:
        table.add_row(clean(file.path), str(len(file.changes)))
    return table


def _summary(done: Migration) -> str:
    names = sum(len(file.changes) for file in done.changed)
    if not names:
        return f" Nothing to rewrite in {done.files} files."
    what = "moved" if done.changed[0].written else "would move (--write does it)"
    return f" {names} names in {len(done.changed)} of {done.files} files {what}."
