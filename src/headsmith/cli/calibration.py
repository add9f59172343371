"""What pruning calibrates on: texts, or for a QA model questions with answers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from headsmith.cli.loading import fit_length, is_qa
from headsmith.cli.output import current
from headsmith.errors import DataError

if TYPE_CHECKING:
    from torch import nn

    from headsmith.pruning.data import Batches
    from headsmith.qa.squad_data import Question

__all__ = ["make_batches", "read_material"]


def read_material(name: str, data: Path, column: str | None) -> list[str] | list[Question]:
    """Read the file of `--data`: texts, or a SQuAD file for a QA model.

    Args:
        name: of the model.
        data: the file.
        column: of the texts.

    Raises:
        DataError: the file holds nothing of use.
    """
    if not is_qa(name):
        from headsmith.pruning.data import read_texts

        return read_texts(data, column=column)
    from headsmith.cli.qa_common import read_labelled, tell_problems
    from headsmith.qa.squad_data import Problems

    problems = Problems()
    questions = read_labelled(data, "skip", problems)
    tell_problems(current(), problems, data)
    return questions


def make_batches(
    read: list[str] | list[Question],
    model: nn.Module,
    tokenizer: Any,
    *,
    batch_size: int,
    max_length: int,
    seed: int,
    held_out: int = 128,
    limit: int = 1536,
) -> Batches:
    """Tokenise what `read_material` gave.

    Args:
        read: texts or questions.
        model: that they are for.
        tokenizer: of that model.
        batch_size: texts or windows in one batch.
        max_length: tokens; a QA model's windows are as long as it was trained on unless
            `--max-length` is given.
        seed: of the shuffle.
        held_out: texts set aside for measuring; never more than a fifth.
        limit: texts or questions used for calibration at most.

    Raises:
        DataError: there is too little.
    """
    from headsmith.pruning.data import tokenize

    texts = [t for t in read if isinstance(t, str)]
    questions = [q for q in read if not isinstance(q, str)]
    if not questions:
        return tokenize(
            texts,
            tokenizer,
            batch_size=batch_size,
            max_length=fit_length(model, max_length),
            held_out=held_out,
            limit=limit,
            seed=seed,
        )
    return _of_questions(
        questions, model, tokenizer, batch_size, _asked(max_length), seed, held_out, limit
    )


def _asked(max_length: int) -> int | None:
    """The value of `--max-length` if someone gave it."""
    context = click.get_current_context(silent=True)
    source = context.get_parameter_source("max_length") if context else None
    return None if source is ParameterSource.DEFAULT else max_length


def _of_questions(
    questions: list[Question],
    model: Any,
    tokenizer: Any,
    batch_size: int,
    max_length: int | None,
    seed: int,
    held_out: int,
    limit: int,
) -> Batches:
    import numpy as np
    import torch

    from headsmith.cli.qa_common import featurizer_for, tell_problems
    from headsmith.pruning.data import Batch, Batches
    from headsmith.pruning.latency import longest_input
    from headsmith.qa.features import Featurized, collate
    from headsmith.qa.order import by_length
    from headsmith.qa.squad_data import Problems
    from headsmith.qa.training import to_tensors

    if len(questions) < 2:
        raise DataError(
            f"At least 2 questions are needed, some hundreds are better. Received {len(questions)}."
        )
    featurizer = featurizer_for(tokenizer, model.settings, longest_input(model), max_length)
    shuffled = list(questions)
    random.Random(seed).shuffle(shuffled)
    aside = max(1, min(held_out, len(shuffled) // 5))
    problems = Problems()
    measured = featurizer(shuffled[:aside], problems)
    fitted = featurizer(shuffled[aside : aside + limit], problems)
    tell_problems(current(), problems, "windows")
    if not measured or not fitted:
        raise DataError(
            "Too few questions could be used to calibrate on some and measure on others."
        )

    def batches(items: list[Featurized]) -> tuple[list[Batch], list[list[str]]]:
        windows = [(w, item.question.question) for item in items for w in item.windows]
        rows = by_length(
            np.arange(len(windows)), np.array([w.length for w, _ in windows]), batch_size
        )
        made = [collate([windows[i][0] for i in r], featurizer.layout, labels=True) for r in rows]
        return (
            [to_tensors(batch, torch.device("cpu")) for batch in made],
            [[windows[i][1] for i in r] for r in rows],
        )

    calibration, _ = batches(fitted)
    random.Random(seed + 1).shuffle(calibration)
    tokens = sum(int(b["attention_mask"].sum()) for b in calibration)
    aside_batches, asked = batches(measured)
    mean = tokens / max(1, sum(len(b["input_ids"]) for b in calibration))
    return Batches(calibration, aside_batches, asked, tokens, mean)
