"""Numbers as people read them, and ranks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headsmith.report.numbers import counted, milliseconds, percent, sized
from headsmith.report.ranks import ranks


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (counted, 0, "0"),
        (counted, 999, "999"),
        (counted, 999.6, "1.00k"),
        (counted, 1000, "1.00k"),
        (counted, 9_996, "10.0k"),
        (counted, 999_949, "1.00M"),
        (counted, 109_482_240, "109M"),
        (counted, 6_738_415_616, "6.74G"),
        (counted, 2e12, "2.00T"),
        (sized, 512, "512 bytes"),
        (sized, 1_340_000_000, "1.34 GB"),
        (sized, 90_852_864, "90.9 MB"),
        (percent, 0, "0%"),
        (percent, 0.0994, "9.9%"),
        (percent, 0.0996, "10%"),
        (percent, 1, "100%"),
        (milliseconds, 0.1234, "0.12 ms"),
        (milliseconds, 99.96, "100 ms"),
        (milliseconds, 999.6, "1.00 s"),
    ],
)
def test_written(write: Callable[[float], str], value: float, text: str) -> None:
    assert write(value) == text


@given(st.lists(st.floats(-5, 5)), st.sets(st.integers(0, 30)))
def test_ranks_order_by_importance_and_favour_the_kept(
    importance: list[float], kept: set[int]
) -> None:
    places = ranks(importance, kept)
    assert sorted(places) == list(range(1, len(importance) + 1))
    for i, first in enumerate(importance):
        for j, second in enumerate(importance):
            if first > second or (first == second and i in kept and j not in kept):
                assert places[i] < places[j]
