from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headsmith.spec.chunks import check_chunk_size, chunk_bounds


@pytest.mark.parametrize(
    ("length", "chunk_size", "expected"),
    [
        (6, 2, [(0, 2), (2, 4), (4, 6)]),
        (7, 3, [(0, 3), (3, 6), (6, 7)]),
        (6, 6, [(0, 6)]),
        (6, 8, [(0, 6)]),
        (6, 0, [(0, 6)]),
        (6, -1, [(0, 6)]),
        (0, 4, [(0, 0)]),
        (1, 1, [(0, 1)]),
    ],
)
def test_cases(length, chunk_size, expected):
    assert chunk_bounds(length, chunk_size) == expected


@given(st.integers(0, 200), st.integers(1, 50))
def test_chunks_cover_every_position_once_and_only_the_last_is_shorter(length, chunk_size):
    bounds = chunk_bounds(length, chunk_size)

    assert [position for start, stop in bounds for position in range(start, stop)] == list(
        range(length)
    )
    assert all(left[1] == right[0] for left, right in pairwise(bounds))
    assert all(stop - start == chunk_size for start, stop in bounds[:-1])
    assert bounds[-1][1] - bounds[-1][0] <= chunk_size


def test_a_negative_length_is_refused():
    with pytest.raises(ValueError, match=r"length of at least 0\. Received: -1"):
        chunk_bounds(-1, 2)


def test_a_chunk_size_is_an_integer():
    with pytest.raises(TypeError):
        chunk_bounds(6, 2.0)


@pytest.mark.parametrize("size", [0, -1, 2.5, "8"])
def test_a_size_that_no_chunk_can_have(size):
    for fine in (None, 1, 512):
        check_chunk_size(fine, "Reader")
    with pytest.raises(ValueError, match=rf"Reader expects `chunk_size`.*Received: {size!r}\."):
        check_chunk_size(size, "Reader")
