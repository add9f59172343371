"""When to say that there is no answer: a threshold and a temperature, fitted on labelled questions.

Fit them on questions that were not trained on, and report results on others again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headsmith.errors import DataError
from headsmith.qa.decoding import Prediction, no_answer_score
from headsmith.qa.metrics import score_questions, threshold_curve
from headsmith.qa.settings import Calibration, NoAnswer
from headsmith.qa.squad_data import Question

__all__ = ["area_under_curve", "calibrate", "fit_temperature", "fit_threshold", "scores_by"]

_SOURCES: tuple[NoAnswer, ...] = ("both", "span", "class")


def scores_by(source: NoAnswer, predictions: Sequence[Prediction]) -> list[float]:
    """The no-answer score of each prediction, by another source than it was made with."""
    found = []
    for p in predictions:
        if not p.nbest:
            found.append(math.inf)
            continue
        found.append(no_answer_score(p.cls_logit, p.null_log_prob, p.nbest[0].log_prob, source))
    return found


def calibrate(
    questions: Sequence[Question],
    predictions: Sequence[Prediction],
    *,
    source: NoAnswer | None = None,
    metric: str = "f1",
) -> Calibration:
    """Fit when a question counts as one without answer.

    Args:
        questions: with labels; those without a prediction are passed over.
        predictions: of the model, whatever threshold they were made with.
        source: see `Calibration`; None takes the one whose probabilities fit best.
        metric: what the threshold is best for: `"f1"` or `"exact"`.

    Returns:
        The calibration. Where all questions have an answer the threshold is infinite: then
        "no answer" is never said.

    Raises:
        DataError: no question has a label and a prediction.
    """
    by_id = {p.id: p for p in predictions}
    known = [q for q in questions if q.id in by_id and q.is_impossible is not None]
    if not known:
        raise DataError("There is nothing to calibrate on: no question has a label and an answer.")
    own = [by_id[q.id] for q in known]
    answerable = [not q.is_impossible for q in known]
    if all(answerable):
        return Calibration(source=source or "both", questions=len(known))
    best: Calibration | None = None
    lowest = math.inf
    for name in _SOURCES if source is None else (source,):
        scores = np.array(scores_by(name, own))
        offset, temperature, loss = fit_temperature(scores, ~np.array(answerable))
        if best is None or loss < lowest:
            best, lowest = Calibration(name, 0.0, offset, temperature, len(known)), loss
    assert best is not None  # noqa: S101 - there is at least one source
    texts = {p.id: p.nbest[0].text for p in own if p.nbest} | {p.id: "" for p in own if not p.nbest}
    scored = score_questions(known, texts)
    values = [s.f1 if metric == "f1" else s.exact for s in scored]
    threshold = fit_threshold(
        values, scores_by(best.source, own), answerable, [bool(s.prediction) for s in scored]
    )
    return Calibration(best.source, threshold, best.offset, best.temperature, len(known))


def fit_threshold(
    values: Sequence[float],
    scores: Sequence[float],
    has_answer: Sequence[bool],
    predicted: Sequence[bool],
) -> float:
    """The threshold with the best mean, half-way between two scores.

    Questions with equal scores fall on the same side, so that the order of the questions does
    not matter. The arguments are those of `headsmith.qa.metrics.threshold_curve`.

    Returns:
        Infinity where it is best to answer every question, minus infinity where none.

    Example:
        >>> from headsmith.qa.no_answer import fit_threshold
        >>> fit_threshold([1, 1, 0], [0.0, 1.0, 2.0], [True, True, False], [True] * 3)
        1.5
    """
    curve = threshold_curve(values, scores, has_answer, predicted)
    best = max(range(len(curve)), key=lambda i: curve[i][1])
    if best == 0:
        return -math.inf
    if best + 1 == len(curve):
        return math.inf
    here, after = curve[best][0], curve[best + 1][0]
    middle = here + (after - here) / 2
    # Between neighbouring floats there is no middle: the lower one cuts as well.
    return middle if math.isfinite(middle) and here <= middle < after else here


def fit_temperature(
    scores: NDArray[np.floating], no_answer: NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Fit P(no answer) = 1 / (1 + exp(-(score - offset) / temperature)) by likelihood.

    Platt's smoothed targets keep the fit finite where the scores part both sides fully.

    Args:
        scores: (questions,).
        no_answer: whether each has none.

    Returns:
        Offset, temperature, and the mean negative log-likelihood.

    Example:
        >>> import numpy as np
        >>> from headsmith.qa.no_answer import fit_temperature
        >>> offset, _, _ = fit_temperature(np.array([0.0, 1, 2, 3]), np.array([0, 0, 1, 1]) > 0)
        >>> round(offset, 3)
        1.5
    """
    finite = np.isfinite(scores)
    x, label = np.asarray(scores, np.float64)[finite], no_answer[finite]
    positive, negative = int(label.sum()), int((~label).sum())
    if not len(x):
        return 0.0, 1.0, math.inf
    target = np.where(label, (positive + 1) / (positive + 2), 1 / (negative + 2))
    middle, scale = float(x.mean()), float(x.std()) or 1.0
    z = (x - middle) / scale
    slope, bias = 0.0, math.log((positive + 1) / (negative + 1))
    for _ in range(100):
        p = _logistic(slope * z + bias)
        gradient = np.array([((p - target) * z).sum(), (p - target).sum()])
        weight = np.maximum(p * (1 - p), 1e-12)
        hessian = np.array(
            [[(weight * z * z).sum(), (weight * z).sum()], [(weight * z).sum(), weight.sum()]]
        ) + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size = float(np.abs(step).max())
        step *= min(1.0, 2.0 / size) if size else 1.0
        slope, bias = slope - float(step[0]), bias - float(step[1])
        if size < 1e-9:
            break
    slope = max(slope, 1e-4)  # a score that says the opposite says nothing
    p = _logistic(slope * z + bias)
    loss = -float(np.mean(np.where(label, np.log(p + 1e-300), np.log1p(-p + 1e-300))))
    return middle - bias / slope * scale, scale / slope, loss


def _logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


def area_under_curve(scores: Sequence[float], no_answer: Sequence[bool]) -> float:
    """How often a question without answer scores above one with an answer; ties count half.

    Example:
        >>> from headsmith.qa.no_answer import area_under_curve
        >>> area_under_curve([0.1, 0.2, 0.3], [False, True, True])
        1.0
    """
    x, label = np.asarray(scores, np.float64), np.asarray(no_answer, bool)
    positive, negative = int(label.sum()), int((~label).sum())
    if not positive or not negative:
        return math.nan
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = ends - (counts - 1) / 2  # the mean rank of equals
    total = float(ranks[inverse][label].sum())
    return (total - positive * (positive + 1) / 2) / (positive * negative)
