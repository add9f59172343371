"""The exceptions and the exit codes as tables."""

from __future__ import annotations

import inspect

__all__ = ["exceptions", "exit_codes"]


def exceptions() -> str:
    """Every exception class of headsmith: what it also is, when it is raised, its exit code."""
    from headsmith import errors
    from headsmith.cli.main import exit_code

    lines = ["| exception | is also | raised when | exit code |", "|---|---|---|---|"]
    for name in errors.__all__:
        kind = getattr(errors, name)
        also = [b.__name__ for b in kind.__bases__ if b is not errors.HeadsmithError]
        told = " ".join((inspect.getdoc(kind) or "").split())
        lines.append(
            f"| {{py:obj}}`{name} <headsmith.errors.{name}>` | {', '.join(f'`{a}`' for a in also)} "
            f"| {told} | {exit_code(kind('…'))} |"
        )
    return "\n".join(lines)


def exit_codes() -> str:
    """The table that the command line's own module begins with."""
    from headsmith.cli import main

    rows = [line for line in (inspect.getdoc(main) or "").splitlines() if line.startswith("|")]
    return "\n".join(rows)
