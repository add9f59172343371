"""Options that several commands share, told once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

__all__ = [
    "MATCHES",
    "MODEL",
    "SCORES",
    "SIZE",
    "calibration_options",
    "data_option",
    "device_option",
    "length_option",
]

SCORES = ("obs", "fisher", "gradient", "magnitude", "random")
"""`headsmith.pruning.score.SCORES`, named here because a help page must not import torch."""

MATCHES = ("auto", "embedding", "hidden", "distribution")
"""The values of `headsmith.cli.loading.Match`."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _ModelName(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A folder or a hub id; shells complete folders."""

    name = "model"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not str(value).strip():
            self.fail("expected a folder, or the id of a model on the hub. Received ''", param, ctx)
        return str(os.fspath(value))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="dir")]


class _Size(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """Bytes, as a number with or without a unit: 40MB, 1.5GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?)(i?)b?\s*", str(value), re.I)
        if match is None or not float(match[1]):
            self.fail(f"expected a size above 0, as in 40MB or 1.5GiB. Received {value!r}", param)
        power = " kmg".index(match[2].lower() or " ")
        return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


SIZE = _Size()
"""The type of an option that tells a number of bytes."""

MODEL = _ModelName()
"""The type of an argument that names a model."""


def data_option(*, required: bool) -> Callable[[_Command], _Command]:
    """`--data` (a `Path`) and `--text-column` (a name, or None)."""

    def add(command: _Command) -> _Command:
        command = click.option(
            "--text-column",
            metavar="NAME",
            help="Column or field that holds the text; several with commas.  [default: text]",
        )(command)
        return click.option(
            "--data",
            type=click.Path(path_type=Path),
            required=required,
            metavar="FILE",
            help="Texts like those the model is for: .txt (one a line), .jsonl, .csv or .tsv.",
        )(command)

    return add


def calibration_options(command: _Command) -> _Command:
    """`--score`, `--match`, `--batch-size`, `--max-length` and `--seed`."""
    for option in reversed(
        (
            click.option(
                "--score",
                type=click.Choice(SCORES),
                default=SCORES[0],
                show_default=True,
                help="How heads and neurons are ranked.",
            ),
            click.option(
                "--match",
                type=click.Choice(MATCHES),
                default="auto",
                show_default=True,
                help="What pruning preserves: sentence embeddings, hidden states, or what the "
                "task head puts out; auto sees which the model has.",
            ),
            click.option(
                "--batch-size",
                type=click.IntRange(min=1),
                default=32,
                show_default=True,
                help="Texts in one batch.",
            ),
            click.option(
                "--max-length",
                type=click.IntRange(min=2),
                default=128,
                show_default=True,
                help="Tokens after which a text is cut off.",
            ),
            click.option(
                "--seed", type=int, default=0, show_default=True, help="Seed of all that is random."
            ),
        )
    ):
        command = option(command)
    return command


def device_option(command: _Command) -> _Command:
    """`--device`, for `headsmith.cli.loading.pick_device`."""
    return click.option(
        "--device",
        default="auto",
        show_default=True,
        metavar="NAME",
        help="cpu, cuda, cuda:1, mps; auto takes a GPU if there is one, each process its own.",
    )(command)


def length_option(command: _Command) -> _Command:
    """`--length`: tokens of a sequence, for counting FLOPs and for timing."""
    return click.option(
        "--length",
        type=click.IntRange(min=1),
        default=128,
        show_default=True,
        metavar="TOKENS",
        help="Tokens of a sequence.",
    )(command)
