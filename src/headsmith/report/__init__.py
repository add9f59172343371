"""The report page of a pruning run: drawn from its record alone, without any framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headsmith.report.page import render as render

__all__ = ["render"]


def __getattr__(name: str) -> Any:
    # The command line reads numbers.py from here; jinja2 is imported only to draw.
    if name == "render":
        from headsmith.report.page import render

        return render
    raise AttributeError(f"module 'headsmith.report' has no attribute {name!r}")
