"""Distillation, which may never make the held-out measure worse."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import TINY_MODELS, batch_for
from torch import nn

from headsmith.errors import BudgetError
from headsmith.pruning import (
    apply_plan,
    carry_out,
    describe,
    distil,
    make_plan,
    objective_for,
    output_error,
    prune,
)
from headsmith.spec.plan import PrunePlan

_MINUTES = 1 / 60


def _data(model: nn.Module, count: int = 12) -> list[dict[str, torch.Tensor]]:
    return [batch_for(model, size=16, length=12, seed=i) for i in range(count)]


def _cut(kind: str) -> tuple[nn.Module, nn.Module, list[dict[str, torch.Tensor]]]:
    dense = TINY_MODELS[kind]()
    data = _data(dense)
    pruned = copy.deepcopy(dense)
    apply_plan(pruned, make_plan(dense, data, keep=0.5, length=12)[0])
    return dense, pruned, data


@pytest.mark.parametrize("kind", ["bert", "bert-classifier", "gpt2"])
def test_it_comes_closer_on_data_not_trained_on(kind: str) -> None:
    if kind not in TINY_MODELS:
        pytest.skip("no such tiny model")
    dense, pruned, data = _cut(kind)
    objective = objective_for(dense)
    table = pruned.get_input_embeddings().weight.detach().clone()
    before = copy.deepcopy(dense.state_dict())
    found = distil(dense, pruned, data, objective, minutes=_MINUTES)
    assert found.steps > 0
    assert found.after < found.before
    held_out = [b for i, b in enumerate(data) if i % 8 == 1]
    assert output_error(dense, pruned, held_out, objective) == pytest.approx(found.after, rel=1e-4)
    assert torch.equal(pruned.get_input_embeddings().weight, table)
    assert all(torch.equal(before[name], value) for name, value in dense.state_dict().items())


def test_what_did_best_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a learning rate that ruins the model, the weights are those from before."""
    dense, pruned, data = _cut("bert")
    before = copy.deepcopy(pruned.state_dict())
    monkeypatch.setattr(sys.modules["headsmith.pruning.distil"], "_RATE", 100.0)
    found = distil(dense, pruned, data, objective_for(dense), minutes=_MINUTES / 2)
    assert found.steps > 0
    assert found.after == found.before
    assert all(torch.equal(before[name], value) for name, value in pruned.state_dict().items())


def test_modes_and_wishes_for_gradients_are_as_before() -> None:
    dense, pruned, data = _cut("bert")
    pruned.train()
    frozen = next(pruned.parameters())
    frozen.requires_grad_(False)
    wanted = [p.requires_grad for p in pruned.parameters()]
    distil(dense, pruned, data, objective_for(dense), minutes=_MINUTES / 10)
    assert pruned.training
    assert [p.requires_grad for p in pruned.parameters()] == wanted
    assert all(p.grad is None for p in pruned.parameters())


def test_one_batch_is_too_few_to_judge_by() -> None:
    dense, pruned, data = _cut("bert")
    assert distil(dense, pruned, data[:1], objective_for(dense), minutes=_MINUTES).steps == 0


def test_as_part_of_a_job() -> None:
    model = TINY_MODELS["bert"]()
    result = prune(model, _data(model), flops=0.5, length=12, finetune_minutes=_MINUTES / 4)
    assert result.distilled is not None
    assert result.distilled.after <= result.distilled.before
    assert "distillation" in result.seconds


@pytest.mark.parametrize("minutes", [-1, float("inf"), float("nan"), "10"])
def test_a_time_that_never_ends_is_refused_before_the_work(minutes: Any) -> None:
    model = TINY_MODELS["bert"]()
    data, objective = _data(model, 2), objective_for(model)
    calls: list[Callable[[], object]] = [
        lambda: prune(model, data, flops=0.5, finetune_minutes=minutes),
        lambda: carry_out(model, PrunePlan("bert"), data, finetune_minutes=minutes),
        lambda: distil(model, model, data, objective, minutes=minutes),
    ]
    for call in calls:
        with pytest.raises(BudgetError, match=f"0 or more. Received {minutes!r}"):
            call()
    assert describe(model).shapes == describe(TINY_MODELS["bert"]()).shapes


def test_no_time_at_all_trains_nothing() -> None:
    dense, pruned, data = _cut("bert")
    found = distil(dense, pruned, data, objective_for(dense), minutes=0)
    assert found.steps == 0
    assert found.after == found.before
