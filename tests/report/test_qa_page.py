"""The page of a QA run: what it shows, and that strangers' records do no harm."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from headsmith.errors import DataError
from headsmith.report.figures import loss_curve, threshold_curve
from headsmith.report.qa_page import render_qa
from headsmith.spec.qa_run import QARunRecord, thinned


def record(**changes):
    given = {
        "model": "<encoder>",
        "model_type": "bert",
        "headsmith": "0.1.0",
        "versions": {"torch": "2"},
        "machine": {"device": "cpu"},
        "created": "2026-01-02T03:04:05+00:00",
        "command": "headsmith qa train x",
        "settings": {"epochs": 2, "output": 'a"b'},
        "data": {"questions": 8000, "eval": "dev.json"},
        "losses": [(10, 4.5), (20, 2.5), (30, 2.0)],
        "seconds": {"train": 12.5},
        "scores": {
            "exact": 50.0, "f1": 61.0, "total": 10, "HasAns_exact": 40.0, "HasAns_f1": 55.0,
            "HasAns_total": 6,
        },
        "calibration": {"threshold": 0.5},
        "thresholds": [(-1.0, 50.0), (0.0, 61.0), (2.0, 58.0)],
        "samples": [{"question": "<b>Who?</b>", "answer": "", "right": "me", "f1": 0.0}],
    }  # fmt: skip
    return QARunRecord(**{**given, **changes})


def test_the_page_shows_the_run_and_escapes_it():
    page = render_qa(record())
    for text in ("Exact match 50.0, F1 61.0", "loss-title", "threshold-title", "no answer"):
        assert text in page
    assert "<encoder>" not in page
    assert "<b>Who?" not in page
    assert "from_pretrained(&#34;a\\&#34;b&#34;)" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_a_record_goes_through_json_and_gives_the_same_page():
    again = QARunRecord.from_json(record().to_json())
    assert again == record()
    assert render_qa(again) == render_qa(record())


def test_an_empty_record_is_a_page_too():
    bare = record(losses=[], scores={}, thresholds=[], samples=[], calibration={}, data={})
    page = render_qa(bare)
    assert "loss-title" not in page
    assert "Trained to answer questions." in page
    v1 = render_qa(record(scores={"exact_match": 70.0, "f1": 80.0}))
    assert "Exact match 70.0" in v1


@pytest.mark.parametrize("changes", [{"scores": {"exact": "x", "f1": "y"}}, {"losses": [(1,)]}])
def test_values_of_the_wrong_kind_are_told(changes):
    with pytest.raises(DataError, match="cannot be drawn"):
        render_qa(record(**changes))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "not valid JSON"),
        ("{}", "headsmith-qa-run"),
        (json.dumps({"format": "headsmith-qa-run", "version": 9}), "version 9"),
        (json.dumps({"format": "headsmith-qa-run", "version": 1}), "incomplete"),
        (record().to_json().replace("4.5", '"x"'), "incomplete or malformed"),
    ],
)
def test_records_that_are_none(data, message):
    with pytest.raises(DataError, match=message):
        QARunRecord.from_json(data)


def test_curves_are_drawings_of_their_points():
    drawn = loss_curve([(1, 4.0), (5, float("nan")), (10, 2.0)])
    tree = ElementTree.fromstring(str(drawn))
    assert tree.attrib["role"] == "img"
    assert "4.00 at step 1, 2.00 at step 10" in str(drawn)
    (curve,) = [e for e in tree.iter() if e.attrib.get("class") == "curve"]
    xs = [float(part.split()[0]) for part in curve.attrib["d"][1:].split("L")]
    assert xs == sorted(xs)
    assert len(xs) == 2
    assert loss_curve([(1, 4.0)]) is None
    assert threshold_curve([]) is None


def test_the_best_threshold_is_marked_and_the_one_in_use():
    drawn = str(threshold_curve([(0.0, 10.0), (1.0, 30.0), (2.0, 20.0)], 1.5))
    assert "at best 30.0 at 1." in drawn
    assert "in use" in drawn
    assert "The threshold in use is 1.5." in drawn
    far = str(threshold_curve([(0.0, 10.0), (1.0, 30.0)], 99.0))
    assert "in use" in far  # at the edge, not outside
    assert "in use" not in str(threshold_curve([(0.0, 10.0), (1.0, 30.0)], float("inf")))
    flat = threshold_curve([(1.0, 5.0), (1.0, 5.0)])
    assert "nan" not in str(flat)


def test_thinning_keeps_the_mean():
    losses = [float(i) for i in range(1000)]
    points = thinned(losses, most=7)
    assert len(points) == 7
    assert points[-1][0] == 1000
    assert sum(y * n for (_, y), n in zip(points, [143] * 6 + [142], strict=True)) == pytest.approx(
        sum(losses)
    )
    assert thinned([]) == []
