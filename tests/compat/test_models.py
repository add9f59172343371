"""Whole models in the style of Transformers 4: equal to what 4.34.0 made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from compat.conftest import before_the_tables

RECORDED = Path(__file__).parent / "recorded"
MODELS = ["two_way", "gpt_like", "t5_like", "spans"]


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.detach() if isinstance(value, torch.Tensor) else value)


@pytest.fixture(scope="module")
def done(
    model_file: Callable[[str], ModuleType], scenarios: ModuleType
) -> Callable[[str], tuple[Any, dict[str, Any]]]:
    """A model after its scenario, with the arrays; each is run once."""
    results: dict[str, tuple[Any, dict[str, Any]]] = {}

    def get(name: str) -> tuple[Any, dict[str, Any]]:
        if name not in results:
            results[name] = scenarios.SCENARIOS[name](model_file(name))
        return results[name]

    return get


@pytest.mark.parametrize("name", MODELS)
def test_equal_to_what_434_recorded(name: str, done: Callable[[str], Any]) -> None:
    _, arrays = done(name)
    with np.load(RECORDED / f"{name}.npz") as recorded:
        assert set(arrays) == set(recorded.files)
        for key in recorded.files:
            got, expected = _array(arrays[key]), recorded[key]
            if expected.dtype.kind == "f":
                np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5, err_msg=key)
            else:
                np.testing.assert_array_equal(got, expected, err_msg=key)


@pytest.mark.parametrize("name", MODELS)
def test_a_pruned_model_saved_and_loaded_is_the_same(
    name: str, done: Callable[[str], Any], tmp_path: Path
) -> None:
    model, _ = done(name)
    model.save_pretrained(tmp_path)
    again, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ours, theirs = model.state_dict(), again.state_dict()
    assert list(ours) == list(theirs)
    for key in ours:
        assert torch.equal(ours[key], theirs[key]), key
    buffers = dict(again.named_buffers())
    for key, buffer in model.named_buffers():
        assert torch.equal(buffer, buffers[key]), key


def test_pruned_heads_go_through_json(done: Callable[[str], Any], tmp_path: Path) -> None:
    model, _ = done("two_way")
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert again.config.pruned_heads == {0: [1, 2], 1: [3], 2: [0, 3]}
    assert again.bert.encoder.layer[0].attention.pruned_heads == {1, 2}
    again.prune_heads({0: [0]})
    assert again.bert.encoder.layer[0].attention.self.num_attention_heads == 1


@pytest.mark.parametrize(
    ("name", "cls", "output", "embeddings"),
    [
        ("two_way", "TwoWayLMHeadModel", "predictions.decoder.weight",
         "bert.embeddings.word_embeddings.weight"),
        ("gpt_like", "GPTLikeDoubleHeadsModel", "lm_head.weight", "transformer.wte.weight"),
        ("t5_like", "T5LikeForConditionalGeneration", "lm_head.weight", "shared.weight"),
    ],
)  # fmt: skip
def test_output_embeddings_are_tied(
    name: str,
    cls: str,
    output: str,
    embeddings: str,
    model_file: Callable[[str], ModuleType],
    tmp_path: Path,
) -> None:
    module = model_file(name)
    model = getattr(module, cls)(module.make_config())
    assert model.get_parameter(output) is model.get_parameter(embeddings)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert again.get_parameter(output) is again.get_parameter(embeddings)
    assert torch.equal(again.get_parameter(output), model.get_parameter(output))
    config = module.make_config(tie_word_embeddings=False)
    if before_the_tables() and config.tie_word_embeddings:
        return  # T5's, up to 5.0: tied whatever it is told
    loose = getattr(module, cls)(config)
    assert loose.get_parameter(output) is not loose.get_parameter(embeddings)


def test_a_checkpoint_with_only_the_tied_name_is_read(
    model_file: Callable[[str], ModuleType],
) -> None:
    module = model_file("gpt_like")
    model = module.GPTLikeDoubleHeadsModel(module.make_config())
    state = {k: v.clone() for k, v in model.state_dict().items() if k != "transformer.wte.weight"}
    again = module.GPTLikeDoubleHeadsModel.from_pretrained(
        None, config=model.config, state_dict=state
    )
    assert again.transformer.wte.weight is again.lm_head.weight
    assert torch.equal(again.lm_head.weight, state["lm_head.weight"])


def test_buffers_that_no_checkpoint_holds_keep_their_values(
    model_file: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    module = model_file("two_way")
    model = module.TwoWayModel(module.make_config())
    state = {k: v.clone() for k, v in model.state_dict().items() if "position_ids" not in k}
    again = module.TwoWayModel.from_pretrained(None, config=model.config, state_dict=state)
    assert again.embeddings.position_ids.tolist() == [list(range(20))]
    assert again.embeddings.scale.tolist() == [1.5]


def test_what_a_checkpoint_lacks_is_initialised_and_the_rest_kept(
    model_file: Callable[[str], ModuleType],
) -> None:
    module = model_file("two_way")
    model = module.TwoWayModel(module.make_config())
    name = "encoder.layer.0.attention.output.dense"
    state = {k: torch.full_like(v, 0.5) for k, v in model.state_dict().items()}
    del state[f"{name}.bias"]
    again = module.TwoWayModel.from_pretrained(None, config=model.config, state_dict=state)
    layer = again.get_submodule(name)
    assert layer.bias.eq(0).all()  # as _init_weights says
    assert layer.weight.eq(0.5).all()  # though _init_weights wrote that too


def test_base_weights_load_into_a_model_with_a_head(
    model_file: Callable[[str], ModuleType], scenarios: ModuleType, tmp_path: Path
) -> None:
    module = model_file("two_way")
    base = scenarios.fill(module.TwoWayModel(module.make_config()))
    base.save_pretrained(tmp_path)
    config = module.make_config()
    headed = module.TwoWayLMHeadModel.from_pretrained(tmp_path, config=config)
    query = headed.bert.encoder.layer[1].attention.self.query.weight
    assert torch.equal(query, base.encoder.layer[1].attention.self.query.weight)


def test_t5_blocks_are_initialised_as_a_whole(model_file: Callable[[str], ModuleType]) -> None:
    module = model_file("t5_like")
    model = module.T5LikeForConditionalGeneration(module.make_config())
    assert model.encoder.block[0].layer[-1].wi.weight.eq(0.5).all()


def test_tied_later_is_saved_once(model_file: Callable[[str], ModuleType], tmp_path: Path) -> None:
    module = model_file("two_way")
    model = module.TwoWayModel(module.make_config())
    first, second = model.encoder.layer[0], model.encoder.layer[1]
    second.intermediate.weight = first.intermediate.weight
    model.save_pretrained(tmp_path)
    from safetensors import safe_open

    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert "encoder.layer.1.intermediate.weight" not in file.keys()  # noqa: SIM118


def test_saved_configurations_name_no_defaults(
    model_file: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    module = model_file("gpt_like")
    model = module.GPTLikeModel(module.make_config())
    model.save_pretrained(tmp_path)
    saved = (tmp_path / "config.json").read_text(encoding="utf-8")
    assert "pruned_heads" not in saved
    assert "tie_encoder_decoder" not in saved
    assert model.config.pruned_heads == {}


def test_training_with_checkpointing_off_and_half_precision(
    model_file: Callable[[str], ModuleType],
) -> None:
    module = model_file("two_way")
    model = module.TwoWayModel(module.make_config()).to(torch.bfloat16)
    mask = model.get_extended_attention_mask(torch.tensor([[1, 0]]), (1, 2))
    assert mask.dtype == torch.bfloat16
    assert model(torch.tensor([[3, 4]])).last_hidden_state.dtype == torch.bfloat16
