"""`headsmith doctor`: versions and what each extra lacks; or what ails a source tree."""

from __future__ import annotations

import re
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from headsmith import __version__
from headsmith.cli.machine import machine, versions
from headsmith.cli.output import Output, output_options
from headsmith.extras import EXTRAS, missing

__all__ = ["command", "outdated"]

_EPILOG = """\b
Examples:
  headsmith doctor
  headsmith doctor --strict     exit with 4 if an extra is incomplete
  headsmith doctor --format json
  headsmith doctor src          what Transformers 5 breaks in these source files
  headsmith doctor src --strict exit with 3 if there is anything
"""

_NEEDS = re.compile(r"^([\w.\-]+)(?:\[[^\]]*\])?\s*>=\s*([\d.]+)")


@click.command(epilog=_EPILOG)
@click.argument("path", nargs=-1, type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Fail if an extra is incomplete, or of any finding.")
@output_options
def command(path: tuple[Path, ...], strict: bool, output: Output) -> None:
    """Show versions, and what is missing; or what Transformers 5 breaks in PATH.

    Without PATH, versions, the machine and the extras. With files or folders of Python code,
    what a rewrite of imports (headsmith migrate) cannot mend, by file and line, and what to do.
    """
    if path:
        from headsmith.cli.examination import show_examination
        from headsmith.cli.main import BAD_INPUT

        if show_examination(path, output) and strict:
            click.get_current_context().exit(BAD_INPUT)
        return
    with output.working("Looking around"):
        device, fault = _device()
        facts: dict[str, Any] = {
            "headsmith": __version__,
            "versions": versions(),
            "machine": device,
            "extras": {name: _extra(name) for name in EXTRAS},
        }
    if fault:
        facts["torch_fault"] = fault
    incomplete = [name for name, extra in facts["extras"].items() if not extra["complete"]]
    output.result(
        facts,
        _versions_table(output, facts),
        _machine_table(output, facts),
        _extras_table(output, facts),
        *([f" torch is installed but cannot be imported: {fault}"] if fault else []),
        brief=[f"{name}: {facts['extras'][name]['remedy']}" for name in incomplete],
    )
    if strict and (incomplete or fault):
        from headsmith.cli.main import MISSING_EXTRA

        click.get_current_context().exit(MISSING_EXTRA)


def _device() -> tuple[dict[str, Any], str]:
    """Facts about the machine, and why torch cannot be imported if it cannot."""
    if find_spec("torch") is None:
        return machine(), ""
    try:
        from headsmith.cli.loading import pick_device

        return machine(pick_device(None)), ""
    except Exception as error:  # a broken installation fails in its own ways
        return machine(), f"{type(error).__name__}: {error}"


def _extra(name: str) -> dict[str, Any]:
    lacks = missing(name)
    old = outdated(name)
    remedy = f"pip install --upgrade 'headsmith[{name}]'" if lacks or old else ""
    return {"complete": not lacks and not old, "lacks": lacks, "outdated": old, "remedy": remedy}


def outdated(extra: str) -> list[str]:
    """Packages of `extra` that are installed in an older version than is needed.

    Example:
        >>> from headsmith.cli.doctor import outdated
        >>> outdated("torch")
        []
    """
    found = []
    for line in _requirements():
        requirement, _, marker = line.partition(";")
        needs = _NEEDS.match(requirement)
        if needs is None or not re.search(rf"extra == ['\"]{extra}['\"]", marker):
            continue
        try:
            installed = metadata.version(needs[1])
        except metadata.PackageNotFoundError:
            continue  # told as missing
        if _numbers(installed) < _numbers(needs[2]):
            found.append(f"{needs[1]} {installed} (needs {needs[2]} or later)")
    return found


def _requirements() -> list[str]:
    try:
        return metadata.requires("headsmith") or []
    except metadata.PackageNotFoundError:  # run from a source tree
        return []


def _numbers(version: str) -> tuple[int, ...]:
    release = re.match(r"[\d.]*", version)
    return tuple(int(n) for n in (release[0] if release else "").split(".") if n)


def _versions_table(output: Output, facts: dict[str, Any]) -> Any:
    table = output.table("Package", "Version")
    table.add_row("headsmith", facts["headsmith"])
    for name, version in facts["versions"].items():
        table.add_row(name, version)
    return table


def _machine_table(output: Output, facts: dict[str, Any]) -> Any:
    table = output.table("Machine", "")
    for name, value in facts["machine"].items():
        table.add_row(name, str(value))
    return table


def _extras_table(output: Output, facts: dict[str, Any]) -> Any:
    table = output.table("Extra", "State", "Mend it with")
    for name, extra in facts["extras"].items():
        lacks = [*(f"lacks {p}" for p in extra["lacks"]), *extra["outdated"]]
        table.add_row(name, "; ".join(lacks) or "complete", extra["remedy"])
    return table
