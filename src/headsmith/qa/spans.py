"""Spans of characters out of beams of tokens, over all windows of a document. NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headsmith.qa.beams import Beams
from headsmith.qa.features import Window
from headsmith.qa.layout import Layout

__all__ = ["SpanTable", "padding_before", "spans_of"]

Floats = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SpanTable:
    """Spans of several questions, one row a span, each span of a question once.

    Sorted by question, the best first. Tables of parts of the windows can be put together.

    Args:
        question: number of the question.
        start: first character.
        end: character behind the last.
        score: log-probability; with `legacy` the sum of two probabilities.
        window: number of the window it was found in.
        no_answer: question → (lowest `cls_logits`, lowest null log-probability) over its
            windows, for the no-answer score.
    """

    question: Index
    start: Index
    end: Index
    score: Floats
    window: Index
    no_answer: dict[int, tuple[float, float]]

    @staticmethod
    def joined(tables: Sequence[SpanTable], keep: int) -> SpanTable:
        """Put tables together and keep the best `keep` spans of each question."""
        no_answer: dict[int, tuple[float, float]] = {}
        for table in tables:
            for q, (cls_logit, null) in table.no_answer.items():
                old = no_answer.get(q, (np.inf, np.inf))
                no_answer[q] = (min(old[0], cls_logit), min(old[1], null))
        none, nothing = np.empty(0, np.int64), np.empty(0)
        columns = (
            np.concatenate([none, *(t.question for t in tables)]),
            np.concatenate([none, *(t.start for t in tables)]),
            np.concatenate([none, *(t.end for t in tables)]),
            np.concatenate([nothing, *(t.score for t in tables)]),
            np.concatenate([none, *(t.window for t in tables)]),
        )
        return SpanTable(*_best(*columns, keep=keep), no_answer)


def _best(
    question: Index, start: Index, end: Index, score: Floats, window: Index, *, keep: int
) -> tuple[Index, Index, Index, Floats, Index]:
    """Each span once, at its best; of each question the best `keep`."""
    order = np.lexsort((-score, end, start, question))
    q, s, e = question[order], start[order], end[order]
    first = np.ones(len(order), bool)
    first[1:] = (q[1:] != q[:-1]) | (s[1:] != s[:-1]) | (e[1:] != e[:-1])
    order = order[first]
    order = order[np.lexsort((end[order], start[order], -score[order], question[order]))]
    order = order[_rank(question[order]) < keep]
    return question[order], start[order], end[order], score[order], window[order]


def _rank(groups: Index) -> Index:
    """The place of each within its run of equals, from 0."""
    count = np.arange(len(groups))
    if not len(groups):
        return count
    new = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    return np.asarray(count - np.repeat(new, np.diff(np.r_[new, len(groups)])), np.int64)


def spans_of(
    windows: Sequence[Window],
    beams: Beams,
    offsets: Sequence[NDArray[np.int32]],
    questions: Sequence[int],
    *,
    shifts: NDArray[np.integer] | int = 0,
    numbers: Sequence[int] | None = None,
    max_answer_tokens: int = 30,
    keep: int = 80,
    legacy: bool = False,
) -> SpanTable:
    """The spans that the beams of some windows tell.

    Args:
        windows: W of them.
        beams: of these windows, in their order.
        offsets: of the context of each, (tokens, 2).
        questions: number of the question that each belongs to.
        shifts: padding in front of each, in tokens.
        numbers: number of each window within its question; None counts from 0.
        max_answer_tokens: longer spans are left out.
        keep: spans of a question to keep.
        legacy: score as the scripts of 4.34 did: the sum of the two probabilities.
    """
    first = np.array([w.context_begin for w in windows], np.int64) + shifts
    count = np.array([w.context_tokens for w in windows], np.int64)
    token = np.array([w.first_token for w in windows], np.int64)
    # One long array of all offsets; each context stands in it once.
    places: dict[int, int] = {}
    parts: list[NDArray[np.int32]] = []
    total = 0
    base = np.empty(len(windows), np.int64)
    for n, part in enumerate(offsets):
        if id(part) not in places:
            places[id(part)] = total
            parts.append(part)
            total += len(part)
        base[n] = places[id(part)]
    table = np.concatenate(parts) if parts else np.empty((0, 2), np.int32)
    s = beams.start_index[:, :, None] - first[:, None, None]
    e = beams.end_index - first[:, None, None]
    score = (
        np.exp(beams.start_log_probs)[:, :, None] + np.exp(beams.end_log_probs)
        if legacy
        else beams.start_log_probs[:, :, None] + beams.end_log_probs
    )
    good = (s >= 0) & (e >= s) & (e < count[:, None, None]) & (e - s < max_answer_tokens)
    good &= np.isfinite(score)
    w, i, j = np.nonzero(good)
    at = base[w] + token[w]
    start = table[at + s[w, i, 0], 0].astype(np.int64)
    end = table[at + e[w, i, j], 1].astype(np.int64)
    value = score[w, i, j]
    real = end > start
    w, start, end, value = w[real], start[real], end[real], value[real]
    question = np.asarray(questions, np.int64)
    number = _rank(question) if numbers is None else np.asarray(numbers, np.int64)
    no_answer: dict[int, tuple[float, float]] = {}
    if len(windows):
        known, inverse = np.unique(question, return_inverse=True)
        lowest = np.full((2, len(known)), np.inf)
        with np.errstate(invalid="ignore"):  # NaN stays NaN
            np.minimum.at(lowest[0], inverse, beams.cls_logits)
            np.minimum.at(lowest[1], inverse, beams.null_log_probs)
        no_answer = {int(q): (float(a), float(b)) for q, a, b in zip(known, *lowest, strict=True)}
    best = _best(question[w], start, end, value, number[w], keep=keep)
    return SpanTable(*best, no_answer)


def padding_before(windows: Sequence[Window], length: int, layout: Layout) -> Index:
    """How far padding to `length` moved each window's tokens."""
    if not layout.pad_left:
        return np.zeros(len(windows), np.int64)
    return np.array([length - w.length for w in windows], np.int64)
