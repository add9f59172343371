"""What the commands of `headsmith qa` share: options, opening a model, telling of bad records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headsmith.cli.output import Output, clean
from headsmith.errors import DataError

if TYPE_CHECKING:
    from headsmith.qa.features import Featurizer
    from headsmith.qa.model import QAModel
    from headsmith.qa.settings import QASettings
    from headsmith.qa.squad_data import Problems, Question

__all__ = [
    "batch_size_option",
    "featurizer_for",
    "open_qa",
    "read_labelled",
    "refuse_option",
    "tell_problems",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_NAMED = 3  # records named a kind; the others are counted


def batch_size_option(default: int, what: str) -> Callable[[_Command], _Command]:
    """`--batch-size`."""
    return click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=default,
        show_default=True,
        help=what,
    )


def refuse_option(command: _Command) -> _Command:
    """`--bad skip|refuse`: what to do about records that cannot be used."""
    return click.option(
        "--bad",
        type=click.Choice(["skip", "refuse"]),
        default="skip",
        show_default=True,
        help="Skip records that cannot be used and count them, or stop at the first.",
    )(command)


def open_qa(name: str, device: str | None) -> tuple[QAModel, Any]:
    """A QA model on its device, and its tokenizer.

    Raises:
        CheckpointError: there is none.
    """
    from headsmith.cli.loading import (
        open_tokenizer,
        pick_device,
        quiet_libraries,
        refuse_no_folder,
    )

    refuse_no_folder(name)
    target = pick_device(device)
    quiet_libraries()
    from headsmith.qa.model import QAModel

    return QAModel.from_pretrained(name).to(target).eval(), open_tokenizer(name)


def featurizer_for(
    tokenizer: Any,
    settings: QASettings,
    longest: int | None,
    max_length: int | None = None,
    stride: int | None = None,
) -> Featurizer:
    """What makes windows for a model; never longer than it has positions for."""
    from headsmith.qa.features import Featurizer

    length = max_length or settings.max_length
    if longest is not None:
        length = min(length, longest)
    shared = settings.stride if stride is None else stride
    return Featurizer(
        tokenizer,
        max_length=length,
        stride=min(shared, length // 2),
        question_first=settings.question_first,
    )


def read_labelled(path: Path, bad: str, problems: Problems) -> list[Question]:
    """All questions of a file that have labels.

    Raises:
        DataError: there is none.
    """
    from headsmith.qa.squad_data import read_squad

    problems.refuse = bad == "refuse"
    found = list(read_squad(path, problems=problems))
    if not found:
        raise DataError(f"{path} holds no question that can be used. {told(problems)}".rstrip())
    return found


def told(problems: Problems) -> str:
    """What was skipped, in one sentence; empty where nothing was."""
    if not problems.total:
        return ""
    parts = []
    for kind, count in problems.counts.most_common():
        names = [clean(r.id)[:60] for r in problems.records if r.kind == kind][:_NAMED]
        more = ", …" if count > len(names) else ""
        parts.append(f"{count} {kind} ({', '.join(names)}{more})")
    records = "record was" if problems.total == 1 else "records were"
    return f"{problems.total} {records} skipped: {'; '.join(parts)}."


def tell_problems(output: Output, problems: Problems, source: object) -> None:
    """Warn of what was skipped in a file."""
    if problems.total:
        output.warn(f"{source}: {told(problems)}")
    if problems.moved:
        output.note(
            f"{source}: {problems.moved} answers were not where answer_start says; the nearest "
            "place that holds their text was taken."
        )
    if problems.lost:
        output.note(
            f"{source}: {problems.lost} answers are not in their context and were left out; their "
            "questions have others that are."
        )
