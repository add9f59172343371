"""Rearrangement against trying every set and every exchange."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TINY_MODELS, batch_for, output_of
from torch import nn

from headsmith.pruning import describe
from headsmith.pruning.objective import objective_for
from headsmith.pruning.pipeline import make_plan
from headsmith.pruning.rearrangement import rearranged
from headsmith.pruning.score.obs import _remove_all, weighed
from headsmith.pruning.score.rearrange import _gains, rearrange, removal_cost
from headsmith.pruning.statistics import collect
from headsmith.spec.plan import BlockPlan, PrunePlan


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


def _data(model: nn.Module) -> list[dict[str, torch.Tensor]]:
    return [batch_for(model, size=8, length=12, seed=i) for i in range(6)]


def _costs(model: nn.Module, plan: PrunePlan, data: list[dict[str, torch.Tensor]]) -> list[float]:
    """What each block's removal costs, by statistics of its own."""
    description = describe(model)
    statistics = collect(model, description, data, objective_for(model), seed=3)
    costs = []
    for block in description.blocks:
        matrix, inverse = weighed(block, description.base, statistics[block.name])
        gone = sorted(set(range(block.count)) - set(plan.blocks[block.name].kept))
        columns = torch.tensor([g * block.width + i for g in gone for i in range(block.width)])
        costs.append(removal_cost(matrix, inverse, columns) if gone else 0.0)
    return costs


@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
def test_a_plan_rearranged_has_its_sizes_and_costs_less(name: str) -> None:
    model = TINY_MODELS[name]()
    data = _data(model)
    expected = output_of(model, batch_for(model))
    options = {"keep": 0.5, "score": "random", "seed": 3}
    plan, _ = make_plan(model, data, **options)
    found, _ = make_plan(model, data, rearrange=True, **options)
    assert torch.equal(output_of(model, batch_for(model)), expected)
    assert {n: len(b.kept) for n, b in found.blocks.items()} == {
        n: len(b.kept) for n, b in plan.blocks.items()
    }
    before, after = _costs(model, plan, data), _costs(model, found, data)
    assert all(b <= a * (1 + 1e-6) for a, b in zip(before, after, strict=True))
    assert sum(after) < 0.97 * sum(before)


def test_blocks_that_stay_or_go_whole_are_left_alone() -> None:
    model = TINY_MODELS["bert"]()
    description = describe(model)
    kept = {b.name: tuple(range(b.count)) if b.kind == "heads" else () for b in description.blocks}
    plan = PrunePlan(
        "bert", {b.name: BlockPlan(b.kind, b.count, kept[b.name]) for b in description.blocks}
    )
    assert rearranged(model, description, _data(model), objective_for(model), plan) == plan


def test_a_rearrangement_is_taken_over_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headsmith.pruning import pipeline

    def run() -> pipeline.Pruned:
        model = TINY_MODELS["bert"]()
        return pipeline.prune(
            model, _data(model), flops=0.5, length=12, score="random", rearrange=True,
            work=tmp_path / "work",
        )  # fmt: skip

    first = run()
    monkeypatch.setattr(pipeline, "rearranged", lambda *_, **__: pytest.fail("made anew"))
    second = run()
    assert second.plan == first.plan
    assert second.taken_over == ("scores", "rearrangement", "repair")
