"""Old code around native models: it takes one apart and calls its methods and parts itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from compat.conftest import before_the_tables, has_its_own
from torch import nn
from transformers import BertConfig, BertModel

pytestmark = pytest.mark.usefixtures("restored")


class Warper(nn.Module):
    """A BERT whose mask may say which tokens see which, as grounded detectors use it."""

    def __init__(self, bert: Any) -> None:
        super().__init__()
        self.config = bert.config
        self.embeddings = bert.embeddings
        self.encoder = bert.encoder
        self.pooler = bert.pooler
        self.get_extended_attention_mask = bert.get_extended_attention_mask
        self.invert_attention_mask = bert.invert_attention_mask
        self.get_head_mask = bert.get_head_mask

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, head_mask: Any = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        output_attentions = self.config.output_attentions
        return_dict = self.config.use_return_dict
        use_cache = self.config.use_cache if self.config.is_decoder else False
        shape = input_ids.size()
        extended = self.get_extended_attention_mask(attention_mask, shape, input_ids.device)
        head_mask = self.get_head_mask(head_mask, self.config.num_hidden_layers)
        hidden = self.embeddings(
            input_ids=input_ids, position_ids=None, token_type_ids=None, inputs_embeds=None,
            past_key_values_length=0,
        )  # fmt: skip
        encoded = self.encoder(
            hidden, attention_mask=extended, head_mask=head_mask, encoder_hidden_states=None,
            encoder_attention_mask=None, past_key_values=None, use_cache=use_cache,
            output_attentions=output_attentions, output_hidden_states=False,
            return_dict=return_dict,
        )  # fmt: skip
        return encoded[0], self.pooler(encoded[0])


@pytest.fixture
def bert() -> Any:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30, hidden_size=12, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=16,
    )  # fmt: skip
    return BertModel(config).eval()


@pytest.mark.filterwarnings("ignore:`use_return_dict` is deprecated")
@pytest.mark.filterwarnings("ignore:The `device` argument is deprecated")  # 4.57, of its own
@pytest.mark.skipif(
    has_its_own("get_extended_attention_mask") and before_the_tables(),
    reason="the method of early Transformers 5 takes no device",
)
def test_taken_apart(bert: Any) -> None:
    ids = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
    mask = (ids > 0).long()
    warper = Warper(bert)
    with torch.no_grad():
        expected = bert(ids, attention_mask=mask)
        hidden, pooled = warper(ids, mask)
        torch.testing.assert_close(pooled, expected.pooler_output)
        torch.testing.assert_close(hidden[mask.bool()], expected.last_hidden_state[mask.bool()])
        # A mask of three dimensions: two phrases that do not see each other.
        blocks = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2)).expand(2, -1, -1).bool()
        apart, _ = warper(ids, blocks)
        changed = ids.clone()
        changed[:, 2:] = 9
        again, _ = warper(changed, blocks)
    torch.testing.assert_close(apart[:, :2], again[:, :2])
    assert not torch.allclose(apart[:, 2:], again[:, 2:])


def test_methods_of_a_native_model(bert: Any) -> None:
    mask = torch.tensor([[1, 1, 0]])
    assert bert.invert_attention_mask(mask).shape == (1, 1, 1, 3)
    assert bert.get_head_mask(None, 2) == [None, None]
