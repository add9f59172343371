"""What may stay, in whatever it is counted."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny import TINY_MODELS, batch_for
from torch import nn

from headsmith.errors import BudgetError
from headsmith.pruning import Floors, describe, make_plan, prune
from headsmith.pruning.budget import Budget, one_budget


def _data(model: nn.Module) -> list[dict[str, torch.Tensor]]:
    return [batch_for(model, size=8, length=12, seed=i) for i in range(4)]


@pytest.mark.parametrize("value", [0, -0.5, 1.01, float("nan"), float("inf"), "half"])
@pytest.mark.parametrize("kind", ["flops", "params", "latency", "keep"])
def test_fractions_out_of_range_are_refused(kind: str, value: Any) -> None:
    with pytest.raises(BudgetError, match=rf"{kind} is the fraction to keep.*Received"):
        one_budget({kind: value})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"flops": None, "params": None}, "Give one budget: flops, params. Received none"),
        ({"flops": 0.5, "params": 0.5}, "Received flops and params"),
        ({"max_bytes": 0}, "above 0. Received 0"),
    ],
)
def test_one_budget_is_given(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BudgetError, match=message):
        one_budget(given)


@pytest.mark.parametrize("length", [0, -5])
@pytest.mark.parametrize("rounds", [1, 2])
def test_flops_are_counted_for_some_tokens(length: int, rounds: int) -> None:
    model = TINY_MODELS["bert"]()
    with pytest.raises(BudgetError, match=f"1 token or more. Received length={length}"):
        prune(model, _data(model), flops=0.5, length=length, rounds=rounds)


@pytest.mark.parametrize("value", [-1, 0.5, None])
def test_floors_are_counts(value: Any) -> None:
    with pytest.raises(BudgetError, match=f"heads is 0 or more. Received {value}"):
        Floors(heads=value)


def test_bytes_are_those_of_the_whole_model() -> None:
    model = TINY_MODELS["bert"]()
    whole = sum(p.numel() * p.element_size() for p in model.parameters())
    limit = int(0.9 * whole)
    prune(model, _data(model), max_bytes=limit, length=12)
    after = sum(p.numel() * p.element_size() for p in model.parameters())
    assert 0.8 * limit < after <= limit


def test_bytes_that_embeddings_alone_take_are_refused_before_the_work() -> None:
    model = TINY_MODELS["bert"]()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(BudgetError, match="embeddings and the like"):
        prune(model, _data(model), max_bytes=1000)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_keep_is_the_same_in_every_block_and_tries_nothing() -> None:
    model = TINY_MODELS["bert"]()
    stages: set[str] = set()
    plan, _ = make_plan(
        model, _data(model), keep=0.5, length=12, progress=lambda stage, *_: stages.add(stage)
    )
    for block in describe(model).blocks:
        assert len(plan.blocks[block.name].kept) == round(0.5 * block.count)
    assert "sensitivity" not in stages


def test_floors_hold_in_the_plan() -> None:
    model = TINY_MODELS["bert"]()
    floors = Floors(heads=1, neurons=8)
    plan, _ = make_plan(model, _data(model), flops=0.4, length=12, floors=floors)
    for block in plan.blocks.values():
        assert len(block.kept) >= (1 if block.kind == "heads" else 8)


def test_budget_counts_in_the_weights_own_dtype() -> None:
    model = TINY_MODELS["bert"](torch.float64)
    shapes = describe(model).shapes
    whole = sum(p.numel() for p in model.parameters()) * 8
    cost, most = Budget("max_bytes", whole).counted(model, shapes, 12)
    assert sum(cost(s, s.count) for s in shapes) == pytest.approx(most)
