import numpy as np
import pytest

from headsmith.spec import reference

SEQUENCES = [
    "causal_language_modeling_loss",
    "masked_language_modeling_loss",
    "token_classification_loss",
]


@pytest.fixture
def problem(rng):
    labels = rng.integers(0, 6, (3, 5))
    labels[rng.random((3, 5)) < 0.4] = -100
    return rng.normal(size=(3, 5, 6)), labels


def truth_of(name, logits, labels):
    if name.startswith("causal"):
        logits, labels = logits[:, :-1], labels[:, 1:]
    return reference.cross_entropy(logits, labels).sum() / max((labels != -100).sum(), 1)


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequence_losses(wing, problem, name):
    np.testing.assert_allclose(
        wing.loss(name)(*problem), truth_of(name, *problem), rtol=wing.tolerance
    )


@pytest.mark.parametrize("name", SEQUENCES)
def test_ignored_logits_may_hold_anything(wing, problem, name):
    logits, labels = problem
    ignored = labels == -100
    if name.startswith("causal"):
        ignored = np.concatenate([ignored[:, 1:], np.ones((3, 1), bool)], 1)
    bad = np.where(ignored[..., None], np.inf, logits)
    np.testing.assert_allclose(
        wing.loss(name)(bad, labels), truth_of(name, logits, labels), rtol=wing.tolerance
    )


@pytest.mark.parametrize("name", SEQUENCES)
def test_nothing_left_gives_zero(wing, problem, name):
    assert wing.loss(name)(problem[0], np.full((3, 5), -100)) == 0


def test_question_answering(wing, rng):
    start, end = rng.normal(size=(2, 4, 7))
    at = np.array([[0, 3, -100, 7], [2, 6, 5, -1]])
    np.testing.assert_allclose(
        wing.loss("question_answering_loss")(start, end, *at),
        reference.question_answering_loss(start, end, *at),
        rtol=wing.tolerance,
    )


def test_multiple_choice(wing, rng):
    logits, labels = rng.normal(size=(4, 3)), np.array([0, 2, -100, 1])
    truth = reference.cross_entropy(logits, labels).sum() / 3
    np.testing.assert_allclose(
        wing.loss("multiple_choice_loss")(logits, labels), truth, rtol=wing.tolerance
    )


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("single_label_classification", np.array([0, 2, -100, 1])),
        ("multi_label_classification", np.array([[0.0, 1, 1], [1, 0, -100], [0, 0, 0], [1, 1, 1]])),
        ("regression", np.arange(12.0).reshape(4, 3)),
    ],
)
def test_sequence_classification(wing, rng, kind, labels):
    logits = rng.normal(size=(4, 3))
    got = wing.loss("sequence_classification_loss")(logits, labels, problem_type=kind)
    truth = reference.sequence_classification_loss(logits, labels, kind)
    np.testing.assert_allclose(got, truth, rtol=wing.tolerance)
