"""The one place that prints.

A command says what it found once; here it becomes a table for people, JSON for programs, or
the bare essential with `--quiet`. Results go to stdout; progress, notes and errors to stderr.

```
            stdout                      stderr
human       tables                      progress bars (terminals only), notes, warnings, errors
json        one JSON document           warnings and errors, one JSON object a line
quiet       the essential, one a line   errors
```
"""

from __future__ import annotations

import functools
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeVar

import click

from headsmith.report.stages import STAGES

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

__all__ = ["Output", "clean", "current", "output_options", "show_error", "silent"]

Format = Literal["human", "json"]
Progress = Callable[[str, int, int], None]
"""Told (stage, steps done, steps in all), as the pruning engine does."""

_PIPE_WIDTH = 200  # tables keep their natural width where no terminal cuts them off
_META = "headsmith.cli.output"
_Command = TypeVar("_Command", bound=Callable[..., Any])


class Output:
    """How one command speaks.

    Args:
        format: `"human"` or `"json"`.
        quiet: print nothing but the essential.
    """

    def __init__(self, format: Format = "human", quiet: bool = False) -> None:  # noqa: A002
        self.format = format
        self.quiet = quiet

    @property
    def human(self) -> bool:
        """Whether people read along."""
        return self.format == "human" and not self.quiet

    def result(
        self,
        data: Any,
        *shown: RenderableType,
        brief: Iterable[str] = (),
        piped: bytes | None = None,
    ) -> None:
        """Print what the command found.

        Args:
            data: for `--format json`: plain data, dataclasses and paths included.
            *shown: for people: strings and Rich renderables, one below the other.
            brief: lines for `--quiet`.
            piped: printed as it is, instead of `shown`, where stdout is no terminal.
        """
        if self.format == "json":
            click.echo(json.dumps(_plain(data), indent=2, ensure_ascii=False, allow_nan=False))
        elif self.quiet:
            for line in brief:
                click.echo(line)
        elif piped is not None and not sys.stdout.isatty():
            click.echo(piped, nl=False)
        else:
            self.show(*shown)

    def show(self, *shown: RenderableType) -> None:
        """Print for people only, on stdout."""
        if not self.human:
            return
        console = _console(sys.stdout)
        for renderable in shown:
            console.print(renderable)

    def note(self, text: str) -> None:
        """Tell people something in passing, on stderr."""
        if self.human:
            click.echo(_styled(text, dim=True), err=True)

    def warn(self, text: str) -> None:
        """Tell of something that is probably not as wished, on stderr."""
        if self.format == "json":
            click.echo(json.dumps({"warning": text}, ensure_ascii=False), err=True)
        elif not self.quiet:
            click.echo(_styled("Warning: ", fg="yellow", bold=True) + text, err=True)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Bars with the time left, on stderr: one a stage, terminals only.

        Yields:
            A callable for (stage, done, total); it does nothing where nobody watches.

        Example:
            >>> from headsmith.cli.output import Output
            >>> with Output(quiet=True).progress() as report:
            ...     report("repair", 1, 12)
        """
        console = _console(sys.stderr) if self.human else None
        if console is None or not console.is_terminal or console.is_dumb_terminal:
            yield silent
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bars

        bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[what]}", style="dim"),
            console=console,
            redirect_stdout=False,  # a result stays on stdout even while bars move
        )
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                title = STAGES.get(stage, stage.replace("_", " ").capitalize())
                tasks[stage] = bars.add_task(title, total=total, what="left")
            what = "" if done >= total else "left"
            bars.update(tasks[stage], completed=done, total=total, what=what)
            if done >= total:
                del tasks[stage]  # the same stage once more, of another model, is another bar

        with bars:
            yield report

    @contextmanager
    def working(self, title: str) -> Iterator[None]:
        """A line that moves while something of unknown length is done; terminals only."""
        console = _console(sys.stderr) if self.human else None
        if console is None or not console.is_terminal or console.is_dumb_terminal:
            yield
            return
        with console.status(title):
            yield

    @staticmethod
    def table(*columns: str, title: str | None = None) -> Table:
        """An empty table in the house style.

        Args:
            *columns: headings; one that begins with `>` is a column of numbers, to the right.
            title: a line above it.
        """
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
        for column in columns:
            right = column.startswith(">")
            # Where a terminal is too narrow, cells take two lines; nothing is cut off.
            table.add_column(
                column.removeprefix(">"), justify="right" if right else "left", overflow="fold"
            )
        return table


def silent(stage: str, done: int, total: int) -> None:
    """A progress callback for nobody."""


def current() -> Output:
    """The output of the command that is running; a plain one outside of any."""
    context = click.get_current_context(silent=True)
    found = context.meta.get(_META) if context else None
    return found if isinstance(found, Output) else Output()


def output_options(command: _Command) -> _Command:
    """Give a command `--format` and `--quiet`, and hand it an `Output` as `output`.

    Put it directly above the function, so that these options end the help page.
    """

    @click.option(
        "--format",
        "format_",
        type=click.Choice(["human", "json"]),
        default="human",
        show_default=True,
        help="Tables for people, or JSON for programs.",
    )
    @click.option("-q", "--quiet", is_flag=True, help="Print only the essential.")
    @functools.wraps(command)
    def wrapped(*args: Any, format_: Format, quiet: bool, **kwargs: Any) -> Any:
        output = Output(format_, quiet)
        click.get_current_context().meta[_META] = output
        return command(*args, output=output, **kwargs)

    return wrapped  # type: ignore[return-value]


def show_error(kind: str, message: str, code: int, *, as_json: bool) -> None:
    """Print an error on stderr.

    Args:
        kind: name of the error's class.
        message: what was expected, what was received, and what helps.
        code: the exit code that follows.
        as_json: as an object instead of a sentence.
    """
    if as_json:
        error = {"kind": kind, "message": message, "exit_code": code}
        click.echo(json.dumps({"error": error}, ensure_ascii=False), err=True)
    else:
        click.echo(_styled("Error: ", fg="red", bold=True) + message, err=True)


def _styled(text: str, **style: Any) -> str:
    # click drops colours in pipes by itself, but asks nobody else; Rich asks these.
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") in ("dumb", "unknown")
    return text if plain else click.style(text, **style)


def clean(text: str) -> str:
    r"""Text from a file, fit for a terminal: control characters become a replacement mark.

    Example:
        >>> from headsmith.cli.output import clean
        >>> clean("a\x1b[31m b\n") == "a\ufffd[31m b "
        True
    """
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def _console(file: TextIO) -> Console:
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # `run` ends quietly; Rich would exit by itself

    on_terminal = file.isatty() or bool(os.environ.get("COLUMNS"))
    # Values come from users' files: no markup in them, no smileys, no guessed highlights.
    return Plain(
        file=file,
        width=None if on_terminal else _PIPE_WIDTH,
        markup=False,
        emoji=False,
        highlight=False,
    )


def _plain(value: Any) -> Any:
    """Data that JSON can hold; what is not a finite number becomes null."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int, bool)):
        return value
    return str(value)
