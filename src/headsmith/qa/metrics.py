"""Exact match and F1 as the official SQuAD evaluations define them, v1.1 and v2.0.

From the published rules (Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250; 2018,
https://arxiv.org/abs/1806.03822). Texts are compared in lower case, without punctuation,
articles and spare white space; the best of the right answers counts. The two versions differ:

| | v1.1 | v2.0 |
|---|---|---|
| question without prediction | counts, with 0 | is left out of all means |
| no answer | does not occur | the empty text is the right answer |
| right answers that are empty once normalised | are kept | are dropped |

One rule is mended: with equal no-answer scores the official search for the best threshold cuts
between them, which no threshold can do, and its result hangs on the order of the file. Here
equal scores stay together; where all scores differ, the results are the same.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headsmith.qa.squad_data import Question

__all__ = [
    "BestThreshold",
    "Evaluation",
    "Scored",
    "best_threshold",
    "evaluate",
    "exact_match",
    "f1_score",
    "normalize",
    "score_questions",
    "threshold_curve",
]

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower case, no ASCII punctuation, no articles, single spaces.

    Example:
        >>> from headsmith.qa.metrics import normalize
        >>> normalize("The  Théâtre-Français!")
        'théâtrefrançais'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(right: str, given: str) -> int:
    """1 if both are the same once normalised, 0 if not."""
    return int(normalize(right) == normalize(given))


def f1_score(right: str, given: str, *, version: int = 2) -> float:
    """Harmonic mean of precision and recall of the words, 0 to 1.

    Args:
        right: a right answer.
        given: the prediction.
        version: 2 gives 1 where both are empty; 1 gives 0.

    Example:
        >>> from headsmith.qa.metrics import f1_score
        >>> f1_score("the red house", "red car")
        0.5
    """
    return _f1(normalize(right).split(), normalize(given).split(), version)


def _f1(right: list[str], given: list[str], version: int) -> float:
    if version == 2 and (not right or not given):
        return int(right == given)
    same = sum((Counter(given) & Counter(right)).values())
    if same == 0:
        return 0
    precision, recall = 1.0 * same / len(given), 1.0 * same / len(right)
    return (2 * precision * recall) / (precision + recall)


@dataclass(frozen=True, slots=True)
class Scored:
    """One question's scores.

    Args:
        id: the question's.
        exact: 1 or 0.
        f1: 0 to 1.
        has_answer: whether the question has a right answer.
        prediction: what was predicted; None if nothing was.
    """

    id: str
    exact: float
    f1: float
    has_answer: bool
    prediction: str | None


@dataclass(frozen=True)
class BestThreshold:
    """The threshold with the best mean score.

    Args:
        score: that mean, in percent.
        threshold: no answer is given where the no-answer score is above it.
    """

    score: float
    threshold: float


@dataclass(frozen=True)
class Evaluation:
    """Means over questions, in percent, as the official scripts print them.

    Args:
        version: 1 or 2.
        exact: exact match.
        f1: F1.
        total: questions that count.
        missing: questions without a prediction.
        unknown: predictions for questions that are not in the data.
        parts: v2.0: `"HasAns"` and `"NoAns"` → (exact, f1, total), where there are any.
        best_exact: v2.0 with no-answer scores: best threshold for exact match.
        best_f1: the same for F1.
        questions: each question's own scores.
    """

    version: int
    exact: float
    f1: float
    total: int
    missing: int
    unknown: int
    parts: dict[str, tuple[float, float, int]]
    best_exact: BestThreshold | None
    best_f1: BestThreshold | None
    questions: list[Scored]

    def to_dict(self) -> dict[str, float | int]:
        """The keys and values of the official script of that version."""
        if self.version == 1:
            return {"exact_match": self.exact, "f1": self.f1}
        found: dict[str, float | int] = {"exact": self.exact, "f1": self.f1, "total": self.total}
        for name, (exact, f1, total) in self.parts.items():
            found |= {f"{name}_exact": exact, f"{name}_f1": f1, f"{name}_total": total}
        for name, best in (("best_exact", self.best_exact), ("best_f1", self.best_f1)):
            if best is not None:
                found |= {name: best.score, f"{name}_thresh": best.threshold}
        return found


def score_questions(
    questions: Sequence[Question],
    predictions: Mapping[str, str],
    *,
    version: int = 2,
) -> list[Scored]:
    """Score each question.

    Args:
        questions: with their answers.
        predictions: id → text; the empty text says that there is no answer.
        version: 1 or 2.
    """
    found = []
    for question in questions:
        given = predictions.get(question.id)
        texts = [a.text for a in question.answers]
        if version == 2:
            texts = [t for t in texts if normalize(t)] or [""]
        if given is None:
            found.append(Scored(question.id, 0.0, 0.0, bool(question.answers), None))
            continue
        right = [normalize(t) for t in texts]
        own = normalize(given)
        words = own.split()
        exact = max((int(own == r) for r in right), default=0)
        f1 = max((_f1(r.split(), words, version) for r in right), default=0)
        found.append(Scored(question.id, exact, f1, bool(question.answers), given))
    return found


def evaluate(
    questions: Sequence[Question],
    predictions: Mapping[str, str],
    *,
    version: int | None = None,
    no_answer_scores: Mapping[str, float] | None = None,
    threshold: float = 1.0,
) -> Evaluation:
    """Evaluate predictions as the official script does.

    Args:
        questions: all of the data's, with their answers.
        predictions: id → text.
        version: 1 or 2; None takes 2 if some question has no answer.
        no_answer_scores: v2.0: id → how likely there is no answer.
        threshold: v2.0: a prediction counts as "no answer" where that score is above it.

    Example:
        >>> from headsmith.qa.metrics import evaluate
        >>> from headsmith.qa.squad_data import Answer, Question
        >>> data = [Question("a", "Where?", "In the house.", (Answer("the house", 3),), False)]
        >>> evaluate(data, {"a": "house"}).to_dict()
        {'exact_match': 100.0, 'f1': 100.0}
    """
    if version is None:
        version = 2 if any(q.is_impossible for q in questions) else 1
    scored = score_questions(questions, predictions, version=version)
    known = {q.id for q in questions}
    missing = sum(s.prediction is None for s in scored)
    unknown = sum(1 for id_ in predictions if id_ not in known)
    if version == 1:
        exact = f1 = 0.0
        for s in scored:
            exact += s.exact
            f1 += s.f1
        total = max(1, len(scored))
        return Evaluation(
            version=1,
            exact=100.0 * exact / total,
            f1=100.0 * f1 / total,
            total=len(scored),
            missing=missing,
            unknown=unknown,
            parts={},
            best_exact=None,
            best_f1=None,
            questions=scored,
        )
    counted = [s for s in scored if s.prediction is not None]
    raw = counted
    best: tuple[BestThreshold, BestThreshold] | tuple[None, None] = (None, None)
    if no_answer_scores is not None:
        counted = [_cut(s, no_answer_scores.get(s.id, 0.0), threshold) for s in raw]
        rated = [s for s in raw if s.id in no_answer_scores]
        scores = [no_answer_scores[s.id] for s in rated]
        sides = (*_sides(rated), sum(not s.has_answer for s in scored), len(raw))
        best = (
            best_threshold([s.exact for s in rated], scores, *sides),
            best_threshold([s.f1 for s in rated], scores, *sides),
        )
        by_id = {s.id: s for s in counted}
        scored = [by_id.get(s.id, s) for s in scored]
    parts = {}
    for name, wanted in (("HasAns", True), ("NoAns", False)):
        group = [s for s in counted if s.has_answer is wanted]
        if group:
            parts[name] = (*_means(group), len(group))
    exact, f1 = _means(counted)
    return Evaluation(
        version=2,
        exact=exact,
        f1=f1,
        total=len(counted),
        missing=missing,
        unknown=unknown,
        parts=parts,
        best_exact=best[0],
        best_f1=best[1],
        questions=scored,
    )


def threshold_curve(
    values: Sequence[float],
    scores: Sequence[float],
    has_answer: Sequence[bool],
    predicted: Sequence[bool],
    unanswerable: int | None = None,
) -> list[tuple[float, float]]:
    """What every no-answer threshold gives; questions with equal scores stay together.

    Args:
        values: each question's exact match or F1 if its prediction stands.
        scores: how likely each has no answer.
        has_answer: whether each has one.
        predicted: whether each prediction is other than the empty text.
        unanswerable: questions of the data without answer; None counts them in `has_answer`.

    Returns:
        (threshold, sum of the values) with rising thresholds: first minus infinity, at which
        no question is given an answer, then each score once.
    """
    order = sorted(range(len(scores)), key=lambda i: scores[i])
    without = sum(not h for h in has_answer) if unanswerable is None else unanswerable
    current = float(without)
    curve = [(-math.inf, current)]
    for place, i in enumerate(order):
        current += values[i] if has_answer[i] else -1 if predicted[i] else 0
        if place + 1 == len(order) or scores[order[place + 1]] != scores[i]:
            curve.append((scores[i], current))
    return curve


def best_threshold(
    values: Sequence[float],
    scores: Sequence[float],
    has_answer: Sequence[bool],
    predicted: Sequence[bool],
    unanswerable: int | None = None,
    total: int | None = None,
) -> BestThreshold:
    """The no-answer threshold with the best mean; the arguments are those of `threshold_curve`.

    Returns:
        The lowest of the best thresholds; it is one of the scores, or 0.0 where it is best to
        give no answer to any question, as in the official script.

    Example:
        >>> from headsmith.qa.metrics import best_threshold
        >>> best_threshold([1, 1, 0], [0.1, 0.4, 0.9], [True, True, False], [True] * 3)
        BestThreshold(score=100.0, threshold=0.4)
    """
    curve = threshold_curve(values, scores, has_answer, predicted, unanswerable)
    threshold, best = max(curve, key=lambda point: point[1])  # of equals the first
    count = len(scores) if total is None else total
    mean = 100.0 * best / max(1, count)
    return BestThreshold(mean, 0.0 if threshold == -math.inf else threshold)


def _sides(scored: Sequence[Scored]) -> tuple[list[bool], list[bool]]:
    return [s.has_answer for s in scored], [bool(s.prediction) for s in scored]


def _cut(scored: Scored, no_answer: float, threshold: float) -> Scored:
    if not no_answer > threshold:
        return scored
    value = float(not scored.has_answer)
    return Scored(scored.id, value, value, scored.has_answer, scored.prediction)


def _means(scored: Sequence[Scored]) -> tuple[float, float]:
    total = max(1, len(scored))
    return (
        100.0 * sum(s.exact for s in scored) / total,
        100.0 * sum(s.f1 for s in scored) / total,
    )
