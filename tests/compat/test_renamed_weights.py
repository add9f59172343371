"""Checkpoints of Transformers 4 whose weights native parts of a model call otherwise now."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import transformers
from compat.conftest import before_the_tables
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, MixtralConfig, PreTrainedModel, ViTConfig

from headsmith.errors import CheckpointError

pytestmark = [
    pytest.mark.usefixtures("restored"),
    pytest.mark.needs_v5("weights are called as they were"),
    pytest.mark.skipif(before_the_tables(), reason="native parts were renamed later"),
]

FILE = """
import transformers
from transformers import PretrainedConfig
from transformers.modeling_utils import PreTrainedModel, apply_chunking_to_forward


class Holder(PreTrainedModel):
    config_class = PretrainedConfig
    base_model_prefix = "{prefix}"

    def __init__(self, config, part):
        super().__init__(config)
        self.{attribute} = part
        self.init_weights()

    def _init_weights(self, module):
        pass


class OldViT(transformers.ViTModel):
    def __init__(self, config):
        super().__init__(config, add_pooling_layer=False)
        self.init_weights()


class OldMixtral(transformers.MixtralForCausalLM):
    def __init__(self, config):
        super().__init__(config)
        self.init_weights()
"""
IMAGES: dict[str, Any] = {
    "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
    "image_size": 8, "patch_size": 4,
}  # fmt: skip
TEXTS: dict[str, Any] = {
    "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "intermediate_size": 16, "num_local_experts": 2,
}  # fmt: skip
Write = Callable[[str], ModuleType]


def _of_vit(name: str) -> str:
    for old, new in (
        ("attention.attention.query", "attention.q_proj"),
        ("attention.attention.key", "attention.k_proj"),
        ("attention.attention.value", "attention.v_proj"),
        ("attention.output.dense", "attention.o_proj"),
        ("intermediate.dense", "mlp.fc1"),
        ("output.dense", "mlp.fc2"),
    ):
        name = name.replace(new, old)
    return re.sub(r"(^|\.)layers\.", r"\1encoder.layer.", name)


def _of_mixtral(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    old = {}
    for name, tensor in weights.items():
        stem = name.replace(".mlp.", ".block_sparse_moe.")
        if name.endswith("experts.gate_up_proj"):
            for expert, both in enumerate(tensor):
                gate, up = both.chunk(2)
                place = stem.replace("gate_up_proj", str(expert))
                old |= {f"{place}.w1.weight": gate.clone(), f"{place}.w3.weight": up.clone()}
        elif name.endswith("experts.down_proj"):
            for expert, down in enumerate(tensor):
                old[stem.replace("down_proj", f"{expert}.w2.weight")] = down.clone()
        else:
            old[stem] = tensor
    return old


def _saved(model: Any, weights: dict[str, Tensor], folder: Path) -> Path:
    model.config.save_pretrained(folder)
    save_file({n: t.clone() for n, t in weights.items()}, folder / "model.safetensors")
    return folder


def _assert_same(model: Any, again: Any) -> None:
    read = again.state_dict()
    assert [n for n, t in model.state_dict().items() if not torch.equal(t, read[n])] == []


PARTS = {
    "clip": (lambda: transformers.CLIPVisionModel(CLIPVisionConfig(**IMAGES)),
             lambda name: f"vision_model.{name}"),
    "vit": (lambda: transformers.ViTModel(ViTConfig(**IMAGES)), _of_vit),
}  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("prefix", "attribute"),
    [("", "vision_model"), ("vision", "vision"), ("vision", "vision_model"), ("clip", "vision")],
)
def test_a_native_part(
    part: str, prefix: str, attribute: str, write_module: Write, tmp_path: Path
) -> None:
    build, old = PARTS[part]
    holder = write_module(FILE.format(prefix=prefix, attribute=attribute)).Holder
    model = holder(transformers.PretrainedConfig(), build())
    weights = {
        f"{attribute}.{old(name.removeprefix(f'{attribute}.'))}": tensor
        for name, tensor in model.state_dict().items()
    }
    assert weights.keys() != model.state_dict().keys()
    again = holder.from_pretrained(_saved(model, weights, tmp_path / "old"), build())
    _assert_same(model, again)
    again.save_pretrained(tmp_path / "new")
    _assert_same(model, holder.from_pretrained(tmp_path / "new", build()))


@pytest.mark.parametrize("prefix", ["", "vision"])
def test_a_class_that_inherits_from_a_native_one(
    prefix: str, write_module: Write, tmp_path: Path
) -> None:
    file = write_module(FILE.format(prefix=prefix, attribute="vision"))
    model = file.OldViT(ViTConfig(**IMAGES))
    weights = {_of_vit(name): tensor for name, tensor in model.state_dict().items()}
    _assert_same(model, file.OldViT.from_pretrained(_saved(model, weights, tmp_path / "alone")))
    held = file.Holder(transformers.PretrainedConfig(), model)
    inner = {f"vision.{name}": tensor for name, tensor in weights.items()}
    other = file.OldViT(ViTConfig(**IMAGES))
    again = file.Holder.from_pretrained(_saved(held, inner, tmp_path / "held"), other)
    _assert_same(held, again)


def test_weights_that_were_put_together(write_module: Write, tmp_path: Path) -> None:
    file = write_module(FILE.format(prefix="", attribute="part"))
    model = file.OldMixtral(MixtralConfig(**TEXTS))
    weights = _of_mixtral(dict(model.state_dict()))
    assert "model.layers.0.block_sparse_moe.experts.1.w3.weight" in weights
    _assert_same(model, file.OldMixtral.from_pretrained(_saved(model, weights, tmp_path / "old")))
    inner = transformers.MixtralModel(MixtralConfig(**TEXTS))
    held = file.Holder(transformers.PretrainedConfig(), inner)
    folder = _saved(held, _of_mixtral(dict(held.state_dict())), tmp_path / "held")
    other = transformers.MixtralModel(MixtralConfig(**TEXTS))
    _assert_same(held, file.Holder.from_pretrained(folder, other))


def _renamed(model: PreTrainedModel, folder: Path, suffix: str) -> Path:
    weights = {n.replace(".layers.", ".blocks."): t for n, t in model.state_dict().items()}
    _saved(model, weights, folder)
    if suffix == "bin":
        (folder / "model.safetensors").unlink()
        torch.save(weights, folder / "pytorch_model.bin")
    return folder


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_what_nothing_renames_is_refused(suffix: str, write_module: Write, tmp_path: Path) -> None:
    file = write_module(FILE.format(prefix="", attribute="vision"))
    model = file.Holder(transformers.PretrainedConfig(), PARTS["clip"][0]())
    folder = _renamed(model, tmp_path / "old", suffix)
    with pytest.raises(CheckpointError) as refused:
        file.Holder.from_pretrained(folder, PARTS["clip"][0]())
    message = str(refused.value)
    assert "CLIPVisionModel of Transformers 5, which is 'vision' in Holder" in message
    assert "Expected names such as 'vision.encoder.layers.0." in message
    assert "Received 'vision.encoder.blocks.0." in message
    again = file.Holder.from_pretrained(
        folder, PARTS["clip"][0](), key_mapping={r"\.blocks\.": ".layers."}
    )
    _assert_same(model, again)


def test_a_part_with_fewer_layers_and_another_end_is_not_refused(
    write_module: Write, tmp_path: Path
) -> None:
    file = write_module(FILE.format(prefix="", attribute="vision"))
    model = file.Holder(transformers.PretrainedConfig(), PARTS["vit"][0]())
    weights = {n: t for n, t in model.state_dict().items() if "pooler" not in n}
    folder = _saved(model, weights, tmp_path / "old")
    small = transformers.ViTModel(ViTConfig(**{**IMAGES, "num_hidden_layers": 1}))
    again = file.Holder.from_pretrained(folder, small)
    assert torch.equal(again.vision.layernorm.weight, model.vision.layernorm.weight)
