"""A budget of time: what blocks take, and plans that land where the clock says."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import TINY_MODELS, batch_for
from torch import nn

from headsmith.errors import BudgetError
from headsmith.pruning import block_times as table
from headsmith.pruning import describe, latency_search, prune
from headsmith.pruning.block_times import block_times
from headsmith.pruning.latency import Ratio, measure
from headsmith.spec.plan import PrunePlan


def _data(model: nn.Module) -> list[dict[str, torch.Tensor]]:
    return [batch_for(model, size=8, length=12, seed=i) for i in range(4)]


def test_block_times_leave_the_model_as_it_was() -> None:
    model = TINY_MODELS["gpt2"]()
    before = copy.deepcopy(model.state_dict())
    modules = dict(model.named_modules())
    told: list[tuple[int, int]] = []
    times = block_times(
        model,
        describe(model),
        batch=2,
        length=8,
        seconds=0.05,
        step=lambda done, total: told.append((done, total)),
    )
    assert dict(model.named_modules()) == modules
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    for shape in describe(model).shapes:
        found = [times.cost(shape, kept) for kept in range(shape.count + 1)]
        assert found == sorted(found)
        assert found[0] == 0
    assert told == sorted(told)
    assert told[-1] == (100, 100)


def test_a_slow_round_does_not_change_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round takes five times as long throughout, and single calls are interrupted."""
    monkeypatch.setattr(table, "_FEWEST_ROUNDS", 9)
    true = [1.0, 2.0, 4.0]
    calls = [0] * 3

    def trial(number: int) -> Any:
        def call() -> float:
            calls[number] += 1
            slow = 5.0 if calls[number] in (4, 5) else 1.0
            struck = 0.7 if calls[number] == 7 + number else 0.0
            return true[number] * slow / 1000 + struck

        return call

    found = table._in_turns([trial(n) for n in range(3)], 0.0, None)
    assert found == pytest.approx(true)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12))
def test_isotonic_is_the_nearest_that_never_falls(values: list[float]) -> None:
    given_values = np.array(values)
    found = table._isotonic(given_values)
    assert (np.diff(found) >= -1e-9).all()
    assert found.mean() == pytest.approx(given_values.mean())
    # Nothing else that never falls is nearer: neither a level line nor what a running maximum is.
    for other in (np.full_like(found, given_values.mean()), np.maximum.accumulate(given_values)):
        assert ((found - given_values) ** 2).sum() <= ((other - given_values) ** 2).sum() + 1e-6


def _ratio(values: Sequence[float]) -> Ratio:
    return Ratio.of([(1.0, v) for v in values])


class _Clock:
    """Stands in for the clock: a model takes 1 ms and as many more as it has parameters."""

    def __init__(self, noise: float = 0.0, seed: int = 0) -> None:
        self.asked = 0
        self.noise = noise
        self.random = random.Random(seed)

    def ratio(self, before: nn.Module, after: nn.Module, **_: Any) -> Ratio:
        self.asked += 1
        true = self.time(after) / self.time(before)
        # What disturbs one measurement disturbs all its rounds.
        off = 1 + self.noise * self.random.uniform(-1, 1)
        return _ratio([true * off * (1 + 0.002 * self.random.gauss(0, 1)) for _ in range(20)])

    def time(self, model: nn.Module) -> float:
        return 1000 + sum(s.parameters() for s in describe(model).shapes)


def _times(model: nn.Module, clock: _Clock, bias: float) -> table.BlockTimes:
    shapes = describe(model).shapes
    return table.BlockTimes(
        clock.time(model),
        {s.name: (0, s.count) for s in shapes},
        {s.name: (0.0, bias * s.parameters()) for s in shapes},
    )


@pytest.mark.parametrize("bias", [0.8, 1.0, 1.5])
@pytest.mark.parametrize("fraction", [0.5, 0.8])
def test_the_clock_has_the_last_word(
    monkeypatch: pytest.MonkeyPatch, fraction: float, bias: float
) -> None:
    """The table is wrong by a factor, and the search lands all the same."""
    clock = _Clock()
    model = TINY_MODELS["bert"]()
    times = _times(model, clock, bias)
    monkeypatch.setattr(latency_search, "block_times", lambda *_, **__: times)
    monkeypatch.setattr(latency_search, "ratio", clock.ratio)
    result = prune(model, _data(model), latency=fraction, length=12)
    assert isinstance(result.plan, PrunePlan)
    assert clock.time(model) / clock.time(result.dense) == pytest.approx(fraction, rel=0.05)
    if bias != 1:
        assert clock.asked > 1


def test_a_plan_that_lands_is_timed_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The unpruned model was slow by chance, so that a plan seemed to be what is wanted."""
    clock = _Clock()
    model = TINY_MODELS["bert"]()
    times = _times(model, clock, 1.5)
    lucky: list[float] = []

    def ratio(before: nn.Module, after: nn.Module, **_: Any) -> Ratio:
        true = clock.ratio(before, after)
        if not lucky:
            lucky.append(true.value)
            return Ratio.of([(true.value / 0.5, true.value)] * 20)
        return true

    monkeypatch.setattr(latency_search, "block_times", lambda *_, **__: times)
    monkeypatch.setattr(latency_search, "ratio", ratio)
    result = prune(model, _data(model), latency=0.5, length=12)
    assert lucky[0] > 0.6  # the lucky plan was far too slow
    assert clock.time(model) / clock.time(result.dense) == pytest.approx(0.5, rel=0.06)


def _tried(points: Sequence[tuple[float, float]]) -> list[latency_search._Tried]:
    return [
        latency_search._Tried(allowed, PrunePlan("bert", {}), _ratio([reached] * 3))
        for allowed, reached in points
    ]


def test_corrections_close_in() -> None:
    once = latency_search._corrected(_tried([(50, 0.6)]), 0.5, 100.0)
    assert once == pytest.approx(40)
    between = latency_search._corrected(_tried([(50, 0.6), (30, 0.45)]), 0.5, 100.0)
    assert between == pytest.approx(30 + 20 / 3)
    # Noise had it that less time was allowed and more was taken: the last word counts.
    odd = latency_search._corrected(_tried([(30, 0.6), (50, 0.45)]), 0.5, 100.0)
    assert odd == pytest.approx(55)


def test_a_time_that_cannot_be_reached_is_an_error() -> None:
    model = TINY_MODELS["bert"]()
    with pytest.raises(BudgetError, match="what cannot be removed takes"):
        prune(model, _data(model), latency=1e-6, length=12)


def test_the_real_clock_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes too small to promise a ratio: only that it runs and removes something."""
    monkeypatch.setattr(latency_search, "_SECONDS", 0.2)
    monkeypatch.setattr(latency_search, "_TABLE_SECONDS", 0.2)
    model = TINY_MODELS["bert"]()
    try:
        result = prune(model, _data(model), latency=0.9, length=12, batch=2)
    except BudgetError:
        pytest.skip("this machine spends all its time on what cannot be removed")
    assert measure({"after": result.model}, batch=2, length=12, rounds=3)
