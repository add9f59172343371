"""Answers from a model: windows in batches of like length, in memory that does not grow.

A question's windows are run some at a time; of what they find only the best spans are kept.
So a document of any length needs no more than its tokens and one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from headsmith.qa.beams import Beams, beams_of_head
from headsmith.qa.decoding import Prediction, decode
from headsmith.qa.features import Featurized, Featurizer, Window, collate, features
from headsmith.qa.layout import Layout
from headsmith.qa.model import QAModel
from headsmith.qa.order import by_length
from headsmith.qa.settings import Calibration
from headsmith.qa.spans import SpanTable, padding_before, spans_of
from headsmith.qa.squad_data import Problems, Question
from headsmith.qa.training import to_tensors

__all__ = ["DecodingOptions", "answer", "outputs_of", "predict", "predict_features"]

_GROUP = 1024  # windows whose spans are put together at once


@dataclass(frozen=True)
class DecodingOptions:
    """How answers are chosen.

    Args:
        n_best: answers of a question.
        max_answer_tokens: longer spans are left out.
        overlaps: whether two answers of a question may share characters.
        legacy: pair and score as the scripts of Transformers 4.34 did, for comparison.
        batch_size: windows run at once.
    """

    n_best: int = 20
    max_answer_tokens: int = 30
    overlaps: bool = True
    legacy: bool = False
    batch_size: int = 32


def predict(
    model: QAModel,
    featurizer: Featurizer,
    questions: Iterable[Question],
    options: DecodingOptions | None = None,
    *,
    calibration: Calibration | None = None,
    problems: Problems | None = None,
    at_once: int = 256,
    workers: int = 0,
) -> Iterator[Prediction]:
    """Answer a stream of questions, in its order.

    Args:
        model: in evaluation mode, on its device.
        featurizer: for the model's tokenizer.
        questions: any number.
        options: how answers are chosen.
        calibration: of "no answer"; None takes the model's own.
        problems: collects questions that cannot be used; None refuses them.
        at_once: questions read before the first is answered; 1 answers each as it comes.
        workers: processes that make windows; see `features`.
    """
    options = options or DecodingOptions()
    calibration = calibration or model.settings.calibration
    made = features(questions, featurizer, problems=problems, batch_size=at_once, workers=workers)
    group: list[Featurized] = []
    for item in made:
        group.append(item)
        if len(group) >= at_once:
            yield from predict_features(model, featurizer.layout, group, options, calibration)
            group = []
    if group:
        yield from predict_features(model, featurizer.layout, group, options, calibration)


def predict_features(
    model: QAModel,
    layout: Layout,
    items: Sequence[Featurized],
    options: DecodingOptions | None = None,
    calibration: Calibration | None = None,
    *,
    told: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """Answer questions whose windows are made.

    Args:
        model: in evaluation mode.
        layout: of the tokenizer.
        items: the questions.
        options: how answers are chosen.
        calibration: of "no answer"; None takes the model's own.
        told: called with (windows done, windows in all).
    """
    options = options or DecodingOptions()
    keep = 4 * options.n_best
    table = SpanTable.joined([], keep)
    total = sum(len(item.windows) for item in items)
    done = 0
    for group in _groups(items):
        windows = [items[q].windows[n] for q, n in group]
        tables = [table]
        for rows, beams, length in outputs_of(model, windows, layout, options):
            chosen = [windows[i] for i in rows]
            tables.append(
                spans_of(
                    chosen,
                    beams,
                    [items[group[i][0]].offsets for i in rows],
                    [group[i][0] for i in rows],
                    shifts=padding_before(chosen, length, layout),
                    numbers=[group[i][1] for i in rows],
                    max_answer_tokens=options.max_answer_tokens,
                    keep=keep,
                    legacy=options.legacy,
                )
            )
            done += len(rows)
            if told is not None:
                told(done, total)
        table = SpanTable.joined(tables, keep)
    return decode(
        items,
        table,
        n_best=options.n_best,
        overlaps=options.overlaps,
        calibration=calibration or model.settings.calibration,
    )


def outputs_of(
    model: QAModel, windows: Sequence[Window], layout: Layout, options: DecodingOptions
) -> Iterator[tuple[list[int], Beams, int]]:
    """Run windows in batches of like length.

    Yields:
        Which windows, their beams, and the length they were padded to.
    """
    device = next(model.parameters()).device
    lengths = np.array([w.length for w in windows])
    for rows in by_length(np.arange(len(windows)), lengths, options.batch_size):
        batch = to_tensors(collate([windows[i] for i in rows], layout), device)
        with torch.inference_mode():
            hidden = model.hidden_states(
                batch["input_ids"], batch["attention_mask"], batch.get("token_type_ids")
            )
            out = model.head(
                hidden, cls_index=batch["cls_index"], p_mask=batch["p_mask"], return_dict=True
            )
            starts = model.head.start_logits(hidden, p_mask=batch["p_mask"]).float()
            null = starts.log_softmax(1).gather(1, batch["cls_index"][:, None]).squeeze(1)
        arrays = [t.float().cpu().numpy() for t in (out.start_top_log_probs, out.end_top_log_probs)]
        beams = beams_of_head(
            arrays[0],
            out.start_top_index.cpu().numpy(),
            arrays[1],
            out.end_top_index.cpu().numpy(),
            out.cls_logits.float().cpu().numpy(),
            null.cpu().numpy(),
            legacy=options.legacy,
        )
        yield rows.tolist(), beams, batch["input_ids"].shape[1]


def answer(
    model: QAModel,
    tokenizer: object,
    question: str,
    context: str,
    options: DecodingOptions | None = None,
) -> Prediction:
    """Answer one question.

    Args:
        model: in evaluation mode.
        tokenizer: the fast tokenizer beside it.
        question: the question's text.
        context: the text that may hold the answer, of any length.
        options: how answers are chosen.

    Raises:
        DataError: the context is empty, or the question too long for a window.
    """
    settings = model.settings
    featurizer = Featurizer(
        tokenizer,
        max_length=settings.max_length,
        stride=settings.stride,
        question_first=settings.question_first,
    )
    return next(predict(model, featurizer, [Question("question", question, context)], options))


def _groups(items: Sequence[Featurized]) -> Iterator[list[tuple[int, int]]]:
    """(question, window) pairs, at most `_GROUP` at a time."""
    group: list[tuple[int, int]] = []
    for q, item in enumerate(items):
        for n in range(len(item.windows)):
            group.append((q, n))
            if len(group) == _GROUP:
                yield group
                group = []
    if group:
        yield group
