"""An XLNet-like question answerer: memories, sequences first, and the SQuADHead on top."""

import torch
from torch import nn
from transformers.modeling_utils import PoolerAnswerClass, PreTrainedModel, SQuADHead
from transformers.models.xlnet.configuration_xlnet import XLNetConfig
from transformers.models.xlnet.modeling_xlnet import SequenceSummary


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.n_head, self.d_head = config.n_head, config.d_head
        self.q = nn.Parameter(torch.empty(config.d_model, config.n_head, config.d_head))
        self.k = nn.Parameter(torch.empty(config.d_model, config.n_head, config.d_head))
        self.v = nn.Parameter(torch.empty(config.d_model, config.n_head, config.d_head))
        self.o = nn.Parameter(torch.empty(config.d_model, config.n_head, config.d_head))
        self.norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)

    def forward(self, h, mask, mem):
        source = h if mem is None else torch.cat([mem, h], dim=0)
        query = torch.einsum("ibh,hnd->ibnd", h, self.q)
        key = torch.einsum("ibh,hnd->ibnd", source, self.k)
        value = torch.einsum("ibh,hnd->ibnd", source, self.v)
        scores = torch.einsum("ibnd,jbnd->bnij", query, key) / self.d_head**0.5
        if mask is not None:
            mask = mask[:, None, None, :]
            if mem is not None:
                mask = torch.cat([mask.new_ones(*mask.shape[:-1], mem.shape[0]), mask], dim=-1)
            scores = scores - 1e30 * (1 - mask)
        context = torch.einsum("bnij,jbnd->ibnd", scores.softmax(-1), value)
        return self.norm(h + torch.einsum("ibnd,hnd->ibh", context, self.o))


class SpansPreTrainedModel(PreTrainedModel):
    config_class = XLNetConfig
    base_model_prefix = "transformer"

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.data.normal_(mean=0.0, std=self.config.initializer_range)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.data.zero_()
        elif isinstance(module, nn.LayerNorm):
            module.bias.data.zero_()
            module.weight.data.fill_(1.0)
        elif isinstance(module, Layer):
            for parameter in (module.q, module.k, module.v, module.o):
                parameter.data.normal_(mean=0.0, std=self.config.initializer_range)


class SpansModel(SpansPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.word_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.layer = nn.ModuleList([Layer(config) for _ in range(config.n_layer)])
        self.init_weights()

    def get_input_embeddings(self):
        return self.word_embedding

    def set_input_embeddings(self, new_embeddings):
        self.word_embedding = new_embeddings

    def forward(self, input_ids, attention_mask=None, mems=None):
        h = self.word_embedding(input_ids.transpose(0, 1).contiguous())
        new_mems = ()
        for i, layer in enumerate(self.layer):
            new_mems += (h.detach(),)
            h = layer(h, attention_mask, None if mems is None else mems[i])
        return h.permute(1, 0, 2).contiguous(), new_mems


class SpansForQuestionAnswering(SpansPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.start_n_top = config.start_n_top
        self.end_n_top = config.end_n_top
        self.transformer = SpansModel(config)
        self.qa_outputs = SQuADHead(config)
        self.sequence_summary = SequenceSummary(config)
        self.extra = PoolerAnswerClass(config)
        self.init_weights()

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        mems=None,
        start_positions=None,
        end_positions=None,
        is_impossible=None,
        cls_index=None,
        p_mask=None,
        return_dict=None,
    ):
        states, mems = self.transformer(input_ids, attention_mask, mems)
        answer = self.qa_outputs(
            states,
            start_positions=start_positions,
            end_positions=end_positions,
            cls_index=cls_index,
            is_impossible=is_impossible,
            p_mask=p_mask,
            return_dict=True,
        )
        return answer, self.sequence_summary(states), mems


def make_config(**changes):
    return XLNetConfig(
        vocab_size=23,
        d_model=12,
        n_layer=2,
        n_head=3,
        d_inner=16,
        dropout=0.0,
        summary_last_dropout=0.0,
        start_n_top=3,
        end_n_top=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **changes,
    )
