"""The metrics against a second implementation of the published rules, written another way."""

from __future__ import annotations

import math
import random
import unicodedata

import pytest

from headsmith.qa.metrics import best_threshold, evaluate, normalize, threshold_curve
from headsmith.qa.squad_data import Answer, Question

_ASCII_PUNCTUATION = [
    c for c in map(chr, range(33, 127)) if not c.isalnum()
]  # what string.punctuation holds, from the code table


def is_word(character: str) -> bool:
    return character == "_" or character.isalnum()


def plain(text: str) -> list[str]:
    r"""Words, found letter by letter: an article is one where no \w stands next to it."""
    kept = [c for c in text.lower() if c not in _ASCII_PUNCTUATION]
    runs: list[list[str]] = []
    for c in kept:
        same = bool(runs) and is_word(runs[-1][-1]) == is_word(c)
        if same:
            runs[-1].append(c)
        else:
            runs.append([c])
    parts = ["".join(run) for run in runs]
    return "".join(" " if p in ("a", "an", "the") else p for p in parts).split()


def plain_f1(right: list[str], given: list[str], version: int) -> float:
    if version == 2 and not (right and given):
        return float(right == given)
    left, same = list(right), 0
    for word in given:
        if word in left:
            left.remove(word)
            same += 1
    return 2 * same / (len(right) + len(given)) if same else 0.0


def plain_scores(answers: list[str], given: str, version: int) -> tuple[float, float]:
    if version == 2:
        answers = [a for a in answers if plain(a)] or [""]
    own = plain(given)
    return (
        max(float(plain(a) == own) for a in answers),
        max(plain_f1(plain(a), own, version) for a in answers),
    )


_PIECES = [
    *("the", "The", "a", "an", "An", "house", "HOUSE", "red", "tee-shirt", "U.S.", "1,783", "é"),
    *(
        "Möwe",
        "straße",
        "İstanbul",
        "ﬁsh",
        "東京",
        "the-end",
        "’s",
        "—",
        "…",
        "¿qué?",
        "$5",
        "_the_",
    ),
    *(
        "",
        " ",
        "\t",
        "\u00a0",
        "\u200b",
        "e\u0301",
        "½",
        "O'Neill",
        "and",
        "an.",
        "(a)",
        "ΑΣ",
        "🙂",
    ),
]


def made_up(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.08:
        return ""
    if kind < 0.16:
        return rng.choice(["the", "A", "...", " ", "an the", "?!", "\u3000"])
    if kind < 0.24:
        chosen = [chr(rng.randrange(32, 0x2FFF)) for _ in range(rng.randrange(1, 9))]
        return "".join(c for c in chosen if unicodedata.category(c) != "Cs")
    joint = rng.choice([" ", "  ", "-", ", "])
    return joint.join(rng.choice(_PIECES) for _ in range(rng.randrange(1, 6)))


@pytest.mark.parametrize("version", [1, 2])
def test_a_thousand_predictions_agree_with_the_second_implementation(version):
    rng = random.Random(version)
    questions, predictions, expected = [], {}, []
    for number in range(1000):
        answers = [made_up(rng) for _ in range(rng.randrange(1, 4))]
        if version == 2 and rng.random() < 0.3:
            answers = []
        given = made_up(rng)
        if answers and rng.random() < 0.4:  # near misses
            given = rng.choice(["the ", "", "A "]) + rng.choice(answers).upper() + rng.choice(".! ")
        placed = tuple(Answer(a, 0) for a in answers)
        questions.append(Question(str(number), "?", "", placed, not answers))
        predictions[str(number)] = given
        expected.append(plain_scores(answers, given, version))
    found = evaluate(questions, predictions, version=version)
    for question, (exact, f1) in zip(found.questions, expected, strict=True):
        assert question.exact == exact
        assert question.f1 == pytest.approx(f1, abs=1e-12)
    assert found.exact == pytest.approx(sum(e for e, _ in expected) / 10)
    assert found.f1 == pytest.approx(sum(f for _, f in expected) / 10)
    assert 5 < found.exact < 95


@pytest.mark.parametrize("text", ["The  cat!", "a.b", "an-the", "_a_", "Ⅷ the ﬁsh", "a\u0301 the"])
def test_normalisation_by_hand_and_by_machine(text):
    assert normalize(text).split() == plain(text)


def question(name: str, *answers: str) -> Question:
    return Question(name, "?", "", tuple(Answer(a, 0) for a in answers), not answers)


def test_missing_predictions_count_in_v1_and_not_in_v2():
    data = [question("a", "x"), question("b", "y")]
    one = evaluate(data, {"a": "x", "z": "?"}, version=1)
    assert (one.exact, one.total, one.missing, one.unknown) == (50.0, 2, 1, 1)
    two = evaluate(data, {"a": "x", "z": "?"}, version=2)
    assert (two.exact, two.total, two.missing, two.unknown) == (100.0, 1, 1, 1)


def test_the_version_shows_in_the_data_and_parts_are_told():
    data = [question("a", "x"), question("b")]
    assert evaluate(data[:1], {"a": "x"}).to_dict() == {"exact_match": 100.0, "f1": 100.0}
    found = evaluate(data, {"a": "no", "b": ""}).to_dict()
    assert found == {
        "exact": 50.0,
        "f1": 50.0,
        "total": 2,
        "HasAns_exact": 0.0,
        "HasAns_f1": 0.0,
        "HasAns_total": 1,
        "NoAns_exact": 100.0,
        "NoAns_f1": 100.0,
        "NoAns_total": 1,
    }


def test_a_threshold_takes_answers_back():
    data = [question("a", "x"), question("b")]
    scores = {"a": 0.2, "b": 0.9}
    kept = evaluate(data, {"a": "x", "b": "y"}, no_answer_scores=scores, threshold=0.9)
    assert kept.exact == 50.0  # a score that equals the threshold is not above it
    cut = evaluate(data, {"a": "x", "b": "y"}, no_answer_scores=scores, threshold=0.5)
    assert cut.exact == 100.0
    assert (cut.best_exact.score, cut.best_exact.threshold) == (100.0, 0.2)
    assert cut.to_dict()["best_f1_thresh"] == 0.2


def test_ties_do_not_hang_on_the_order():
    values, scores, has = [1.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.1], [True, False, False, True]
    predicted = [True] * 4
    found = set()
    for shift in range(4):
        turn = [(i + shift) % 4 for i in range(4)]
        best = best_threshold(*([x[i] for i in turn] for x in (values, scores, has, predicted)))
        found.add((best.score, best.threshold))
    # Cutting between the three equal scores would give 100.
    assert found == {(75.0, 0.1)}
    curve = threshold_curve(values, scores, has, predicted)
    assert curve == [(-math.inf, 2.0), (0.1, 3.0), (0.5, 2.0)]


def test_the_curve_is_what_evaluation_gives_at_each_threshold():
    rng = random.Random(3)
    data = [question(str(i), *(["x y"] if rng.random() < 0.6 else [])) for i in range(60)]
    given = {q.id: rng.choice(["x y", "x", "z", ""]) for q in data}
    scores = {q.id: rng.randrange(8) / 8 for q in data}
    found = evaluate(data, given, no_answer_scores=scores)
    tried = {
        t: evaluate(data, given, no_answer_scores=scores, threshold=t).f1
        for t in {*scores.values()}
    }
    assert found.best_f1.score == pytest.approx(max(tried.values()))
    assert tried[found.best_f1.threshold] == pytest.approx(found.best_f1.score)
