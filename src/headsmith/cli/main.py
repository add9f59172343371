"""The `headsmith` command: a group whose commands are imported only when they are called.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | an unexpected error: a fault of headsmith |
| 2 | wrong usage: an option or a command that does not exist |
| 3 | bad input: data, model, plan, budget or checkpoint |
| 4 | an optional dependency is missing |
| 5 | a result cannot be written |
| 130 | interrupted |
| 141 | whoever read the output through a pipe has gone |
| 143 | asked to end (SIGTERM) |
"""

from __future__ import annotations

import difflib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import click

import headsmith
from headsmith.cli.output import show_error
from headsmith.errors import HeadsmithError, MissingExtraError, OutputError
from headsmith.files import disk_is_full

__all__ = ["Commands", "cli", "exit_code", "run"]

COMMANDS = {
    "prune": "Make a model smaller: remove heads and neurons, repair, save.",
    "inspect": "Show a model's blocks, heads, parameters and FLOPs.",
    "latency": "Time models side by side.",
    "report": "Draw the report page of a run again.",
    "export": "Write a model as ONNX, or for Transformers without headsmith.",
    "qa": "Answer questions from texts: train, predict, evaluate, refit.",
    "demo": "Prune a real sentence-embedding model to half its FLOPs.",
    "migrate": "Rewrite imports that Transformers 5 broke.",
    "doctor": "Show versions, and what is missing; or what ails old model code.",
    "completion": "Print the completion script of a shell.",
}
"""Command → what it does. Its module `headsmith.cli.<command>` exposes it as `command`."""

UNEXPECTED, USAGE, BAD_INPUT, MISSING_EXTRA, NOT_WRITTEN = 1, 2, 3, 4, 5
INTERRUPTED, READER_GONE, ENDED = 130, 141, 143

_EPILOG = """\b
Examples:
  headsmith prune MODEL --data texts.txt --flops 0.5 -o smaller
  headsmith inspect MODEL
  headsmith latency MODEL smaller
  headsmith COMMAND --help

\b
Exit codes:
    0  done
    1  unexpected error (a fault of headsmith)
    2  wrong usage
    3  bad input: data, model, plan, budget or checkpoint
    4  an optional dependency is missing
    5  a result cannot be written
  130  interrupted
  141  the reader of a pipe has gone
  143  asked to end (SIGTERM)
"""


class Commands(click.Group):
    """Lists its commands from a table, and imports one when it is called.

    Attributes:
        told: command → what it does.
        modules: prefix of the modules that hold them, each as `command`.
    """

    told: ClassVar[dict[str, str]] = COMMANDS
    modules = "headsmith.cli."

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name them in the table's order."""
        return list(self.told)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one."""
        if cmd_name not in self.told:
            return None
        found: click.Command = import_module(self.modules + cmd_name).command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command asked for, or tell what it may have been meant as."""
        name = args[0]
        if name not in self.told and not name.startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, self.told, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Commands: {', '.join(self.told)}."
            raise click.UsageError(f"There is no command {name!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.told.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete names from the table alone."""
        from click.shell_completion import CompletionItem

        # Command.shell_complete, past Group's, which would import every command.
        found = click.Command.shell_complete(self, ctx, incomplete)
        names = [n for n in self.told if n.startswith(incomplete)]
        return [CompletionItem(n, help=self.told[n]) for n in names] + found

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse, which prints help pages."""
        with _quiet_without_reader():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run, and end quietly when the reader of a pipe has gone."""
        with _quiet_without_reader():
            return super().invoke(ctx)


@contextmanager
def _quiet_without_reader() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        # Python would try to flush again at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(READER_GONE) from None


@click.group(
    cls=Commands,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(headsmith.__version__, prog_name="headsmith")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Make transformer models smaller and faster, and prove it."""


def exit_code(error: BaseException) -> int:
    """The exit code that tells what kind of error ended a command.

    Example:
        >>> from headsmith.cli.main import exit_code
        >>> from headsmith.errors import DataError
        >>> exit_code(DataError("empty"))
        3
    """
    kinds: list[tuple[type[BaseException], int]] = [
        (MissingExtraError, MISSING_EXTRA),
        (OutputError, NOT_WRITTEN),
        (HeadsmithError, BAD_INPUT),
        (click.Abort, INTERRUPTED),
        (KeyboardInterrupt, INTERRUPTED),
        (click.FileError, BAD_INPUT),
        (click.ClickException, USAGE),
    ]
    if isinstance(error, OSError) and disk_is_full(error):
        return NOT_WRITTEN
    return next((code for kind, code in kinds if isinstance(error, kind)), UNEXPECTED)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the console script `headsmith`.

    Args:
        arguments: what follows `headsmith`; None takes those of the process.

    Returns:
        The exit code; see the table of this module.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Started with a stream closed (`>&-`), what would go there goes nowhere.
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows a question mark, not a traceback.
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    _end_cleanly()
    try:
        code = cli.main(arguments, prog_name="headsmith", standalone_mode=False)
    except Exception as error:
        _tell(error, arguments)
        code = exit_code(error)
    return code if isinstance(code, int) else 0


def _end_cleanly() -> None:
    """Let a polite kill unwind the program, so that what is half-written goes away."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(ENDED)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end)


def _tell(error: Exception, arguments: Sequence[str]) -> None:
    as_json = _asks_json(arguments)
    kind = type(error).__name__
    if "--debug" in arguments:
        traceback.print_exception(error)
    if isinstance(error, click.Abort):
        show_error("Interrupted", "Interrupted.", INTERRUPTED, as_json=as_json)
    elif isinstance(error, click.ClickException) and not as_json:
        error.show()
    elif isinstance(error, click.ClickException):
        show_error(kind, error.format_message(), exit_code(error), as_json=True)
    elif isinstance(error, HeadsmithError):
        show_error(kind, str(error), exit_code(error), as_json=as_json)
    else:
        show_error(kind, _unexpected(error), exit_code(error), as_json=as_json)


def _asks_json(arguments: Sequence[str]) -> bool:
    return "--format=json" in arguments or any(
        pair == ("--format", "json") for pair in pairwise(arguments)
    )


def _unexpected(error: Exception) -> str:
    if isinstance(error, OSError) and disk_is_full(error):
        return f"The disk is full, so not all could be written ({error})."
    text = f"{type(error).__name__}: {error}".strip().rstrip(":.")
    if "out of memory" in text.lower() or isinstance(error, MemoryError):
        return f"{text}. Try a smaller --batch-size or --max-length."
    return f"{text}. This was not foreseen; `headsmith --debug ...` shows where it happened."
