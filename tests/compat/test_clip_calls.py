"""Old code that calls the blocks of native CLIP, and of models built like it."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from compat.conftest import before_the_tables
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

pytestmark = [
    pytest.mark.usefixtures("restored"),
    pytest.mark.needs_v5("4.57 has blocks of its own that take the mask, and a model within"),
]

TEXT = """
import torch
from torch import nn
from transformers import CLIPTextConfig
from transformers.modeling_utils import PreTrainedModel, apply_chunking_to_forward
from transformers.models.clip.modeling_clip import (
    CLIPAttention,
    CLIPEncoder,
    CLIPEncoderLayer,
    CLIPMLP,
    CLIPTextEmbeddings,
    _expand_mask,
    _make_causal_mask,
)


class Base(PreTrainedModel):
    config_class = CLIPTextConfig

    def _init_weights(self, module):
        pass


class Text(Base):
    def __init__(self, config):
        super().__init__(config)
        self.embeddings = CLIPTextEmbeddings(config)
        self.encoder = self.blocks(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.init_weights()

    def forward(self, input_ids, attention_mask=None, **kwargs):
        states = self.embeddings(input_ids=input_ids)
        causal = _make_causal_mask(input_ids.shape, states.dtype, device=states.device)
        if attention_mask is not None:
            attention_mask = _expand_mask(attention_mask, states.dtype)
        outputs = self.run(states, attention_mask, causal, **kwargs)
        return (self.final_layer_norm(outputs[0]), *outputs[1:])


class WithEncoder(Text):
    blocks = CLIPEncoder

    def run(self, states, mask, causal, **kwargs):
        return self.encoder(
            inputs_embeds=states, attention_mask=mask, causal_attention_mask=causal,
            return_dict=False, **kwargs
        )


class Layers(nn.Module):
    layer_class = CLIPEncoderLayer

    def __init__(self, config):
        super().__init__()
        self.layers = nn.ModuleList(
            [self.layer_class(config) for _ in range(config.num_hidden_layers)]
        )


class WithLayers(Text):
    blocks = Layers

    def run(self, states, mask, causal, output_attentions=False):
        every = ()
        for layer in self.encoder.layers:
            outputs = layer(states, mask, causal, output_attentions=output_attentions)
            states = outputs[0]
            every += outputs[1:]
        return (states, every) if output_attentions else (states,)


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.self_attn = CLIPAttention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = CLIPMLP(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, states, mask, causal, output_attentions=False):
        found, weights = self.self_attn(
            hidden_states=self.layer_norm1(states), attention_mask=mask,
            causal_attention_mask=causal, output_attentions=output_attentions,
        )
        states = states + found
        states = states + self.mlp(self.layer_norm2(states))
        return (states, weights) if output_attentions else (states,)


class OwnLayers(Layers):
    layer_class = Layer


class WithAttention(WithLayers):
    blocks = OwnLayers


class Heeding(CLIPEncoderLayer):
    def forward(self, hidden_states, attention_mask, causal_attention_mask):
        return causal_attention_mask


class Picture(Base):
    def __init__(self, config):
        super().__init__(config)
        self.encoder = CLIPEncoder(config)
        self.layer = CLIPEncoderLayer(config)
        self.init_weights()

    def forward(self, states):
        one = self.layer(states, None, None)
        return self.encoder(states, output_hidden_states=True), one
"""
CONFIG: dict[str, Any] = {
    "vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 16, "max_position_embeddings": 8, "eos_token_id": 10,
}  # fmt: skip
IDS = torch.tensor([[3, 4, 5, 6, 10], [7, 8, 10, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
Write = Callable[[str], ModuleType]


def _pair(write_module: Write, name: str, kind: str = "eager") -> tuple[Any, Any]:
    torch.manual_seed(0)
    native = CLIPTextModel._from_config(CLIPTextConfig(**CONFIG), attn_implementation=kind).eval()
    old = getattr(write_module(TEXT), name)(CLIPTextConfig(**CONFIG)).eval()
    weights = {n.removeprefix("text_model."): t for n, t in native.state_dict().items()}
    old.load_state_dict(weights)
    old.config._attn_implementation = kind
    for layer in old.encoder.layers:
        layer.self_attn.config._attn_implementation = kind
    return native, old


@pytest.mark.parametrize("kind", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["WithEncoder", "WithLayers", "WithAttention"])
def test_text_is_read_from_left_to_right(name: str, kind: str, write_module: Write) -> None:
    native, old = _pair(write_module, name, kind)
    with torch.no_grad():
        found = old(IDS, MASK)[0]
        expected = native(IDS, attention_mask=MASK).last_hidden_state
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(old(IDS)[0][:, :2], old(IDS[:, :2])[0])


@pytest.mark.parametrize("name", ["WithEncoder", "WithLayers", "WithAttention"])
def test_attentions_and_states_of_layers(name: str, write_module: Write) -> None:
    native, _ = _pair(write_module, name)
    _, old = _pair(write_module, name, "sdpa")
    asked = {"output_attentions": True}
    if name == "WithEncoder":
        asked["output_hidden_states"] = True
    with torch.no_grad():
        found = old(IDS, MASK, **asked)
        expected = native(IDS, attention_mask=MASK, **asked)
    assert len(found) == 1 + len(asked)
    for ours, theirs in zip(found[-1], expected.attentions, strict=True):
        torch.testing.assert_close(ours, theirs)
    if name == "WithEncoder":
        for ours, theirs in zip(found[1], expected.hidden_states, strict=True):
            torch.testing.assert_close(ours, theirs)
    assert old.config._attn_implementation == "sdpa"


def test_old_calls_with_no_mask(write_module: Write) -> None:
    old = write_module(TEXT).Picture(CLIPTextConfig(**CONFIG)).eval()
    states = torch.randn(2, 3, 8)
    with torch.no_grad():
        outputs, one = old(states)
    assert isinstance(one, tuple)
    assert one[0].shape == states.shape
    assert [state.shape for state in outputs.hidden_states] == [states.shape] * 3
    torch.testing.assert_close(outputs.hidden_states[-1], outputs.last_hidden_state)


def test_a_layer_with_a_forward_of_its_own(write_module: Write) -> None:
    layer = write_module(TEXT).Heeding(CLIPTextConfig(**CONFIG))
    assert layer(torch.ones(1, 2, 8), None, causal_attention_mask="mine") == "mine"


def test_other_callers_get_what_they_got() -> None:
    from transformers.models.clip.modeling_clip import CLIPEncoderLayer

    config = CLIPTextConfig(**CONFIG)
    config._attn_implementation = "sdpa"
    layer = CLIPEncoderLayer(config).eval()
    states = torch.randn(2, 3, 8)
    assert isinstance(layer(states, None), torch.Tensor)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    causal = torch.full((3, 3), float("-inf")).triu(1)[None, None]
    with torch.no_grad():
        torch.testing.assert_close(compiled(states, None), layer(states, None))
        expected = layer(states, causal)
        torch.testing.assert_close(compiled(states, causal), expected)
        torch.testing.assert_close(layer(states, None, causal)[0], expected)
        torch.testing.assert_close(
            compiled(states, None, causal_attention_mask=causal)[0], expected
        )


HOLDER = """
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.modeling_utils import PreTrainedModel, apply_chunking_to_forward


class Holder(PreTrainedModel):
    config_class = CLIPVisionConfig

    def __init__(self, config):
        super().__init__(config)
        self.vision = CLIPVisionModel(config)
        self.vision.vision_model.post_layernorm = nn.Identity()
        self.init_weights()

    def forward(self, pixel_values):
        return self.vision.vision_model.embeddings(pixel_values), self.vision(pixel_values)


class Own(CLIPVisionModel):
    def __init__(self, config):
        super().__init__(config)
        self.vision_model = nn.Linear(2, 2)
        self.init_weights()


def has_inner(model):
    return hasattr(model, "vision_model")
"""


def test_the_model_within(write_module: Write) -> None:
    file = write_module(HOLDER)
    config = CLIPVisionConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        image_size=8, patch_size=4,
    )  # fmt: skip
    model = file.Holder(config)
    embedded, outputs = model(torch.zeros(1, 3, 8, 8))
    assert embedded.shape == (1, 5, 8)
    assert torch.equal(outputs.pooler_output, outputs.last_hidden_state[:, 0])
    own = file.Own(config)
    assert own.vision_model.weight.shape == (2, 2)
    assert file.has_inner(own)
    assert file.has_inner(CLIPVisionModel(config))


@pytest.mark.skipif(before_the_tables(), reason="there is a model within")
def test_the_model_within_is_not_there_for_others() -> None:
    assert not hasattr(CLIPVisionModel, "vision_model")
    assert not hasattr(CLIPVisionModel(CLIPVisionConfig(num_hidden_layers=1)), "vision_model")
    with pytest.raises(AttributeError, match="text_model"):
        CLIPTextModel(CLIPTextConfig(**CONFIG)).text_model  # noqa: B018
