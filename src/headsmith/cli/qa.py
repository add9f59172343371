"""`headsmith qa`: extractive question answering, a group of commands."""

from __future__ import annotations

from typing import ClassVar

import click

from headsmith.cli.main import Commands

__all__ = ["command"]

_EPILOG = """\b
Examples:
  headsmith qa train my-encoder --data train.json --eval dev.json -o reader
  headsmith qa predict reader --question "Who sleeps?" --context "The cat sleeps."
  headsmith qa predict reader --data dev.json -o predictions.json
  headsmith qa evaluate predictions.json dev.json
"""


class _QACommands(Commands):
    told: ClassVar[dict[str, str]] = {
        "train": "Train an encoder with a SQuAD head.",
        "predict": "Answer questions.",
        "evaluate": "Score predictions as the official SQuAD scripts do.",
        "refit": 'Fit again when a trained model says "no answer".',
    }
    modules = "headsmith.cli.qa_"


@click.group(cls=_QACommands, epilog=_EPILOG)
def command() -> None:
    """Answer questions with spans of a text."""
