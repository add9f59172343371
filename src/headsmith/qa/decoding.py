"""From beams of starts and ends to answers: characters, probabilities, and "no answer".

NumPy alone; all windows of a batch at once.

```
beams of a window      start i, its end j:  log P(start i) + log P(end j | start i)
    │ in the context, in order, short enough
spans of a question    of all its windows; one span found in several counts once, at its best
    │
answers                the n best, with offsets in the context, and a score for "no answer"
```

The scripts of Transformers 4.34 read the head's ends, flattened (end, start), as if they were
(start, end), so that most ends met a start of another beam; and they added probabilities as if
they were logarithms. `legacy=True` does the same, for comparison.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headsmith.qa.features import Featurized, Layout, Window
from headsmith.qa.settings import Calibration

__all__ = [
    "Beams",
    "Prediction",
    "Span",
    "SpanTable",
    "beams_of_head",
    "decode",
    "no_answer_score",
    "padding_before",
    "spans_of",
]

Floats = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Beams:
    """What the head found in some windows, each end with its own start.

    Args:
        start_log_probs: (windows, S).
        start_index: (windows, S) token positions.
        end_log_probs: (windows, S, E), given the start.
        end_index: (windows, S, E).
        cls_logits: (windows,), larger = less likely to have an answer.
        null_log_probs: (windows,), the log-probability of the CLS token as the start; NaN
            where it is not known.
    """

    start_log_probs: Floats
    start_index: Index
    end_log_probs: Floats
    end_index: Index
    cls_logits: Floats
    null_log_probs: Floats


def beams_of_head(
    start_log_probs: NDArray[np.floating],
    start_index: NDArray[np.integer],
    end_log_probs: NDArray[np.floating],
    end_index: NDArray[np.integer],
    cls_logits: NDArray[np.floating],
    null_log_probs: NDArray[np.floating] | None = None,
    *,
    legacy: bool = False,
) -> Beams:
    """Pair the flat outputs of `SQuADHead(log_probs=True)`.

    Args:
        start_log_probs: (windows, S).
        start_index: (windows, S).
        end_log_probs: (windows, E * S), flattened from (E, S).
        end_index: (windows, E * S).
        cls_logits: (windows,).
        null_log_probs: (windows,), or None.
        legacy: pair as the scripts of 4.34 did: cell i * E + j for start i.

    Raises:
        ValueError: the ends are no multiple of the starts.

    Example:
        >>> import numpy as np
        >>> from headsmith.qa.decoding import beams_of_head
        >>> beams = beams_of_head(np.zeros((1, 2)), np.array([[3, 1]]), np.zeros((1, 4)),
        ...                       np.array([[5, 2, 4, 3]]), np.zeros(1))
        >>> beams.end_index.tolist()
        [[[5, 4], [2, 3]]]
    """
    windows, starts = start_index.shape
    total = end_index.shape[1]
    if starts == 0 or total % starts:
        raise ValueError(
            "Expected ends of shape (windows, E * S) beside starts of shape (windows, S). "
            f"Received {end_index.shape} and {start_index.shape}."
        )
    ends = total // starts

    def paired(x: NDArray[np.generic]) -> NDArray[np.generic]:
        if legacy:
            return x.reshape(windows, starts, ends)
        return x.reshape(windows, ends, starts).transpose(0, 2, 1)

    if null_log_probs is None:
        null_log_probs = np.full(windows, np.nan)
    return Beams(
        np.asarray(start_log_probs, np.float64),
        np.asarray(start_index, np.int64),
        np.asarray(paired(end_log_probs), np.float64),
        np.asarray(paired(end_index), np.int64),
        np.asarray(cls_logits, np.float64),
        np.asarray(null_log_probs, np.float64),
    )


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


@dataclass(frozen=True, slots=True)
class Span:
    """One answer of an n-best list.

    Args:
        text: `context[start:end]`.
        start: first character in the context.
        end: character behind the last.
        log_prob: log P(start) + log P(end | start) in its window; with `legacy` the sum of the
            two probabilities.
        probability: its exponential, 0 to 1; with `legacy` it says nothing.
        window: number of the window it was found in.
    """

    text: str
    start: int
    end: int
    log_prob: float
    probability: float
    window: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says to a question.

    Args:
        id: the question's.
        answer: the best span's text, or the empty text where `no_answer_score` is above the
            threshold or there is no span at all.
        nbest: the best spans, no text twice; whether there is an answer is not asked here.
        no_answer_score: larger = less likely to have an answer.
        no_answer_probability: calibrated, 0 to 1.
        window: characters from … to of the context that the best span's window showed.
        cls_logit: the answer class's lowest logit over the windows.
        null_log_prob: the CLS token's lowest log-probability as the start over the windows.
    """

    id: str
    answer: str
    nbest: tuple[Span, ...]
    no_answer_score: float
    no_answer_probability: float
    window: tuple[int, int] | None
    cls_logit: float = 0.0
    null_log_prob: float = math.nan


def decode(
    items: Sequence[Featurized],
    table: SpanTable,
    *,
    n_best: int = 20,
    overlaps: bool = True,
    calibration: Calibration | None = None,
) -> list[Prediction]:
    """Turn spans into answers.

    Args:
        items: the questions, numbered by their place, as in `table`.
        table: from `spans_of`.
        n_best: answers of a question to give at most.
        overlaps: whether two of them may share characters.
        calibration: of "no answer"; None never says it.
    """
    calibration = calibration or Calibration()
    bounds = np.searchsorted(table.question, np.arange(len(items) + 1))
    starts, ends = table.start.tolist(), table.end.tolist()
    scores, windows = table.score.tolist(), table.window.tolist()
    found = []
    for q, item in enumerate(items):
        context = item.question.context
        chosen: list[int] = []
        texts: dict[str, None] = {}
        for row in range(bounds[q], bounds[q + 1]):
            text = context[starts[row] : ends[row]]
            if text in texts:
                continue
            if not overlaps and any(
                starts[row] < ends[k] and starts[k] < ends[row] for k in chosen
            ):
                continue
            texts[text] = None
            chosen.append(row)
            if len(chosen) == n_best:
                break
        best = scores[chosen[0]] if chosen else 0.0
        nbest = tuple(
            Span(text, starts[k], ends[k], scores[k], math.exp(min(scores[k], 0.0)), windows[k])
            for text, k in zip(texts, chosen, strict=True)
        )
        cls_logit, null = table.no_answer.get(q, (0.0, math.nan))
        score = no_answer_score(cls_logit, null, best, calibration.source)
        if not chosen:
            score = math.inf
        probability = calibration.probability(float(score))
        answer = nbest[0].text if nbest and not score > calibration.threshold else ""
        window = _shown(item, nbest[0].window) if nbest else None
        found.append(
            Prediction(
                item.question.id, answer, nbest, float(score), probability, window, cls_logit, null
            )
        )
    return found


def no_answer_score(cls_logit: float, null: float, best: float, source: str) -> float:
    """How much speaks for "no answer", in units of log-odds.

    Args:
        cls_logit: the answer class's lowest logit over the windows.
        null: the CLS token's lowest log-probability as the start over the windows.
        best: log-probability of the best span.
        source: `"class"`, `"span"` or `"both"`; without `null` always `"class"`.

    Example:
        >>> from headsmith.qa.decoding import no_answer_score
        >>> no_answer_score(1.0, -0.5, -2.0, "both")
        2.5
    """
    if source == "class" or not np.isfinite(null):
        return cls_logit
    return null - best + (cls_logit if source == "both" else 0.0)


def _shown(item: Featurized, number: int) -> tuple[int, int]:
    window = item.windows[number]
    part = item.offsets[window.first_token : window.first_token + window.context_tokens]
    return int(part[0, 0]), int(part[-1, 1])


def padding_before(windows: Sequence[Window], length: int, layout: Layout) -> Index:
    """How far padding to `length` moved each window's tokens."""
    if not layout.pad_left:
        return np.zeros(len(windows), np.int64)
    return np.array([length - w.length for w in windows], np.int64)
