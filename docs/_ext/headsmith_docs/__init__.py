"""What Sphinx needs to fill the pages in: `<!-- generated: … -->` lines become Markdown.

Pages in `docs/` are plain Markdown that reads well where nothing fills it in. Everything that
follows from the code (commands, families, errors, public names, measurements) is written at
build time by the functions in `expand.GENERATORS`, so it cannot be out of date.
"""

from __future__ import annotations

from typing import Any

from headsmith_docs.expand import expand

__all__ = ["setup"]


def _fill_in(app: Any, docname: str, source: list[str]) -> None:
    source[0] = expand(source[0])


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _fill_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
