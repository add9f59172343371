"""RunRecord: round trip, and a clear word about what is no record."""

from __future__ import annotations

import json

import pytest

from headsmith.errors import DataError
from headsmith.spec.run import BlockRun, CurvePoint, LatencyRun, RunRecord, Timing


def _record() -> RunRecord:
    return RunRecord(
        model="m",
        model_type="bert",
        model_class="BertModel",
        headsmith="0.1.0",
        versions={"python": "3.11"},
        machine={"device": "cpu"},
        created="2026-01-01T00:00:00+00:00",
        command="headsmith prune m",
        settings={"flops": 0.5},
        data={"source": "t.txt"},
        blocks=[BlockRun("a", "heads", 0, 3, [0, 2], [1.0, 0.5, 2.0])],
        before={"parameters": 10},
        after={"parameters": 5},
        latency=[LatencyRun(1, 8, Timing(2.0, 1.0, 3.0, 5), Timing(1.0, 1.0, 1.0, 5))],
        samples=[{"text": "Größe", "cosine": 0.9}],
        curve=[
            CurvePoint("headsmith", 0.5, {"cosine": 0.9}),
            CurvePoint(
                "random",
                0.5,
                {"cosine": 0.4},
                LatencyRun(1, 8, Timing(2.0, 1.0, 3.0, 5), Timing(1.0, 1.0, 1.0, 5)),
            ),
        ],
    )


def test_round_trip() -> None:
    record = _record()
    assert RunRecord.from_json(record.to_json()) == record
    assert record.latency[0].speedup == 2.0
    assert "Größe" in record.to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, '"format": "headsmith-run"'),
        ({"version": 7}, "version 7"),
        ({"blocks": [{"name": "a"}]}, "incomplete or malformed"),
        ({"blocks": 3}, "incomplete or malformed"),
        ({"latency": [{"batch": 1}]}, "incomplete or malformed"),
        ({"curve": [{"way": "random"}]}, "incomplete or malformed"),
        ({"curve": [3]}, "incomplete or malformed"),
    ],
)
def test_what_is_no_record(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        RunRecord.from_dict({**_record().to_dict(), **change})


def test_records_of_runs_without_a_curve() -> None:
    data = _record().to_dict()
    del data["curve"]
    assert RunRecord.from_dict(data).curve == []


def test_missing_fields_and_no_json() -> None:
    data = _record().to_dict()
    del data["model"]
    with pytest.raises(DataError, match="incomplete"):
        RunRecord.from_json(json.dumps(data))
    with pytest.raises(DataError, match="not valid JSON"):
        RunRecord.from_json("{")
