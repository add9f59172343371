"""Several rounds: one plan in the end, the budget met, each round's budget as scheduled."""

from __future__ import annotations

import pytest
import torch
from tiny import TINY_MODELS, batch_for, output_of
from torch import nn

from headsmith.errors import BudgetError
from headsmith.pruning import apply_plan, describe, plan_of, prune
from headsmith.pruning.rounds import Schedule
from headsmith.spec.cost import total_flops, total_parameters


def _data(model: nn.Module, count: int = 6) -> list[dict[str, torch.Tensor]]:
    return [batch_for(model, size=8, length=12, seed=i) for i in range(count)]


@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
def test_rounds_come_to_one_plan_for_the_model_as_it_was(name: str) -> None:
    model, whole = TINY_MODELS[name](), TINY_MODELS[name]()
    shapes = describe(model).shapes
    expected = output_of(model, batch_for(model))
    result = prune(model, _data(model), flops=0.4, length=12, rounds=3)
    assert total_flops(describe(model).shapes, 12) <= 0.4 * total_flops(shapes, 12)
    assert plan_of(model) == result.plan
    # The plan cuts the model as it was to the same sizes; only the refits are missing.
    apply_plan(whole, result.plan)
    assert describe(whole).shapes == describe(model).shapes
    assert torch.equal(output_of(result.dense, batch_for(model)), expected)
    for block in shapes:
        assert len(result.rankings[block.name].order) == block.count


def test_each_round_keeps_the_same_fraction_of_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from headsmith.pruning import pipeline

    asked: list[float] = []
    left: list[float] = []
    own = pipeline.make_plan

    def noting(model: nn.Module, *args: object, **options: object) -> object:
        asked.append(float(str(options["params"])))
        left.append(total_parameters(describe(model).shapes))
        return own(model, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "make_plan", noting)
    model = TINY_MODELS["bert"]()
    prune(model, _data(model), params=0.25, length=12, rounds=2)
    assert [a * n / left[0] for a, n in zip(asked, left, strict=True)] == pytest.approx([0.5, 0.25])
    assert left[1] <= 0.5 * left[0]


def test_a_budget_of_bytes_in_rounds() -> None:
    model = TINY_MODELS["bert"]()
    whole = sum(p.numel() * p.element_size() for p in model.parameters())
    wanted = int(whole * 0.7)
    schedule = Schedule(model, describe(model).shapes, 2, {"max_bytes": wanted})
    first = schedule(1, model, describe(model).shapes)
    assert first is not None
    assert first["max_bytes"] == pytest.approx((whole * wanted) ** 0.5)
    prune(model, _data(model), max_bytes=wanted, length=12, rounds=2)
    assert sum(p.numel() * p.element_size() for p in model.parameters()) <= wanted


def test_rounds_are_checked() -> None:
    model = TINY_MODELS["bert"]()
    with pytest.raises(BudgetError, match=r"rounds is 1 or more\. Received 0"):
        prune(model, _data(model, 2), flops=0.5, rounds=0)
    with pytest.raises(BudgetError, match="Received 2 rounds with keep: take one round"):
        prune(model, _data(model, 2), keep=0.5, rounds=2)
    with pytest.raises(BudgetError, match="flops is the fraction"):
        prune(model, _data(model, 2), flops=1.5, rounds=2)
    assert plan_of(model) is None


def test_a_round_with_nothing_to_do_is_left_out() -> None:
    model = TINY_MODELS["bert"]()
    result = prune(model, _data(model), flops=1.0, length=12, rounds=2)
    assert result.plan.is_empty
