"""`headsmith prune --compare`: the curve of other ways and sizes, in the record and on the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headsmith.spec.run import RunRecord


@pytest.mark.parametrize("timed", [True, False])
def test_the_curve_is_in_the_record_and_on_the_page(
    headsmith: Callable[..., Any], tiny_encoder: Path, texts_file: Path, tmp_path: Path, timed: bool
) -> None:
    out = tmp_path / "out"
    options = ["--data", texts_file, "--length", 16, "--flops", 0.5, "--compare", "-o", out]
    answer = headsmith("prune", tiny_encoder, *options, *([] if timed else ["--no-time"]))
    assert answer.code == 0, answer.err
    record = RunRecord.from_json((out / "headsmith-run.json").read_text())
    assert {p.way for p in record.curve} == {"headsmith", "magnitude", "random"}
    assert all((p.latency is not None) == timed for p in record.curve)
    # The model that was asked for is one of them, measured as in the rest of the record.
    left = record.after["flops"] / record.before["flops"]
    main = [p for p in record.curve if p.way == "headsmith" and abs(p.flops - left) < 1e-6]
    assert [p.quality for p in main] == [pytest.approx(record.quality)]
    page = (out / "report.html").read_text()
    assert "Quality against speed" in page
    assert "tradeoff-title" in page


def test_without_it_there_is_no_curve(
    headsmith: Callable[..., Any], tiny_encoder: Path, texts_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ["--data", texts_file, "--length", 16, "--flops", 0.5, "--no-time", "-o", out]
    assert headsmith("prune", tiny_encoder, *options).code == 0
    assert "Quality against speed" not in (out / "report.html").read_text()
