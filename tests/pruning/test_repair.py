"""Repair: never worse on data it did not see, exact where exactness is possible."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny import TINY_MODELS, batch_for, plan_from
from torch import nn

from headsmith import PrunePlan
from headsmith.pruning import apply_plan, describe, masked, objective_for, output_error, repair
from headsmith.pruning.replay import Replay, inference
from headsmith.spec.plan import BlockPlan


def test_repair_helps_every_family(
    model: nn.Module, batches: list[dict[str, torch.Tensor]]
) -> None:
    dense = copy.deepcopy(model)
    apply_plan(model, plan_from(model, lambda count: list(range(0, count, 2))))
    cut = copy.deepcopy(model)
    data = [batch_for(model, size=16, length=12, seed=i) for i in range(24)]
    refits = repair(dense, model, data)
    assert set(refits) == {b.name for b in describe(model).blocks}
    assert all(r.after <= r.before for r in refits.values())
    assert any(r.ridge is not None for r in refits.values())
    objective = objective_for(model)
    assert output_error(dense, model, batches, objective) < output_error(
        dense, cut, batches, objective
    )
    # Only output projections changed.
    writers = {f"{b.writer}.{p}" for b in describe(model).blocks for p in ("weight", "bias")}
    prefix = describe(model).prefix
    after = model.state_dict()
    for name, value in cut.state_dict().items():
        if name.removeprefix(prefix + ".") not in writers:
            assert torch.equal(after[name], value), name


def test_what_is_redundant_is_repaired_to_the_last_digits() -> None:
    """Neuron 1 is twice neuron 0: without it the others can do exactly what all did."""
    model = TINY_MODELS["bert"]()
    layer = model.encoder.layer[0]
    layer.intermediate.intermediate_act_fn = nn.Identity()
    with torch.no_grad():
        layer.intermediate.dense.weight[1] = 2 * layer.intermediate.dense.weight[0]
        layer.intermediate.dense.bias[1] = 2 * layer.intermediate.dense.bias[0]
    dense = copy.deepcopy(model)
    kept = (0, *range(2, 20))
    name = "encoder.layer.0.intermediate"
    apply_plan(model, PrunePlan("bert", {name: BlockPlan("neurons", 20, kept)}))
    refits = repair(dense, model, [batch_for(model, size=32, seed=i) for i in range(16)])
    assert refits[name].after < 1e-4 * refits[name].before


def test_one_batch_is_too_few_to_judge_by() -> None:
    model = TINY_MODELS["bert"]()
    dense = copy.deepcopy(model)
    apply_plan(model, plan_from(model, lambda count: [0]))
    before = copy.deepcopy(model.state_dict())
    refits = repair(dense, model, [batch_for(model)])
    assert all(r.ridge is None for r in refits.values())
    assert all(torch.equal(model.state_dict()[n], v) for n, v in before.items())


def test_an_unpruned_model_needs_no_repair() -> None:
    model = TINY_MODELS["gpt2"]()
    refits = repair(
        copy.deepcopy(model), model, [batch_for(model, size=8, seed=i) for i in range(8)]
    )
    assert all(abs(r.before) < 1e-10 and abs(r.after) < 1e-10 for r in refits.values())


def test_empty_blocks_are_repaired_by_their_bias() -> None:
    model = TINY_MODELS["bert"]()
    dense = copy.deepcopy(model)
    apply_plan(model, plan_from(model, lambda count: []))
    refits = repair(dense, model, [batch_for(model, size=16, seed=i) for i in range(16)])
    assert all(r.after < r.before for r in refits.values())


def test_replay_from_any_layer_equals_the_whole_run(model: nn.Module) -> None:
    batch = batch_for(model)
    replay = Replay(model, describe(model))
    with inference(model), torch.no_grad():
        expected = model(**batch)[0]
        for layer in range(len(replay.layers)):
            given = replay(batch, stop=layer)
            got = replay(batch, start=layer + 1, given=given)[0]
            assert torch.equal(got, expected)
        assert torch.equal(model(**batch)[0], expected)
    assert not any("forward" in vars(layer) for layer in replay.layers)


def test_replay_cleans_up_after_an_error() -> None:
    model = TINY_MODELS["bert"]()
    replay = Replay(model, describe(model))
    with pytest.raises((IndexError, RuntimeError)):
        replay(
            {"input_ids": torch.tensor([[10**6]])}, start=1, given={"encoder.layer": torch.zeros(1)}
        )
    assert not any("forward" in vars(layer) for layer in replay.layers)
    model(**batch_for(model))


def test_inference_puts_everything_back() -> None:
    model = TINY_MODELS["gpt2"]().train()
    model.transformer.h[0].eval()
    model.transformer.wte.weight.requires_grad_(False)
    modes = [m.training for m in model.modules()]
    asked = [p.requires_grad for p in model.parameters()]
    use_cache = model.config.use_cache
    with inference(model):
        assert not any(m.training for m in model.modules())
        assert not any(p.requires_grad for p in model.parameters())
        assert model.config.use_cache is False
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == asked
    assert model.config.use_cache == use_cache


def test_masks_and_repair_agree_on_padding() -> None:
    """Padding has no say: other ids behind the mask give the same refit."""
    results = []
    for filler in (1, 7):
        model = TINY_MODELS["bert"]()
        dense = copy.deepcopy(model)
        apply_plan(model, plan_from(model, lambda count: [0, 1]))
        data = [batch_for(model, size=8, seed=i) for i in range(8)]
        for batch in data:
            batch["input_ids"][batch["attention_mask"] == 0] = filler
        repair(dense, model, data)
        results.append(model.state_dict())
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], rtol=1e-6, atol=1e-8)
    with masked(model, {}):
        pass
