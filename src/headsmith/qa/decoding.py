"""From beams of starts and ends to answers: characters, probabilities, and "no answer".

NumPy alone; all windows of a batch at once.

```
beams of a window      start i, its end j:  log P(start i) + log P(end j | start i)
    │ in the context, in order, short enough
spans of a question    of all its windows; one span found in several counts once, at its best
    │
answers                the n best, with offsets in the context, and a score for "no answer"
```
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headsmith.qa.features import Featurized
from headsmith.qa.settings import Calibration
from headsmith.qa.spans import SpanTable

__all__ = ["Prediction", "Span", "decode", "no_answer_score"]


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
