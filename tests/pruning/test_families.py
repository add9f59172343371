"""What each family needs of its own: groups, shared biases, several stacks, caches, names."""

from __future__ import annotations

import copy
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import MORE_MODELS, TINY_MODELS, batch_for, output_of, plan_from
from torch import nn

from headsmith import PrunePlan
from headsmith.errors import UnknownFamilyError
from headsmith.pruning import (
    apply_plan,
    describe,
    load,
    masked,
    masks_of,
    objective_for,
    output_error,
    plan_of,
    prune,
    repair,
    save,
)
from headsmith.pruning.families.known import KNOWN
from headsmith.pruning.no_heads import NoHeads, count_in_cache
from headsmith.pruning.replay import inference, watching
from headsmith.spec.plan import BlockPlan

_ALL = {**TINY_MODELS, **MORE_MODELS}


def _close(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def _random_plan(model: nn.Module, seed: int, keep: float) -> PrunePlan:
    draw = random.Random(seed)
    return plan_from(model, lambda count: [i for i in range(count) if draw.random() < keep])


@pytest.mark.parametrize("name", sorted(MORE_MODELS))
@settings(max_examples=3)
@given(
    seed=st.integers(0, 10**6),
    keep=st.sampled_from([0.0, 0.4, 0.7, 1.0]),
    attention=st.sampled_from(["eager", "sdpa"]),
)
def test_cut_equals_masked_in_kin(name: str, seed: int, keep: float, attention: str) -> None:
    model = MORE_MODELS[name]()
    model.set_attn_implementation(attention)
    batch = batch_for(model, seed=seed)
    first, second = _random_plan(model, seed, keep), None
    with masked(model, masks_of(model, first)):
        expected = output_of(model, batch)
    apply_plan(model, first)
    _close(output_of(model, batch), expected)
    second = _random_plan(model, seed + 1, 0.6)
    with masked(model, masks_of(model, second)):
        expected = output_of(model, batch)
    apply_plan(model, second)
    _close(output_of(model, batch), expected)
    assert (plan_of(model) or PrunePlan(first.model_type)) == first.then(second)


# The rest differs from one of these, or from a model all laws run on, in names alone.
_WHOLE_JOB = [
    "albert-groups",
    "bart-decoder",
    "bert-cross",
    "clip-vision",
    "deberta",
    "dinov2-gated",
    "gpt-neox",
    "gpt2-cross",
    "mbart",
    "modernbert",
    "opt",
    "phi3",
    "whisper",
]


@pytest.mark.parametrize("name", _WHOLE_JOB)
def test_kin_go_through_the_whole_job(name: str, tmp_path: Path) -> None:
    model = MORE_MODELS[name]()
    data = [batch_for(model, size=16, length=9, seed=i) for i in range(5)]
    result = prune(model, data, flops=0.6, length=9)
    objective = objective_for(model)
    cut = copy.deepcopy(result.dense)
    apply_plan(cut, result.plan)
    assert not result.plan.is_empty
    assert any(r.ridge is not None for r in result.refits.values())
    assert output_error(result.dense, model, data, objective) < output_error(
        result.dense, cut, data, objective
    )
    save(model, tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert plan_of(loaded) == result.plan
    torch.testing.assert_close(
        output_of(loaded, data[0]), output_of(model, data[0]), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", sorted(_ALL))
def test_masks_reach_every_block_that_runs(name: str) -> None:
    model = _ALL[name]()
    batch = batch_for(model)
    whole = output_of(model, batch)
    for block in describe(model).blocks:
        if name == "bart-decoder" and block.site.cross:
            continue  # nothing to attend to
        with masked(model, {block.name: torch.zeros(block.count)}):
            assert float((output_of(model, batch) - whole).abs().max()) > 1e-7, block.name


# Layers that leave behind them the stream and what was added to it.
_STREAMS = (
    "gpt2",
    "llama",
    "vit",
    "dinov2",
    "t5",
    "mbart",
    "opt",
    "gpt-neox",
    "gpt-neox-serial",
    "phi3",
    "modernbert",
    "whisper",
    "clip-text",
)


@pytest.mark.parametrize("name", sorted(_STREAMS))
def test_the_residual_stream_is_where_the_family_says(name: str) -> None:
    """In models that normalise first, the stream after a layer's last block is its output."""
    model = _ALL[name]()
    batch = batch_for(model)
    description = describe(model)
    blocks = [b for b in description.blocks if b.layer_index == 0]
    put_out: list[torch.Tensor] = []
    handle = description.base.get_submodule(blocks[0].layer).register_forward_hook(
        lambda module, args, output: put_out.append(
            output[0] if isinstance(output, tuple) else output
        )
    )
    with inference(model), torch.no_grad(), watching(description.base, blocks) as seen:
        model(**batch)
    handle.remove()
    last = blocks[-1]
    stream = seen.stream(last, batch)
    expected = put_out[0]
    mask = batch.get("attention_mask")
    rows = expected.flatten(0, 1) if mask is None else expected[mask.bool()]
    _close(stream + seen.added(last, batch), rows)
    if last.beside:
        stream = stream - seen.added(blocks[0], batch)
        _close(stream, seen.stream(blocks[0], batch))
    else:
        _close(seen.stream(blocks[0], batch) + seen.added(blocks[0], batch), stream)


def test_query_heads_go_with_the_key_and_value_they_share() -> None:
    model = TINY_MODELS["llama"]()
    block = describe(model)["layers.0.self_attn"]
    assert (block.count, block.width) == (3, 8)
    old = copy.deepcopy(model.model.layers[0].self_attn)
    apply_plan(model, PrunePlan("llama", {block.name: BlockPlan("heads", 3, (0, 2))}))
    new = model.model.layers[0].self_attn
    queries = [*range(8), *range(16, 24)]
    keys = [*range(4), *range(8, 12)]
    assert torch.equal(new.q_proj.weight, old.q_proj.weight[queries])
    assert torch.equal(new.k_proj.weight, old.k_proj.weight[keys])
    assert torch.equal(new.v_proj.weight, old.v_proj.weight[keys])
    assert torch.equal(new.o_proj.weight, old.o_proj.weight[:, queries])


def test_a_gated_neuron_owns_three_weights() -> None:
    model = TINY_MODELS["llama"]()
    old = copy.deepcopy(model.model.layers[1].mlp)
    apply_plan(model, PrunePlan("llama", {"layers.1.mlp": BlockPlan("neurons", 20, (3, 7))}))
    new = model.model.layers[1].mlp
    assert torch.equal(new.gate_proj.weight, old.gate_proj.weight[[3, 7]])
    assert torch.equal(new.up_proj.weight, old.up_proj.weight[[3, 7]])
    assert torch.equal(new.down_proj.weight, old.down_proj.weight[:, [3, 7]])
    assert new.intermediate_size == 2


def test_deberta_with_stale_attributes_would_be_wrong() -> None:
    """The trap: the model runs all the same, and gives something else."""
    model = TINY_MODELS["deberta-v2"]()
    batch = batch_for(model)
    plan = plan_from(model, lambda count: [0, 2] if count == 3 else list(range(count)))
    with masked(model, masks_of(model, plan)):
        expected = output_of(model, batch)
    apply_plan(model, plan)
    _close(output_of(model, batch), expected)
    for layer in model.encoder.layer:
        assert layer.attention.self.num_attention_heads == 2
        assert layer.attention.self.all_head_size == 8
        layer.attention.self.num_attention_heads = 4
    assert float((output_of(model, batch) - expected).abs().max()) > 1e-3


def test_talking_heads_are_refused() -> None:
    config = transformers.DebertaConfig(
        vocab_size=9,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        talking_head=True,
    )
    with pytest.raises(UnknownFamilyError, match="its heads mix with each other"):
        describe(transformers.DebertaModel(config))


def test_a_shared_layer_loses_in_every_pass_and_costs_every_pass() -> None:
    model = TINY_MODELS["albert"]()
    blocks = describe(model).blocks
    assert [b.count for b in blocks] == [3, 20]
    assert {b.shape.repeats for b in blocks} == {2}
    assert blocks[1].shape.flops(7) == 2 * 2 * 2 * 12 * 20


def test_t5_layers_may_lose_different_heads_and_share_one_bias() -> None:
    model = TINY_MODELS["t5"]()
    batch = batch_for(model)
    kept = {"encoder.block.0.layer.0": (2,), "encoder.block.1.layer.0": (0, 1)}
    blocks = {f"{k}.SelfAttention": BlockPlan("heads", 3, v) for k, v in kept.items()}
    plan = PrunePlan("t5", blocks)
    with masked(model, masks_of(model, plan)):
        expected = output_of(model, batch)
    apply_plan(model, plan)
    table = model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias
    assert table.weight.shape == (8, 3)
    _close(output_of(model, batch), expected)
    # Then the first layer, which makes the bias, loses the rest of its heads.
    last = {"encoder.block.0.layer.0.SelfAttention": BlockPlan("heads", 1, ())}
    with masked(model, masks_of(model, PrunePlan("t5", last))):
        expected = output_of(model, batch)
    apply_plan(model, PrunePlan("t5", last))
    _close(output_of(model, batch), expected)
    model.train()
    model(**batch).logits.sum().backward()
    assert table.weight.grad is not None


def test_phi3_layers_see_their_own_number_of_heads() -> None:
    model = MORE_MODELS["phi3"]()
    apply_plan(model, plan_from(model, lambda count: [1]))
    attention = model.model.layers[0].self_attn
    assert attention.config.num_attention_heads == 2
    assert model.config.num_attention_heads == 6
    assert attention.config.hidden_size == 24
    model.set_attn_implementation("eager")
    assert attention.config._attn_implementation == "eager"


def test_towers_go_on_sharing_their_configs() -> None:
    model = TINY_MODELS["clip"]()
    apply_plan(model, plan_from(model, lambda count: [0]))
    assert model.vision_model.config is model.config.vision_config
    attention = model.vision_model.encoder.layers[0].self_attn
    assert attention.config is model.config.vision_config
    model.set_attn_implementation("eager")
    assert attention.config._attn_implementation == "eager"


def test_padding_of_the_encoder_is_not_taken_for_that_of_the_decoder() -> None:
    from headsmith.pruning.statistics import collect

    model = TINY_MODELS["bart"]()
    batch = batch_for(model, size=3, length=7)
    found = collect(model, describe(model), [batch], objective_for(model))
    assert found["encoder.layers.0.fc1"].inputs.rows == int(batch["attention_mask"].sum()) == 17
    rows = found["decoder.layers.0.fc1"].inputs.rows
    assert rows == int(batch["decoder_attention_mask"].sum()) == 16
    labels = batch["decoder_input_ids"].masked_fill(batch["decoder_attention_mask"] == 0, -100)
    labelled = {k: v for k, v in batch.items() if not k.startswith("decoder_")}
    labelled["labels"] = labels
    again = collect(model, describe(model), [labelled], objective_for(model))
    assert again["decoder.layers.1.fc1"].inputs.rows == 16


_GENERATING = [
    "gpt2",
    "llama",
    "mistral",
    "qwen2",
    "phi3",
    "gpt-neox",
    "opt",
    "bart-decoder",
    "t5",
    "bart",
    "mbart",
]


@pytest.mark.parametrize("name", _GENERATING)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_generation_is_the_same_with_every_cache(name: str, attention: str) -> None:
    for keep in ("uneven", "first empty", "last empty"):
        model = _ALL[name]()
        model.set_attn_implementation(attention)
        description = describe(model)
        last = max(b.layer_index for b in description.blocks)
        emptied = {"first empty": 0, "last empty": last}.get(keep)
        blocks = {}
        for block in description.blocks:
            kept = (0, block.count - 1) if block.layer_index % 2 else (1,)
            if block.layer_index == emptied or (keep == "first empty" and ".0." in block.name):
                kept = ()
            blocks[block.name] = BlockPlan(block.kind, block.count, kept)
        apply_plan(model, PrunePlan(description.model_type, blocks))
        batch = {k: v for k, v in batch_for(model).items() if not k.startswith("decoder_")}
        if not model.config.is_encoder_decoder:
            batch = {k: v.flip(1) for k, v in batch.items()}  # padded on the left
        if name == "mistral":
            # A window full of padding is NaN in Transformers, whether anything is cut or not.
            batch = {k: v[:2] for k, v in batch.items()}
        options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "num_beams": 1}
        plain = model.generate(**batch, use_cache=False, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Transformers says of static caches on a CPU
            dynamic = model.generate(**batch, use_cache=True, **options)
            static = model.generate(
                **batch, cache_implementation="static", disable_compile=True, **options
            )
        assert torch.equal(dynamic, plain), keep
        assert torch.equal(static, plain), keep


def test_beam_search_reorders_the_cache_of_a_layer_without_heads() -> None:
    for name in ("llama", "bart", "t5"):
        model = TINY_MODELS[name]()
        plan = plan_from(model, lambda count: [0])
        blocks = {
            n: BlockPlan(b.kind, b.count, () if ".0." in n else b.kept)
            for n, b in plan.blocks.items()
        }
        apply_plan(model, PrunePlan(plan.model_type, blocks))
        batch = {k: v for k, v in batch_for(model).items() if not k.startswith("decoder_")}
        if not model.config.is_encoder_decoder:
            batch = {k: v.flip(1) for k, v in batch.items()}
        options = {"max_new_tokens": 5, "do_sample": False, "num_beams": 3}
        assert torch.equal(
            model.generate(**batch, use_cache=True, **options),
            model.generate(**batch, use_cache=False, **options),
        )


def test_repair_of_scaled_blocks_is_exact_where_it_can_be() -> None:
    """A redundant neuron in front of a layer scale: the refit undoes the scale and all is well."""
    model = TINY_MODELS["dinov2"]()
    mlp = model.encoder.layer[0].mlp
    mlp.activation = nn.Identity()
    with torch.no_grad():
        mlp.fc1.weight[1] = 2 * mlp.fc1.weight[0]
        mlp.fc1.bias[1] = 2 * mlp.fc1.bias[0]
        model.encoder.layer[0].layer_scale2.lambda1[3] = 0
    dense = copy.deepcopy(model)
    name = "encoder.layer.0.mlp"
    kept = (0, *range(2, 24))
    count = describe(model)[name].count
    assert count == 24
    apply_plan(model, PrunePlan("dinov2", {name: BlockPlan("neurons", count, kept)}))
    refits = repair(dense, model, [batch_for(model, size=32, seed=i) for i in range(16)])
    assert refits[name].after < 1e-3 * refits[name].before


def test_transformers_4_is_told_only_what_it_understands() -> None:
    model = TINY_MODELS["llama"]()
    heads = {"layers.0.self_attn": BlockPlan("heads", 3, (1,))}
    apply_plan(model, PrunePlan("llama", heads))
    assert not getattr(model.config, "pruned_heads", None)
    cross = MORE_MODELS["bert-cross"]()
    name = "encoder.layer.0.crossattention"
    apply_plan(cross, PrunePlan("bert", {name: BlockPlan("heads", 3, (1,))}))
    assert not getattr(cross.config, "pruned_heads", None)


def test_every_known_type_has_a_tiny_model() -> None:
    tested = {build().config.model_type for build in _ALL.values()}
    same = {"xlm-roberta", "camembert", "siglip_text_model", "siglip_vision_model"}
    assert {name for family in KNOWN for name in family.model_types} - same <= tested


class _EarlyCache:
    """Keeps what it is told, as the caches of Transformers 5.0 are."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def update(self, keys: torch.Tensor, values: torch.Tensor, *more: Any) -> Any:
        self.told.append((keys, *more))
        return keys, values


def test_caches_count_tokens_that_left_no_keys() -> None:
    """Static caches of Transformers 5.0 are told positions, and count keys that are not zero."""
    cache, positions = _EarlyCache(), torch.tensor([3, 4])
    NoHeads(layer_idx=1)(torch.zeros(2, 2, 8), past_key_values=cache, cache_position=positions)
    ((keys, layer, told),) = cache.told
    assert keys.shape == (2, 1, 2, 1)
    assert keys.all()
    assert layer == 1
    assert told == {"cache_position": positions}
    assert count_in_cache(torch.zeros(2, 5, 8), cache, 0) == 5
    assert cache.told[-1][1:] == (0,)


def test_early_t5_hands_the_mask_on_with_the_bias() -> None:
    from headsmith.pruning.families.t5 import _hands_on_masks

    def early(scores: Any, mask: Any) -> Any:
        causal_mask = mask[:, :, :, :3]
        return scores + causal_mask

    assert _hands_on_masks(early)
    assert not _hands_on_masks(lambda scores, mask: scores + mask)
