"""The command reference, from the commands themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from itertools import groupby

import click

__all__ = ["every_command", "reference"]


def every_command() -> Iterator[tuple[str, click.Command, click.Context]]:
    """All commands below `headsmith`: what one types, the command, and its context."""
    from headsmith.cli.main import cli

    context = click.Context(cli, info_name="headsmith", max_content_width=100)
    yield from _below("headsmith", cli, context)


def _below(
    typed: str, group: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            raise LookupError(f"{typed} lists {name!r} and does not have it.")
        inner = click.Context(command, parent=context, info_name=name)
        yield f"{typed} {name}", command, inner
        yield from _below(f"{typed} {name}", command, inner)


def reference() -> str:
    """A section for each command: usage, help, options, examples."""
    return "\n\n".join(_section(*found) for found in every_command())


def _section(typed: str, command: click.Command, context: click.Context) -> str:
    level = "#" * len(typed.split())
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [f"{level} {typed}", f"```\n{' '.join(usage.split())}\n```", _prose(command.help or "")]
    parts.append(f"```{{program}} {typed}\n```")
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or "--help" in parameter.opts:
            continue
        flags, told = record
        if not told:
            continue  # an argument, of which the text above tells
        flags = re.sub(r"\s*\[\w+(\|\w+)*\]", lambda m: " " + m[0].strip(), flags)
        parts.append(f"````{{option}} {flags}\n\n{_escape(told)}\n````")
    if command.epilog:
        parts.append(_prose(command.epilog))
    return "\n\n".join(part for part in parts if part)


def _prose(text: str) -> str:
    r"""Paragraphs; in those that begin with `\b` lines stay lines, as click has it."""
    blocks = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if block.startswith("\b"):
            blocks += _kept(block.removeprefix("\b").strip("\n").splitlines())
        else:
            blocks.append(_escape(" ".join(block.split())))
    return "\n\n".join(blocks)


def _kept(lines: list[str]) -> Iterator[str]:
    """Lines that are not indented are headings, those below them are to be typed."""
    for typed, group in groupby(lines, key=lambda line: line.startswith(" ")):
        if typed:
            yield "```\n" + inspect.cleandoc("\n" + "\n".join(group)) + "\n```"
        else:
            yield _escape(" ".join(group))


def _escape(text: str) -> str:
    return re.sub(r"([*_<|\[\]])", r"\\\1", text)
