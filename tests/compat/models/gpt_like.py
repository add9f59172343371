"""A GPT-2-like model with Conv1D, two heads on top and layers spread over devices, as in 2020."""

import torch
from torch import nn
from torch.nn import CrossEntropyLoss
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.modeling_utils import (
    Conv1D,
    PreTrainedModel,
    SequenceSummary,
    find_pruneable_heads_and_indices,
    prune_conv1d_layer,
)
from transformers.models.gpt2.configuration_gpt2 import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2DoubleHeadsModelOutput
from transformers.utils.model_parallel_utils import assert_device_map, get_device_map


class Attention(nn.Module):
    def __init__(self, nx, n_ctx, config):
        super().__init__()
        self.register_buffer(
            "bias", torch.tril(torch.ones((n_ctx, n_ctx), dtype=torch.bool))[None, None]
        )
        self.register_buffer("masked_bias", torch.tensor(-1e4), persistent=False)
        self.n_head = config.n_head
        self.split_size = nx
        self.head_size = nx // config.n_head
        self.c_attn = Conv1D(3 * nx, nx)
        self.c_proj = Conv1D(nx, nx)
        self.pruned_heads = set()

    def prune_heads(self, heads):
        heads, index = find_pruneable_heads_and_indices(
            heads, self.n_head, self.head_size, self.pruned_heads
        )
        index_attn = torch.cat([index, index + self.split_size, index + 2 * self.split_size])
        self.c_attn = prune_conv1d_layer(self.c_attn, index_attn, dim=1)
        self.c_proj = prune_conv1d_layer(self.c_proj, index, dim=0)
        self.split_size = (self.split_size // self.n_head) * (self.n_head - len(heads))
        self.n_head = self.n_head - len(heads)
        self.pruned_heads = self.pruned_heads.union(heads)

    def split(self, x):
        return x.view(*x.shape[:-1], self.n_head, self.head_size).permute(0, 2, 1, 3)

    def forward(self, x, layer_past, attention_mask, head_mask, use_cache):
        query, key, value = (self.split(p) for p in self.c_attn(x).split(self.split_size, dim=2))
        if layer_past is not None:
            key = torch.cat([layer_past[0], key], dim=-2)
            value = torch.cat([layer_past[1], value], dim=-2)
        present = (key, value) if use_cache else None
        scores = query @ key.transpose(-1, -2) / self.head_size**0.5
        ns, nd = scores.size(-1), scores.size(-2)
        scores = torch.where(self.bias[:, :, ns - nd : ns, :ns], scores, self.masked_bias)
        if attention_mask is not None:
            scores = scores + attention_mask
        weights = scores.softmax(-1)
        if head_mask is not None:
            weights = weights * head_mask
        merged = (weights @ value).permute(0, 2, 1, 3).contiguous()
        return self.c_proj(merged.view(*merged.shape[:-2], -1)), present


class Block(nn.Module):
    def __init__(self, n_ctx, config):
        super().__init__()
        nx = config.n_embd
        self.ln_1 = nn.LayerNorm(nx, eps=config.layer_norm_epsilon)
        self.attn = Attention(nx, n_ctx, config)
        self.ln_2 = nn.LayerNorm(nx, eps=config.layer_norm_epsilon)
        self.c_fc = Conv1D(2 * nx, nx)
        self.c_proj = Conv1D(nx, 2 * nx)
        self.act = ACT2FN[config.activation_function]

    def forward(self, x, *args):
        attended, present = self.attn(self.ln_1(x), *args)
        x = x + attended
        return x + self.c_proj(self.act(self.c_fc(self.ln_2(x)))), present


class GPTLikePreTrainedModel(PreTrainedModel):
    config_class = GPT2Config
    base_model_prefix = "transformer"
    is_parallelizable = True

    def __init__(self, *inputs, **kwargs):
        super().__init__(*inputs, **kwargs)

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding, Conv1D)):
            module.weight.data.normal_(mean=0.0, std=self.config.initializer_range)
            if isinstance(module, (nn.Linear, Conv1D)) and module.bias is not None:
                module.bias.data.zero_()
        elif isinstance(module, nn.LayerNorm):
            module.bias.data.zero_()
            module.weight.data.fill_(1.0)


class GPTLikeModel(GPTLikePreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.h = nn.ModuleList([Block(config.n_positions, config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.device_map = None
        self.init_weights()

    def parallelize(self, device_map=None):
        self.device_map = (
            get_device_map(len(self.h), range(1)) if device_map is None else device_map
        )
        assert_device_map(self.device_map, len(self.h))

    def get_input_embeddings(self):
        return self.wte

    def set_input_embeddings(self, new_embeddings):
        self.wte = new_embeddings

    def _prune_heads(self, heads_to_prune):
        for layer, heads in heads_to_prune.items():
            self.h[layer].attn.prune_heads(heads)

    def forward(
        self,
        input_ids=None,
        past_key_values=None,
        attention_mask=None,
        position_ids=None,
        head_mask=None,
        use_cache=None,
        return_dict=None,
    ):
        use_cache = use_cache if use_cache is not None else self.config.use_cache
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict
        shape = input_ids.size()
        input_ids = input_ids.view(-1, shape[-1])
        if past_key_values is None:
            past, past_key_values = 0, tuple([None] * len(self.h))
        else:
            past = past_key_values[0][0].size(-2)
        if position_ids is None:
            position_ids = torch.arange(past, shape[-1] + past, device=input_ids.device)[None]
        if attention_mask is not None:
            attention_mask = attention_mask.view(input_ids.shape[0], -1)[:, None, None, :]
            attention_mask = (1.0 - attention_mask.to(dtype=self.dtype)) * -10000.0
        head_mask = self.get_head_mask(head_mask, self.config.n_layer)
        states = self.wte(input_ids) + self.wpe(position_ids.view(-1, shape[-1]))
        presents = ()
        for i, (block, layer_past) in enumerate(zip(self.h, past_key_values, strict=True)):
            states, present = block(states, layer_past, attention_mask, head_mask[i], use_cache)
            presents += (present,)
        states = self.ln_f(states).view(*shape, -1)
        presents = presents if use_cache else None
        if not return_dict:
            return tuple(v for v in (states, presents) if v is not None)
        return BaseModelOutputWithPast(last_hidden_state=states, past_key_values=presents)


class GPTLikeDoubleHeadsModel(GPTLikePreTrainedModel):
    _tied_weights_keys = ["lm_head.weight"]  # noqa: RUF012

    def __init__(self, config):
        super().__init__(config)
        config.num_labels = 1
        self.transformer = GPTLikeModel(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.multiple_choice_head = SequenceSummary(config)
        self.post_init()

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, new_embeddings):
        self.lm_head = new_embeddings

    def prepare_inputs_for_generation(self, input_ids, past_key_values=None, **kwargs):
        if past_key_values:
            input_ids = input_ids[:, -1].unsqueeze(-1)
        attention_mask = kwargs.get("attention_mask")
        position_ids = kwargs.get("position_ids")
        if attention_mask is not None and position_ids is None:
            position_ids = attention_mask.long().cumsum(-1) - 1
            position_ids.masked_fill_(attention_mask == 0, 1)
            if past_key_values:
                position_ids = position_ids[:, -1].unsqueeze(-1)
        else:
            position_ids = None
        return {
            "input_ids": input_ids,
            "past_key_values": past_key_values,
            "use_cache": kwargs.get("use_cache"),
            "position_ids": position_ids,
            "attention_mask": attention_mask,
        }

    @staticmethod
    def _reorder_cache(past, beam_idx):
        return tuple(
            tuple(state.index_select(0, beam_idx.to(state.device)) for state in layer)
            for layer in past
        )

    def forward(
        self,
        input_ids=None,
        past_key_values=None,
        attention_mask=None,
        position_ids=None,
        head_mask=None,
        mc_token_ids=None,
        labels=None,
        mc_labels=None,
        use_cache=None,
        output_attentions=None,
        output_hidden_states=None,
        return_dict=None,
    ):
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict
        outputs = self.transformer(
            input_ids,
            past_key_values=past_key_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            head_mask=head_mask,
            use_cache=use_cache,
            return_dict=True,
        )
        logits = self.lm_head(outputs[0])
        choices = self.multiple_choice_head(outputs[0], mc_token_ids).squeeze(-1)
        loss = mc_loss = None
        if mc_labels is not None:
            mc_loss = CrossEntropyLoss()(choices.view(-1, choices.size(-1)), mc_labels.view(-1))
        if labels is not None:
            shifted = logits[..., :-1, :].contiguous()
            loss = CrossEntropyLoss()(
                shifted.view(-1, shifted.size(-1)), labels[..., 1:].contiguous().view(-1)
            )
        if not return_dict:
            return (loss, mc_loss, logits, choices)
        return GPT2DoubleHeadsModelOutput(
            loss=loss,
            mc_loss=mc_loss,
            logits=logits,
            mc_logits=choices,
            past_key_values=outputs.past_key_values,
        )


def make_config(**changes):
    return GPT2Config(
        vocab_size=29,
        n_positions=24,
        n_embd=12,
        n_layer=2,
        n_head=3,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        summary_first_dropout=0.0,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        **changes,
    )
