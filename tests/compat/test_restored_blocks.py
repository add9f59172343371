"""Blocks of single models that old files import, where they were."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import DistilBertConfig

pytestmark = pytest.mark.usefixtures("restored")

DISTIL = """
from torch import nn
from transformers import DistilBertConfig, PreTrainedModel
from transformers.models.distilbert.modeling_distilbert import MultiHeadSelfAttention


class Model(PreTrainedModel):
    config_class = DistilBertConfig
    base_model_prefix = "none"

    def __init__(self, config):
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.dim)
        self.attention = MultiHeadSelfAttention(config)
        self.init_weights()

    def _prune_heads(self, heads):
        self.attention.prune_heads(heads[0])

    def forward(self, input_ids, mask, head_mask=None):
        states = self.words(input_ids)
        return self.attention(
            states, states, states, mask=mask, head_mask=head_mask, output_attentions=True
        )
"""
CONFIG: dict[str, Any] = {"vocab_size": 9, "dim": 12, "n_heads": 3, "attention_dropout": 0.0}
IDS = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
Write = Callable[[str], ModuleType]


def test_attention_of_distilbert(write_module: Write) -> None:
    model = write_module(DISTIL).Model(DistilBertConfig(**CONFIG)).double().eval()
    states, weights = model(IDS, MASK)
    assert weights.shape == (2, 3, 4, 4)
    x = model.words(IDS)
    told = [
        model.attention.get_submodule(f"{n}_lin")(x).view(2, 4, 3, 4).transpose(1, 2)
        for n in ("q", "k", "v")
    ]
    by_torch = torch.nn.functional.scaled_dot_product_attention(
        *told, attn_mask=MASK.bool()[:, None, None]
    )
    expected = model.attention.out_lin(by_torch.transpose(1, 2).reshape(2, 4, 12))
    torch.testing.assert_close(states, expected)
    assert (weights[1, :, :, 3] == 0).all()


def test_heads_of_distilbert_go_by_their_first_number(write_module: Write) -> None:
    model = write_module(DISTIL).Model(DistilBertConfig(**CONFIG)).eval()
    kept = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
    expected = model(IDS, MASK, head_mask=kept)[0]
    model.prune_heads({0: [0]})
    model.prune_heads({0: [0, 2]})
    states, weights = model(IDS, MASK)
    torch.testing.assert_close(states, expected)
    assert weights.shape[1] == model.attention.n_heads == 1
    assert model.attention.dim == model.attention.q_lin.out_features == 4
    assert model.attention.pruned_heads == {0, 2}


def test_dims_that_heads_do_not_divide() -> None:
    from transformers.models.distilbert.modeling_distilbert import MultiHeadSelfAttention

    with pytest.raises(ValueError, match="n_heads"):
        MultiHeadSelfAttention(DistilBertConfig(**{**CONFIG, "n_heads": 5}))


@pytest.mark.parametrize("name", ["deberta", "deberta_v2"])
def test_blocks_of_deberta(name: str, write_module: Write) -> None:
    file = write_module(
        f"from transformers.models.{name}.modeling_{name} import StableDropout, XSoftmax\n"
    )
    scores = torch.randn(2, 4, 4, dtype=torch.float64, requires_grad=True)
    mask = MASK[:, None] * MASK[:, :, None]
    found = file.XSoftmax.apply(scores, mask, -1)
    expected = scores.masked_fill(mask == 0, -1e9).softmax(-1).masked_fill(mask == 0, 0)
    torch.testing.assert_close(found, expected)
    picked = torch.randn_like(found)
    torch.testing.assert_close(
        *(torch.autograd.grad((way * picked).sum(), scores)[0] for way in (found, expected))
    )
    dropout = file.StableDropout(0.5)
    values = torch.ones(1000, requires_grad=True)
    dropped = dropout(values)
    assert 300 < (dropped == 0).sum() < 700
    assert set(dropped.tolist()) == {0.0, 2.0}
    (gradient,) = torch.autograd.grad(dropped.sum(), values)
    assert torch.equal(gradient, dropped.detach())
    dropout.init_context()
    dropped = dropout(values)
    dropout.init_context()
    assert torch.equal(dropout(values), dropped)
    assert torch.equal(dropout.eval()(values), values)


@pytest.mark.filterwarnings("ignore:The attention mask API:FutureWarning")
def test_masks_in_model_files(write_module: Write) -> None:
    file = write_module(
        "from transformers.models.mistral.modeling_mistral import "
        "_prepare_4d_causal_attention_mask\n"
    )
    mask = file._prepare_4d_causal_attention_mask(MASK, (2, 4), torch.zeros(2, 4, 8), 0)
    assert ((mask == 0) == (torch.ones(4, 4).tril().bool() & MASK.bool()[:, None, None])).all()
