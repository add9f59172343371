"""Lines `<!-- generated: NAME ARGUMENTS -->` and what stands for them."""

from __future__ import annotations

import re
from collections.abc import Callable

from headsmith_docs import api, bench, commands, differences, error_tables

__all__ = ["GENERATORS", "expand", "placeholders"]

GENERATORS: dict[str, Callable[..., str]] = {
    "api": api.module_page,
    "benchmarks": bench.page,
    "commands": commands.reference,
    "differences": differences.rows_of,
    "entry": api.entry,
    "errors": error_tables.exceptions,
    "exit-codes": error_tables.exit_codes,
    "spec": api.spec_pages,
}
"""Name → function of the words that follow it, which returns Markdown."""

_LINE = re.compile(r"^<!-- generated: (\S+)((?: \S+)*) -->$", re.MULTILINE)
_EXAMPLE = re.compile(r"^(```python\n(?:(?!```).*\n)*?)\n+```$", re.MULTILINE)


def placeholders(page: str) -> list[tuple[str, list[str]]]:
    """The (name, arguments) of all lines of a page that are filled in."""
    return [(name, words.split()) for name, words in _LINE.findall(page)]


def expand(page: str) -> str:
    """A page with all such lines filled in.

    Raises:
        KeyError: nothing of that name is known.
    """
    filled = _LINE.sub(lambda found: GENERATORS[found[1]](*found[2].split()).strip("\n"), page)
    # The blank line at the end of an example is for whoever runs it.
    return _EXAMPLE.sub(r"\1```", filled)
