"""Rearrangement against trying every set and every exchange."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from headsmith.pruning.score.obs import _remove_all
from headsmith.pruning.score.rearrange import _gains, rearrange, removal_cost


def _problem(width: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    size = count * width
    x = rng.normal(size=(200, size)) @ rng.normal(size=(size, size))
    return rng.normal(size=(4, size)), x.T @ x / len(x), x


def _error(weight: np.ndarray, x: np.ndarray, kept: tuple[int, ...], width: int) -> float:
    """Truth: refit what stays by least squares, and measure."""
    columns = [g * width + i for g in kept for i in range(width)]
    target = x @ weight.T
    fitted = np.linalg.lstsq(x[:, columns], target, rcond=None)[0]
    return float(np.square(x[:, columns] @ fitted - target).sum() / len(x))


@pytest.mark.parametrize("width", [1, 3])
def test_cost_and_gains_are_those_of_refitting(width: int) -> None:
    weight, spread, x = _problem(width, 6, 0)
    matrix, inverse = torch.from_numpy(weight), torch.from_numpy(np.linalg.inv(spread))
    goes, stays = [0, 3], [1, 2, 4, 5]
    before = _error(weight, x, tuple(stays), width)
    columns = torch.tensor([g * width + i for g in goes for i in range(width)])
    assert removal_cost(matrix, inverse, columns) == pytest.approx(before, rel=1e-8)
    gains = _gains(matrix, inverse, goes, stays, width)
    for (row, gone), (column, stay) in itertools.product(enumerate(goes), enumerate(stays)):
        kept = (*(g for g in stays if g != stay), gone)
        expected = before - _error(weight, x, kept, width)
        assert float(gains[row, column]) == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(("width", "count"), [(1, 9), (2, 7)])
def test_no_single_exchange_is_left_that_gains(width: int, count: int) -> None:
    better = best = 0
    for seed in range(12):
        weight, spread, x = _problem(width, count, seed)
        inverse = torch.from_numpy(np.linalg.inv(spread))
        ranking = _remove_all(torch.from_numpy(weight.copy()), inverse.clone(), count, width)
        greedy = ranking.best(4)
        found = rearrange(torch.from_numpy(weight), inverse, greedy, width)
        assert len(found) == 4
        errors = {s: _error(weight, x, s, width) for s in itertools.combinations(range(count), 4)}
        assert errors[found] <= errors[greedy] * (1 + 1e-9)
        near = [s for s in errors if len(set(s) & set(found)) == 3]
        assert errors[found] <= min(errors[s] for s in near) * (1 + 1e-5)
        better += errors[found] < errors[greedy] * (1 - 1e-6)
        best += errors[found] <= min(errors.values()) * (1 + 1e-5)
    assert better >= 2
    assert best >= 6


def test_all_or_nothing_is_left_as_it_is() -> None:
    weight, spread, _ = _problem(1, 4, 0)
    matrix, inverse = torch.from_numpy(weight), torch.from_numpy(np.linalg.inv(spread))
    assert rearrange(matrix, inverse, (), 1) == ()
    assert rearrange(matrix, inverse, range(4), 1) == (0, 1, 2, 3)
