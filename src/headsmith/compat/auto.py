"""`import headsmith.compat.auto` is `headsmith.compat.restore()`, for a single line at the top."""

from __future__ import annotations

from headsmith.compat.restoration import restore

__all__: list[str] = []

restore()
