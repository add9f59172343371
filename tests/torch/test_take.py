"""Taking features against plain index_select, whatever the index looks like."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headsmith.torch import take
from headsmith.torch.take import take_features


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, list[int]]:
    run = draw(st.sampled_from([1, 2, 16, 24, 32, 64]))
    count = draw(st.integers(1, 8))
    groups = draw(st.lists(st.integers(0, count - 1), max_size=9))
    index = [g * run + i for g in groups for i in range(run)]
    if index and draw(st.booleans()):
        index[draw(st.integers(0, len(index) - 1))] = draw(st.integers(0, count * run - 1))
    return count * run, index


@given(cases(), st.sampled_from(["float32", "float64", "bfloat16"]), st.integers(0, 1))
def test_equals_index_select(case: tuple[int, list[int]], dtype: str, dim: int) -> None:
    size, index = case
    shape = (size, 3) if dim == 0 else (3, size)
    weight = torch.randn(shape).to(getattr(torch, dtype))
    for kind in (torch.int64, torch.int32):
        chosen = torch.tensor(index, dtype=kind)
        got = take_features(weight, dim, chosen)
        assert torch.equal(got, weight.index_select(dim, chosen))
        assert got.is_contiguous()
        assert got.dtype == weight.dtype
    turned = weight.T.contiguous().T
    assert torch.equal(take_features(turned, dim, chosen), weight.index_select(dim, chosen))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("dim", [0, 1])
def test_large_results_are_like_any_other(
    dtype: torch.dtype, dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(take, "_LARGE", 1)
    weight = torch.randn(96, 96).to(dtype)
    for index in (torch.arange(32, 96), torch.tensor([95, 0, 7] * 9), torch.tensor([], dtype=int)):
        got = take_features(weight, dim, index)
        assert torch.equal(got, weight.index_select(dim, index))
        assert got.data_ptr() % 64 == 0 or not got.numel()
        again = torch.nn.Parameter(got)
        (again * 2).sum().backward()
        assert again.grad is not None
    # Resized, shared and saved like memory of torch's own.
    assert torch.equal(torch.nn.Parameter(got).share_memory_(), got)
    assert got.clone().resize_(3).shape == (3,)


@pytest.mark.parametrize(
    ("index", "size", "expected"),
    [
        (range(64, 128), 256, 64),
        ([*range(64), *range(128, 192)], 256, 64),
        ([*range(128, 192), *range(64)], 192, 64),
        ([*range(32, 64), *range(64, 96)], 96, 32),
        (range(1, 65), 128, 1),
        (range(0, 128, 2), 128, 1),
        ([5], 128, 1),
        ([], 128, 1),
        ([*range(16), *range(16)], 32, 16),
    ],
)
def test_runs_are_found(index: list[int], size: int, expected: int) -> None:
    assert take._run_length(np.array(list(index), dtype=np.int64), size, width=4) == expected


def test_out_of_range_is_an_error() -> None:
    with pytest.raises(IndexError):
        take_features(torch.ones(4, 4), 0, torch.tensor([4]))
