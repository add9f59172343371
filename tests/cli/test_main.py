"""The frame of the command line: help, lazy commands, errors and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import headsmith as package
from headsmith import errors
from headsmith.cli import main
from headsmith.cli.main import COMMANDS, cli, exit_code

_HEAVY = ("torch", "transformers", "libcst", "jinja2", "numpy", "rich")
_SPY = """
import sys
from headsmith.cli.main import run
for arguments in {arguments!r}:
    run(arguments)
print("LOADED", sorted(m for m in {heavy!r} if m in sys.modules), file=sys.stderr)
"""


def _loaded_after(*arguments: list[str], first: str = "") -> str:
    code = first + _SPY.format(arguments=list(arguments), heavy=_HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stderr.partition("LOADED ")[2].strip()


def test_help_imports_nothing_heavy() -> None:
    everything = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
    assert _loaded_after(*everything) == "[]"


def test_the_test_above_can_fail() -> None:
    assert _loaded_after(["--help"], first="import jinja2, numpy\n") == "['jinja2', 'numpy']"


def test_help_lists_every_command(headsmith: Callable[..., Any]) -> None:
    answer = headsmith("--help")
    assert answer.code == 0
    for name, text in COMMANDS.items():
        assert name in answer.out
        assert text in answer.out
    assert "Exit codes" in answer.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_page_ends_with_examples(headsmith: Callable[..., Any], name: str) -> None:
    answer = headsmith(name, "--help")
    assert answer.code == 0, answer.err
    assert answer.out.startswith(f"Usage: headsmith {name}")
    assert f"headsmith {name}" in answer.out.partition("Examples:")[2]


def test_every_command_is_known_by_its_name() -> None:
    with click.Context(cli) as context:
        for name in COMMANDS:
            assert isinstance(cli.get_command(context, name), click.Command)
        assert cli.get_command(context, "loading") is None


def test_version(headsmith: Callable[..., Any]) -> None:
    answer = headsmith("--version")
    assert (answer.code, answer.out) == (0, f"headsmith, version {package.__version__}\n")


def test_a_mistyped_command_is_guessed(headsmith: Callable[..., Any]) -> None:
    answer = headsmith("latancy")
    assert answer.code == 2
    assert "no command 'latancy'. Did you mean 'latency'?" in answer.err
    assert "Commands: prune, inspect," in headsmith("xyzzy").err


def test_a_mistyped_option(headsmith: Callable[..., Any]) -> None:
    answer = headsmith("doctor", "--stricct")
    assert answer.code == 2
    assert "--strict" in answer.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DataError("x"), 3),
        (errors.PlanError("x"), 3),
        (errors.BudgetError("x"), 3),
        (errors.CheckpointError("x"), 3),
        (errors.UnknownFamilyError("x"), 3),
        (errors.HeadsmithError("x"), 3),
        (errors.MissingExtraError("x"), 4),
        (errors.OutputError("x"), 5),
        (click.UsageError("x"), 2),
        (click.BadParameter("x"), 2),
        (click.Abort(), 130),
        (KeyboardInterrupt(), 130),
        (RuntimeError("x"), 1),
        (OSError(28, "No space left on device"), 5),
    ],
)
def test_exit_codes_tell_what_went_wrong(error: BaseException, code: int) -> None:
    assert exit_code(error) == code


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Make `headsmith doctor` fail with an error."""

    def fail_with(error: BaseException) -> None:
        @click.command(context_settings={"ignore_unknown_options": True})
        @click.argument("rest", nargs=-1)
        def command(rest: tuple[str, ...]) -> None:
            raise error

        monkeypatch.setattr(type(cli), "get_command", lambda *_: command)

    return fail_with


def test_an_error_is_one_clear_line(
    headsmith: Callable[..., Any], failing: Callable[[BaseException], None]
) -> None:
    failing(errors.DataError("texts.txt is empty. Expected a text a line."))
    answer = headsmith("doctor")
    assert (answer.code, answer.out) == (3, "")
    assert answer.err == "Error: texts.txt is empty. Expected a text a line.\n"


@pytest.mark.parametrize("option", [["--format", "json"], ["--format=json"]])
def test_errors_as_json(
    headsmith: Callable[..., Any], failing: Callable[[BaseException], None], option: list[str]
) -> None:
    failing(errors.OutputError("The disk is full."))
    answer = headsmith("doctor", *option)
    assert (answer.code, answer.out) == (5, "")
    assert json.loads(answer.err) == {
        "error": {"kind": "OutputError", "message": "The disk is full.", "exit_code": 5}
    }


def test_wrong_usage_as_json(headsmith: Callable[..., Any]) -> None:
    answer = headsmith("latency", "--format", "json")
    assert answer.code == 2
    error = json.loads(answer.err)["error"]
    assert error["kind"] == "MissingParameter"
    assert error["exit_code"] == 2
    assert "MODEL" in error["message"]


def test_an_unforeseen_error_shows_its_traceback_only_when_asked(
    headsmith: Callable[..., Any], failing: Callable[[BaseException], None]
) -> None:
    failing(RuntimeError("the sky fell"))
    answer = headsmith("doctor")
    assert answer.code == 1
    assert "RuntimeError: the sky fell" in answer.err
    assert "headsmith --debug" in answer.err
    assert "Traceback" not in answer.err
    assert "Traceback" in headsmith("--debug", "doctor").err


def test_out_of_memory_says_what_helps(
    headsmith: Callable[..., Any], failing: Callable[[BaseException], None]
) -> None:
    failing(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert "Try a smaller --batch-size" in headsmith("doctor").err


def test_an_interruption_is_quiet(
    headsmith: Callable[..., Any], failing: Callable[[BaseException], None]
) -> None:
    failing(KeyboardInterrupt())
    answer = headsmith("doctor")
    assert answer.code == 130
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("arguments", ["doctor", "--help", "qa --help"])
def test_a_reader_that_goes_away_ends_quietly(arguments: str) -> None:
    # `true` reads nothing and is gone when the first line is written.
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"(sleep 0.5; {sys.executable} -m headsmith.cli {arguments}; echo $? >&2) | true",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stderr == f"{main.READER_GONE}\n"


@pytest.mark.parametrize(
    ("redirection", "code", "told"),
    [
        (">&-", 0, ""),
        pytest.param(
            "> /dev/full",
            5,
            "The disk is full",
            marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it"),
        ),
        ("nowhere.py 2>&-", 3, ""),
    ],
)
def test_nowhere_to_write(tmp_path: Path, redirection: str, code: int, told: str) -> None:
    source = tmp_path / "old.py"  # a diff of it is printed as bytes
    source.write_text("from transformers import prune_layer\n", encoding="utf-8")
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m headsmith.cli migrate {source} {redirection}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr
    assert "not foreseen" not in done.stderr


def test_the_console_script_is_this_function() -> None:
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="headsmith")
    assert script.load() is main.run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(headsmith: Callable[..., Any], shell: str) -> None:
    answer = headsmith("completion", shell)
    assert answer.code == 0
    assert "_HEADSMITH_COMPLETE" in answer.out


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("headsmith in", ["inspect"]),
        ("headsmith latency --thr", ["--threads"]),
        ("headsmith inspect m --score gra", ["gradient"]),
    ],
)
def test_completion(words: str, offered: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headsmith.cli"],
        env={
            "PATH": "",
            "_HEADSMITH_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert [line.split(",")[1] for line in done.stdout.splitlines()] == offered
