"""The main job as a library: budgets met, nothing harmed, better than chance."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny import TINY_MODELS, batch_for, output_of
from torch import nn

import headsmith
from headsmith.errors import BudgetError, DataError, HeadsmithError
from headsmith.pruning import (
    LossObjective,
    MatchEmbedding,
    MatchHidden,
    apply_plan,
    describe,
    make_plan,
    objective_for,
    plan_of,
    prune,
)
from headsmith.pruning.compare import compare, output_error
from headsmith.spec.cost import total_flops, total_parameters


def _data(model: nn.Module, count: int = 12) -> list[dict[str, torch.Tensor]]:
    return [batch_for(model, size=16, length=12, seed=i) for i in range(count)]


@pytest.mark.parametrize("budget", [{"flops": 0.5}, {"params": 0.4}])
def test_prunes_every_family_within_the_budget(
    family: str, model: nn.Module, budget: dict[str, float]
) -> None:
    if "params" in budget and family not in ("bert", "gpt2", "llama"):
        pytest.skip("the budget is the same for all; one of them is enough here")
    shapes = describe(model).shapes
    data = _data(model, 12 if family in ("bert", "gpt2", "llama") else 5)
    before = copy.deepcopy(model)
    stages: dict[str, list[tuple[int, int]]] = {}
    result = prune(
        model,
        data,
        length=12,
        progress=lambda stage, done, total: stages.setdefault(stage, []).append((done, total)),
        **budget,
    )
    assert result.model is model
    assert plan_of(model) == result.plan
    after = describe(model).shapes
    if "flops" in budget:
        assert total_flops(after, 12) <= 0.5 * total_flops(shapes, 12)
        assert total_flops(after, 12) > 0.3 * total_flops(shapes, 12)
    else:
        assert total_parameters(after) <= 0.4 * total_parameters(shapes)
    batch = batch_for(model, seed=99)
    assert torch.equal(output_of(result.dense, batch), output_of(before, batch))
    for stage in ("statistics", "order", "sensitivity", "repair"):
        done, total = stages[stage][-1]
        assert done == total
        assert result.seconds[stage] >= 0


def test_better_than_chance_and_repair_better_than_none() -> None:
    errors = {}
    for score, mend in (("obs", True), ("obs", False), ("random", False)):
        model = TINY_MODELS["bert"]()
        result = prune(model, _data(model, 24), flops=0.5, length=12, score=score, mend=mend)
        held_out = [batch_for(model, size=16, length=12, seed=100 + i) for i in range(8)]
        errors[score, mend] = output_error(result.dense, model, held_out, MatchHidden())
    assert errors["obs", True] < errors["obs", False] < errors["random", False]


def test_a_users_loss_on_labels() -> None:
    model = TINY_MODELS["bert-classifier"]()
    data = _data(model)
    for number, batch in enumerate(data):
        batch["labels"] = torch.arange(number, number + 16) % 3
    objective = LossObjective(lambda output, batch: output.loss)
    result = prune(model, data, objective, flops=0.6, length=12)
    assert not result.plan.is_empty
    found = compare(result.dense, model, data[:2], objective)
    assert set(found.quality) == {"error"}


def test_embeddings_are_compared_in_full() -> None:
    model = TINY_MODELS["bert"]()
    result = prune(model, _data(model), MatchEmbedding(), flops=0.5, length=12)
    data = _data(model, 3)
    found = compare(result.dense, model, data, MatchEmbedding())
    assert {"error", "cosine", "cosine_low", "similarity_rank_correlation"} == set(found.quality)
    assert found.quality["cosine"] == pytest.approx(1 - found.quality["error"], abs=1e-6)
    assert len(found.per_text) == 48
    same = compare(result.dense, result.dense, data, MatchEmbedding())
    assert same.quality["cosine"] == pytest.approx(1)
    assert same.quality["similarity_rank_correlation"] == pytest.approx(1)


def test_task_heads_are_compared_by_what_they_choose(model: nn.Module) -> None:
    data = _data(model, 2)
    found = compare(model, model, data, objective_for(model))
    best = found.quality.get("agreement", found.quality.get("cosine"))
    assert best == pytest.approx(1)
    assert found.quality["error"] == pytest.approx(0, abs=1e-9)
    assert len(found.per_text) == 32


def test_the_plan_alone_leaves_the_model_alone() -> None:
    model = TINY_MODELS["gpt2"]()
    before = copy.deepcopy(model.state_dict())
    plan, _ = make_plan(model, _data(model), flops=0.5, length=12)
    assert all(torch.equal(model.state_dict()[n], v) for n, v in before.items())
    again, _ = make_plan(model, _data(model), flops=0.5, length=12)
    assert plan == again
    apply_plan(model, plan)


def test_a_model_can_be_pruned_again() -> None:
    model = TINY_MODELS["bert"]()
    first = prune(model, _data(model), flops=0.7, length=12)
    second = prune(model, _data(model), flops=0.7, length=12)
    assert plan_of(model) == first.plan.then(second.plan)


def test_nan_weights_are_reported_before_anything_is_done() -> None:
    model = TINY_MODELS["bert"]()
    with torch.no_grad():
        model.encoder.layer[1].output.dense.weight[0, 0] = float("nan")
    with pytest.raises(HeadsmithError, match=r"NaN or infinite, the first 'encoder\.layer\.1"):
        prune(model, _data(model, 1), flops=0.5)


@pytest.mark.parametrize("budget", [{}, {"flops": 0.5, "params": 0.5}, {"flops": 0}, {"params": 2}])
def test_one_budget_in_its_range(budget: dict[str, float]) -> None:
    model = TINY_MODELS["bert"]()
    with pytest.raises(BudgetError):
        prune(model, _data(model, 1), **budget)
    assert plan_of(model) is None


def test_batches_are_checked() -> None:
    model = TINY_MODELS["bert"]()
    with pytest.raises(DataError, match="at least one batch"):
        prune(model, [], flops=0.5)
    with pytest.raises(DataError, match="needs an attention_mask"):
        prune(model, [{"input_ids": torch.tensor([[3, 4]])}], flops=0.5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_models_of_lower_precision(dtype: torch.dtype) -> None:
    model = TINY_MODELS["bert"](dtype)
    result = prune(model, _data(model), flops=0.6, length=12)
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert output_error(result.dense, model, _data(model, 2), MatchHidden()) < 0.5


def test_everything_kept_changes_nothing() -> None:
    model = TINY_MODELS["bert"]()
    batch = batch_for(model)
    before = output_of(model, batch)
    result = prune(model, _data(model), flops=1.0, length=12)
    assert result.plan.is_empty
    assert torch.equal(output_of(model, batch), before)


def test_top_level_names() -> None:
    assert headsmith.prune is prune
    assert "prune" in dir(headsmith)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        headsmith.nothing  # noqa: B018
