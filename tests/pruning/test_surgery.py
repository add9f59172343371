"""The laws of removal: cut equals masked, plans compose, nothing else changes."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TINY_MODELS, batch_for, output_of, plan_from
from torch import nn

from headsmith import PrunePlan
from headsmith.errors import PlanError, UnknownFamilyError
from headsmith.pruning import apply_plan, describe, masked, masks_of, plan_of, plan_of_heads
from headsmith.spec.plan import BlockPlan

_FAMILIES = sorted(TINY_MODELS)


def _random_plan(model: nn.Module, seed: int, keep: float) -> PrunePlan:
    draw = random.Random(seed)
    return plan_from(model, lambda count: [i for i in range(count) if draw.random() < keep])


def _close(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@settings(max_examples=15, deadline=None)
@given(name=st.sampled_from(_FAMILIES), seed=st.integers(0, 10**6), keep=st.floats(0, 1))
def test_cut_equals_masked(attention: str, name: str, seed: int, keep: float) -> None:
    model = TINY_MODELS[name]()
    model.set_attn_implementation(attention)
    batch = batch_for(model, seed=seed)
    plan = _random_plan(model, seed, keep)
    with masked(model, masks_of(model, plan)):
        expected = output_of(model, batch)
    apply_plan(model, plan)
    _close(output_of(model, batch), expected)


@settings(max_examples=15, deadline=None)
@given(name=st.sampled_from(_FAMILIES), seed=st.integers(0, 10**6))
def test_two_plans_equal_their_composition(name: str, seed: int) -> None:
    twice = TINY_MODELS[name]()
    once = copy.deepcopy(twice)
    batch = batch_for(twice)
    first = _random_plan(twice, seed, 0.7)
    apply_plan(twice, first)
    second = _random_plan(twice, seed + 1, 0.7)
    apply_plan(twice, second)
    whole = first.then(second)
    apply_plan(once, whole)
    assert torch.equal(output_of(twice, batch), output_of(once, batch))
    assert (plan_of(twice) or PrunePlan(first.model_type)) == whole


def test_an_empty_plan_changes_nothing(model: nn.Module) -> None:
    batch = batch_for(model)
    before, modules = output_of(model, batch), dict(model.named_modules())
    config = model.config.to_dict()
    apply_plan(model, PrunePlan(model.config.model_type))
    assert torch.equal(output_of(model, batch), before)
    assert all(module is modules[name] for name, module in model.named_modules())
    assert model.config.to_dict() == config
    assert plan_of(model) is None


@pytest.mark.parametrize("kind", ["heads", "neurons", "both"])
def test_blocks_without_anything_left_still_run(model: nn.Module, kind: str) -> None:
    batch = batch_for(model)
    blocks = {
        b.name: BlockPlan(b.kind, b.count, ())
        for b in describe(model).blocks
        if kind in (b.kind, "both")
    }
    plan = PrunePlan(model.config.model_type, blocks)
    with masked(model, masks_of(model, plan)):
        expected = output_of(model, batch)
    apply_plan(model, plan)
    _close(output_of(model, batch), expected)
    assert sum(b.count for b in describe(model).blocks if kind in (b.kind, "both")) == 0
    model.train()
    model(**batch)[0].sum().backward()
    # Cutting again what is already empty is an empty plan, and fits.
    apply_plan(model, plan_from(model, lambda count: list(range(count))))


def test_dtype_device_mode_and_gradients_survive(family: str) -> None:
    model = TINY_MODELS[family](torch.bfloat16).train()
    frozen = describe(model).blocks[0]
    writer = describe(model).base.get_submodule(frozen.writer)
    writer.weight.requires_grad_(False)
    apply_plan(model, plan_from(model, lambda count: list(range(count // 2))))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert all(m.training for m in model.modules())
    new = describe(model).base.get_submodule(frozen.writer)
    assert not new.weight.requires_grad
    assert new.bias is None or new.bias.requires_grad


def test_works_on_the_meta_device(family: str) -> None:
    with torch.device("meta"):
        model = TINY_MODELS[family]()
    apply_plan(model, plan_from(model, lambda count: [0]))
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert all(b.count == 1 for b in describe(model).blocks)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_gpt2_generates_as_without_cache(implementation: str) -> None:
    for keep in (lambda count: [0, count - 1], lambda count: []):
        model = TINY_MODELS["gpt2"]()
        model.set_attn_implementation(implementation)
        plan = plan_from(model, keep)
        # Uneven: the first layer loses everything, the second less.
        blocks = {n: b for n, b in plan.blocks.items() if b.kept or n.startswith("h.0")}
        apply_plan(model, PrunePlan("gpt2", blocks))
        ids = torch.tensor([[3, 7, 9]])
        options = {
            "max_new_tokens": 8,
            "do_sample": False,
            "attention_mask": torch.ones_like(ids),
            "pad_token_id": 0,
            "eos_token_id": None,
        }
        cached = model.generate(ids, use_cache=True, **options)
        assert cached.shape == (1, 11)
        assert torch.equal(cached, model.generate(ids, use_cache=False, **options))


def test_a_layer_without_heads_keeps_count_in_the_cache() -> None:
    """Position by position with a cache, as without; the first layer tells how long it is."""
    model = TINY_MODELS["gpt2"]()
    apply_plan(model, PrunePlan("gpt2", {"h.0.attn": BlockPlan("heads", 3, ())}))
    ids = torch.tensor([[3, 7, 9, 4, 8]])
    with torch.no_grad():
        expected = model(ids, use_cache=False).logits
        cache, steps = None, []
        for position in range(ids.shape[1]):
            output = model(ids[:, position : position + 1], past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            steps.append(output.logits)
    assert cache.get_seq_length() == 5
    _close(torch.cat(steps, 1), expected)


def test_plan_of_heads_numbers_heads_as_transformers_4_did() -> None:
    model = TINY_MODELS["bert"]()
    plan = plan_of_heads(model, {1: [0, 2]})
    assert plan.blocks["encoder.layer.1.attention"].kept == (1,)
    with pytest.raises(PlanError, match=r"heads 0 to 2\. Received \[-1\]"):
        plan_of_heads(model, {0: [-1]})
    with pytest.raises(PlanError, match="no layer 7"):
        plan_of_heads(model, {7: [0]})


def test_pruned_heads_are_noted_for_transformers_4() -> None:
    model = TINY_MODELS["bert"]()
    apply_plan(model, plan_of_heads(model, {0: [1], 1: [0, 2]}))
    assert model.config.pruned_heads == {0: [1], 1: [0, 2]}
    apply_plan(
        model,
        PrunePlan("bert", {"encoder.layer.0.intermediate": BlockPlan("neurons", 20, (1,))}),
    )
    # Transformers 4 knows nothing of neurons: it must not half-open such a checkpoint.
    assert not hasattr(model.config, "pruned_heads")


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (PrunePlan("gpt2", {"h.0.attn": BlockPlan("heads", 3, ())}), "for a model of type 'gpt2'"),
        (
            PrunePlan("bert", {"encoder.layer.9.attention": BlockPlan("heads", 3, ())}),
            "'encoder.layer.9.attention', which this model does not have",
        ),
        (
            PrunePlan("bert", {"encoder.layer.0.attention": BlockPlan("heads", 12, (1,))}),
            "for 12 heads, the model has 3 heads",
        ),
        (
            PrunePlan("bert", {"encoder.layer.0.attention": BlockPlan("neurons", 3, (1,))}),
            "for 3 neurons, the model has 3 heads",
        ),
    ],
)
def test_a_plan_for_another_model_is_refused_before_anything_changes(
    plan: PrunePlan, message: str
) -> None:
    model = TINY_MODELS["bert"]()
    before = copy.deepcopy(model.state_dict())
    good = BlockPlan("heads", 3, (0,))
    mixed = PrunePlan(plan.model_type, {"encoder.layer.1.attention": good, **plan.blocks})
    for one in (plan, mixed):
        with pytest.raises(PlanError, match=message):
            apply_plan(model, one)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert plan_of(model) is None


def test_models_built_from_one_config_do_not_share_the_note() -> None:
    first = TINY_MODELS["bert"]()
    config = first.config
    second = type(first)(config)
    apply_plan(first, plan_of_heads(first, {0: [1]}))
    assert plan_of(second) is None
    assert not hasattr(config, "quantization_config")
    assert plan_of(type(first)(first.config)) is None
    third = type(first)(first.config)
    apply_plan(third, plan_of_heads(third, {1: [0]}))
    assert list(plan_of(third).blocks) == ["encoder.layer.1.attention"]
    # All modules still follow the one config of their model.
    first.set_attn_implementation("eager")
    assert first.encoder.layer[1].attention.self.config is first.config
    assert first.config._attn_implementation == "eager"


def test_a_model_quantized_by_others_is_refused() -> None:
    model = TINY_MODELS["bert"]()
    model.config.quantization_config = {"quant_method": "other"}
    with pytest.raises(PlanError, match="prune it before quantizing"):
        apply_plan(model, plan_of_heads(model, {0: [1]}))


def test_an_unknown_model_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(UnknownFamilyError, match="Known: albert, bart, bert"):
        describe(nn.Linear(2, 2))


def test_a_known_name_with_other_modules_is_an_error() -> None:
    impostor = nn.Module()
    impostor.config = type("Config", (), {"model_type": "bert"})()
    with pytest.raises(UnknownFamilyError, match="does not have that family's modules"):
        describe(impostor)


def test_masks_are_checked() -> None:
    model = TINY_MODELS["bert"]()
    with pytest.raises(PlanError, match="not a block"), masked(model, {"x": torch.ones(3)}):
        pass
    wrong = {"encoder.layer.0.attention": torch.ones(4)}
    with pytest.raises(PlanError, match=r"\(3,\) or \(batch, 3\)"), masked(model, wrong):
        pass


def test_masks_leave_no_hooks_behind(model: nn.Module) -> None:
    batch = batch_for(model)
    before = output_of(model, batch)
    plan = plan_from(model, lambda count: [0])
    with masked(model, masks_of(model, plan)):
        assert not torch.equal(output_of(model, batch), before)
    assert torch.equal(output_of(model, batch), before)
