"""Threshold, temperature and the refit of the answer class."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from headsmith.errors import CheckpointError, DataError
from headsmith.qa.decoding import Prediction, Span
from headsmith.qa.metrics import evaluate
from headsmith.qa.no_answer import (
    area_under_curve,
    calibrate,
    fit_temperature,
    fit_threshold,
    scores_by,
)
from headsmith.qa.refit import refit_answer_class
from headsmith.qa.settings import Calibration, QASettings
from headsmith.qa.squad_data import Answer, Question


def test_temperature_is_what_a_search_finds():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=400) * 3 + 1
    label = rng.random(400) < 1 / (1 + np.exp(-(scores - 2) / 1.5))
    offset, temperature, loss = fit_temperature(scores, label)
    positive, negative = label.sum(), (~label).sum()
    target = np.where(label, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def smoothed(o, t):
        p = 1 / (1 + np.exp(-(scores - o) / t))
        return -np.mean(target * np.log(p) + (1 - target) * np.log(1 - p))

    here = smoothed(offset, temperature)
    for o in np.linspace(offset - 0.3, offset + 0.3, 13):
        for t in np.linspace(temperature * 0.8, temperature * 1.2, 13):
            assert smoothed(o, t) >= here - 1e-9
    assert abs(offset - 2) < 0.5
    assert abs(temperature - 1.5) < 0.5
    p = 1 / (1 + np.exp(-(scores - offset) / temperature))
    assert loss == pytest.approx(-np.mean(np.log(np.where(label, p, 1 - p))))


def test_temperature_stays_finite_where_scores_part_both_sides():
    offset, temperature, _ = fit_temperature(np.array([0.0, 1, 9, 10]), np.array([0, 0, 1, 1]) > 0)
    assert 1 < offset < 9
    assert 0 < temperature < 10
    # Scores that say the opposite say nothing: probabilities near the base rate.
    offset, temperature, _ = fit_temperature(np.array([9.0, 8, 1, 0]), np.array([0, 0, 1, 1]) > 0)
    assert Calibration(offset=offset, temperature=temperature).probability(0) == pytest.approx(
        0.5, abs=0.01
    )


def test_the_threshold_is_the_best_of_all_and_stays_between_equals():
    rng = np.random.default_rng(1)
    for _ in range(30):
        has = rng.random(25) < 0.6
        values = np.where(has, rng.random(25).round(1), 0.0)
        scores = rng.integers(0, 6, 25) / 2
        threshold = fit_threshold(values, scores, has, [True] * 25)

        def mean(limit, has=has, values=values, scores=scores):
            return sum(
                (not h) if s > limit else v for h, v, s in zip(has, values, scores, strict=True)
            )

        tried = [mean(limit) for limit in (-math.inf, *np.arange(-0.25, 3.5, 0.25), math.inf)]
        assert mean(threshold) == pytest.approx(max(tried))
        assert threshold not in scores
        turn = rng.permutation(25)
        assert fit_threshold(values[turn], scores[turn], has[turn], [True] * 25) == threshold


def test_area_under_the_curve_counts_pairs():
    rng = np.random.default_rng(2)
    scores, label = rng.integers(0, 5, 40) / 4, rng.random(40) < 0.4
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[label] for b in scores[~label]]
    assert area_under_curve(scores, label) == pytest.approx(np.mean(wins))
    assert math.isnan(area_under_curve([1.0], [True]))


def made(number: int, answerable: bool, cls_logit: float, null: float) -> tuple:
    name = str(number)
    question = Question(name, "?", "x y", (Answer("x", 0),) if answerable else (), not answerable)
    span = Span("x", 0, 1, -1.0, 0.4, 0)
    return question, Prediction(name, "x", (span,), 0.0, 0.5, (0, 3), cls_logit, null)


def test_the_source_that_fits_best_is_taken():
    rng = np.random.default_rng(3)
    pairs = []
    for number in range(200):
        answerable = bool(rng.random() < 0.5)
        # The class knows nothing, the span knows.
        pairs.append(made(number, answerable, rng.normal(), -3.0 * answerable + rng.normal()))
    questions, predictions = map(list, zip(*pairs, strict=True))
    found = calibrate(questions, predictions)
    assert found.source == "span"
    assert found.questions == 200
    scores = scores_by("span", predictions)
    given = {
        p.id: "" if s > found.threshold else "x" for p, s in zip(predictions, scores, strict=True)
    }
    result = evaluate(questions, given)
    assert result.exact > 80
    best = evaluate(
        questions,
        {p.id: "x" for p in predictions},
        no_answer_scores=dict(zip(given, scores, strict=True)),
    )
    assert result.f1 == pytest.approx(best.best_f1.score)
    assert calibrate(questions, predictions, source="class").source == "class"


def test_where_every_question_has_an_answer_none_is_taken_back():
    questions, predictions = map(list, zip(*[made(i, True, 1, -1) for i in range(3)], strict=True))
    assert calibrate(questions, predictions).threshold == math.inf
    with pytest.raises(DataError, match="nothing to calibrate on"):
        calibrate(questions, [])


def test_settings_survive_the_file():
    settings = QASettings(stride=7, calibration=Calibration("class", -math.inf, 1.5, 2.0, 9))
    assert QASettings.from_json(settings.to_json()) == settings
    for text, message in (
        ("[]", "cannot be understood"),
        ("{", "cannot be understood"),
        ('{"format": "headsmith-qa", "version": 2}', "expected"),
        (settings.to_json().replace('"stride": 7', '"stride": "7"'), "stride is a whole number"),
        (settings.to_json().replace("2.0", "-2.0"), "temperature is above 0"),
        (settings.to_json().replace('"class"', '"other"'), "source is class, span or both"),
        (settings.to_json().replace("1.5", '"x"'), "offset is a number"),
    ):
        with pytest.raises(CheckpointError, match=message):
            QASettings.from_json(text)


def test_refitting_finds_what_the_states_tell(qa_model):
    torch.manual_seed(0)
    states = torch.randn(600, 2, 16)
    labels = (states[:, 0, 0] + states[:, 1, 3] + 0.3 * torch.randn(600) > 0).float()
    others = {k: v.clone() for k, v in qa_model.state_dict().items() if "answer_class" not in k}
    result = refit_answer_class(qa_model, states, labels)
    assert result.steps > 0
    assert result.auc_after > 0.9 > result.auc_before
    assert result.loss_after < result.loss_before
    with torch.no_grad():
        scores = qa_model.head.answer_class(states[480:, 1:], start_states=states[480:, 0])
    auc = area_under_curve(scores.tolist(), labels[480:].bool().tolist())
    assert auc == pytest.approx(result.auc_after)
    for key, value in others.items():
        torch.testing.assert_close(qa_model.state_dict()[key], value, rtol=0, atol=0)


def test_refitting_on_noise_changes_nothing(qa_model):
    torch.manual_seed(0)
    before = copy.deepcopy(qa_model.state_dict())
    with torch.no_grad():
        qa_model.head.answer_class.dense_1.weight.zero_()  # says one half, which is best
        before = copy.deepcopy(qa_model.state_dict())
    states = torch.randn(60, 2, 16)
    labels = torch.tensor([0.0, 1.0]).repeat(30)
    result = refit_answer_class(qa_model, states, labels)
    if result.steps == 0:
        assert all(torch.equal(v, before[k]) for k, v in qa_model.state_dict().items())
    assert result.loss_after <= result.loss_before
    with pytest.raises(DataError, match="windows with an answer and windows without"):
        refit_answer_class(qa_model, states, torch.ones(60))
