"""Streaming sums against the same formulas over all rows at once, in float64 NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headsmith.pruning.moments import Moments, damped


def _rows(seed: int, count: int = 57) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 6)) @ rng.normal(size=(6, 6)) + rng.normal(size=6)
    return x, x @ rng.normal(size=(6, 4)) + rng.normal(size=4) + 0.1 * rng.normal(size=(count, 4))


def _moments(x: np.ndarray, t: np.ndarray, cuts: list[int]) -> Moments:
    found = Moments(x.shape[1], t.shape[1])
    for part_x, part_t in zip(np.split(x, cuts), np.split(t, cuts), strict=True):
        found.add(torch.from_numpy(part_x), torch.from_numpy(part_t))
    return found


@given(st.integers(0, 999), st.lists(st.integers(0, 57), max_size=4).map(sorted))
def test_sums_do_not_depend_on_how_rows_come(seed: int, cuts: list[int]) -> None:
    x, t = _rows(seed)
    found = _moments(x, t, cuts)
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-10)
    np.testing.assert_allclose(found.covariance, np.cov(x.T, bias=True), atol=1e-9)
    np.testing.assert_allclose(found.second_moment, x.T @ x / len(x), rtol=1e-9, atol=1e-9)


def test_fit_solves_the_ridge_problem() -> None:
    x, t = _rows(3)
    prior = np.random.default_rng(4).normal(size=(4, 6))
    ridge = 0.2
    weight, bias = _moments(x, t, []).fit(torch.from_numpy(prior), ridge)
    # The same problem as one ordinary least squares: rows of √λ pull towards the prior.
    strength = ridge * np.cov(x.T, bias=True).diagonal().mean()
    rows = np.vstack(
        [np.hstack([x, np.ones((len(x), 1))]) / np.sqrt(len(x)), np.eye(7)[:6] * strength**0.5]
    )
    goal = np.vstack([t / np.sqrt(len(x)), prior.T * strength**0.5])
    expected = np.linalg.lstsq(rows, goal, rcond=None)[0]
    np.testing.assert_allclose(weight, expected[:6].T, atol=1e-8)
    np.testing.assert_allclose(bias, expected[6], atol=1e-8)


@given(st.integers(0, 999))
def test_error_is_the_mean_squared_error(seed: int) -> None:
    x, t = _rows(seed)
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(4, 6)), rng.normal(size=4)
    found = _moments(x, t, [20]).error(torch.from_numpy(weight), torch.from_numpy(bias))
    assert found == pytest.approx(np.square(x @ weight.T + bias - t).sum(1).mean(), rel=1e-8)


def test_no_rows_and_no_features() -> None:
    empty = Moments(0, 3)
    empty.add(torch.zeros(5, 0), torch.ones(5, 3))
    weight, bias = empty.fit(torch.zeros(3, 0, dtype=torch.float64), 0.1)
    assert weight.shape == (3, 0)
    assert bias.tolist() == [1, 1, 1]
    assert Moments(2).covariance.abs().sum() == 0


def test_damping_makes_a_dead_site_invertible() -> None:
    torch.linalg.cholesky(damped(torch.zeros(3, 3, dtype=torch.float64), 0.1))
