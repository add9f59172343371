"""The sentence on top."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headsmith.report.headline import headline, kept, main_latency
from headsmith.spec.run import LatencyRun, RunRecord, Timing


def _run(before: float, after: float, batch: int = 32, length: int = 128) -> LatencyRun:
    return LatencyRun(
        batch, length, Timing(before, before, before, 3), Timing(after, after, after, 3)
    )


def test_the_whole_sentence(record: RunRecord) -> None:
    assert headline(record) == (
        "Half the FLOPs, 1.8× as fast at batch 32, "
        "cosine 0.94 to the original on text it has not seen."
    )


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (100, "All the FLOPs"),
        (75, "Three quarters of the FLOPs"),
        (67, "Two thirds of the FLOPs"),
        (60, "60% of the FLOPs"),
        (51, "Half the FLOPs"),
        (48, "48% of the FLOPs"),
        (33, "A third of the FLOPs"),
        (25, "A quarter of the FLOPs"),
        (4, "4.0% of the FLOPs"),
        (0, "0% of the FLOPs"),
    ],
)
def test_cost_in_words(bare: RunRecord, left: int, words: str) -> None:
    assert headline(replace(bare, before={"flops": 100}, after={"flops": left})) == f"{words}."


def test_parameters_where_flops_are_not_known(bare: RunRecord) -> None:
    record = replace(bare, before={"parameters": 10}, after={"parameters": 5})
    assert headline(record) == "Half the parameters."
    assert headline(bare) == "Pruned."


@pytest.mark.parametrize(
    ("after", "words"),
    [(50, "2.0× as fast"), (98, "as fast as before"), (102, "as fast as before"), (125, "0.8×")],
)
def test_speed_is_told_whichever_way_it_went(bare: RunRecord, after: float, words: str) -> None:
    assert words in headline(replace(bare, latency=[_run(100, after)]))


def test_the_largest_shape_speaks_for_all(bare: RunRecord) -> None:
    runs = [_run(1, 1, batch=32, length=16), _run(2, 1, batch=8, length=128), _run(3, 1, batch=1)]
    assert main_latency(replace(bare, latency=runs)) == runs[1]
    assert main_latency(bare) is None


def test_agreement_where_there_is_no_cosine(bare: RunRecord) -> None:
    found = headline(replace(bare, quality={"agreement": 0.925}))
    assert "the same answer as the original in 92% of cases" in found


def test_nothing_is_kept_of_nothing(bare: RunRecord) -> None:
    assert kept(replace(bare, before={"flops": 0}, after={"flops": 0}), "flops") is None
