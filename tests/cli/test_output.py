"""The one place that prints: human, JSON and quiet, on terminals and through pipes."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from headsmith.cli import output as module
from headsmith.cli.output import Output, current, output_options, show_error
from headsmith.report.stages import STAGES


@dataclass
class Found:
    path: Path
    values: tuple[float, ...]


@click.command()
@output_options
def talk(output: Output) -> None:
    """Say all a command can say."""
    assert current() is output
    output.note("in passing")
    output.warn("careful")
    with output.progress() as report:
        report("repair", 1, 2)
    output.result(Found(Path("a/b"), (1.5, math.nan)), "for people", brief=["essential"])


def test_human() -> None:
    result = CliRunner().invoke(talk)
    assert result.stdout == "for people\n"
    assert result.stderr == "in passing\nWarning: careful\n"


def test_json_is_one_document_without_nan() -> None:
    result = CliRunner().invoke(talk, ["--format", "json"])
    assert json.loads(result.stdout) == {"path": "a/b", "values": [1.5, None]}
    assert json.loads(result.stderr) == {"warning": "careful"}


@pytest.mark.parametrize("option", ["-q", "--quiet"])
def test_quiet_prints_the_essential(option: str) -> None:
    result = CliRunner().invoke(talk, [option])
    assert (result.stdout, result.stderr) == ("essential\n", "")


def test_json_wins_over_quiet() -> None:
    result = CliRunner().invoke(talk, ["-q", "--format", "json"])
    assert json.loads(result.stdout)["path"] == "a/b"


def test_outside_of_a_command_output_is_plain() -> None:
    assert current().human


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> _Terminal:
    """Have all that would go to stderr or stdout go to a terminal instead."""
    found = _Terminal()
    make = module._console
    monkeypatch.setenv("TERM", "xterm-256color")
    # Not sys.stderr: pytest puts its own there again before the test begins.
    monkeypatch.setattr(module, "_console", lambda file: make(found))
    return found


def test_progress_on_a_terminal(terminal: _Terminal) -> None:
    with Output().progress() as report:
        for done in range(1, 4):
            report("sensitivity", done, 3)
        report("something_new", 1, 4)
    shown = terminal.getvalue()
    assert STAGES["sensitivity"] in shown
    assert "3/3" in shown
    assert "Something new" in shown
    assert "left" in shown


def test_a_stage_that_runs_again_is_another_bar(terminal: _Terminal) -> None:
    with Output().progress() as report:
        for _ in range(2):
            report("latency", 1, 2)
            report("latency", 2, 2)
    *_, first, second, _ = terminal.getvalue().splitlines()  # the last shows the cursor again
    assert "2/2" in first
    assert "2/2" in second


@pytest.mark.parametrize("output", [Output("json"), Output(quiet=True)])
def test_no_progress_for_programs(terminal: _Terminal, output: Output) -> None:
    with output.progress() as report, output.working("Opening"):
        report("repair", 1, 2)
    assert terminal.getvalue() == ""


def test_no_progress_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with Output().progress() as report, Output().working("Opening"):
        report("repair", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_no_progress_on_a_dumb_terminal(
    terminal: _Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with Output().progress() as report:
        report("repair", 1, 2)
    assert terminal.getvalue() == ""


def test_values_of_users_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = Output.table("Name", ">Count")
    table.add_row("[bold]not bold[/bold] [/oops] :smile:", "1")
    Output().show(table, "[red]plain[/red]")
    out = capsys.readouterr().out
    assert "[bold]not bold[/bold] [/oops] :smile:" in out
    assert "[red]plain[/red]" in out


def test_tables_keep_their_width_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    table = Output.table("Name")
    table.add_row("x" * 150)
    Output().show(table)
    assert "x" * 150 in capsys.readouterr().out


def test_colour_only_on_terminals(capsys: pytest.CaptureFixture[str]) -> None:
    Output().show(Output.table("Name", title="Title"))
    Output().warn("careful")
    assert "\x1b" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("variable", "value", "coloured"),
    [("NO_COLOR", "1", False), ("NO_COLOR", "", True), ("TERM", "dumb", False)],
)
def test_who_wants_no_colours_gets_none(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, coloured: bool
) -> None:
    terminal = _Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr("sys.stderr", terminal)
    Output().warn("careful")
    Output().note("by the way")
    show_error("DataError", "wrong", 3, as_json=False)
    assert ("\x1b" in terminal.getvalue()) is coloured


@pytest.mark.parametrize("width", [80, 50])
def test_a_narrow_terminal_cuts_nothing_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    name = "encoder-with-a-name-of-which-no-letter-may-go"
    table = Output.table("Model", *[f">Number {i}" for i in range(6)])
    table.add_row(name, *["1234567"] * 6)
    Output().show(table)
    shown = capsys.readouterr().out
    assert "…" not in shown
    columns = zip(*[line.split() for line in shown.splitlines() if line.strip()], strict=False)
    assert sum(c.isdigit() for c in shown) >= 6 * 7
    assert name in "".join("".join(column) for column in columns)


def test_a_broken_pipe_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    with pytest.raises(BrokenPipeError):
        Output().show("hello")


def test_stages_are_those_of_the_engine() -> None:
    # Titles for stages that the engine no longer has would go unnoticed.
    root = Path(module.__file__).parents[1]
    files = [p for p in root.rglob("*.py") if p.name != "stages.py"]
    source = "".join(p.read_text(encoding="utf-8") for p in files)
    for stage in STAGES:
        assert re.search(rf'[(, ]"{stage}"[,)]', source), f"no code reports the stage {stage!r}"


def test_console_is_rich_only_when_used() -> None:
    assert isinstance(module._console(io.StringIO()), Console)
