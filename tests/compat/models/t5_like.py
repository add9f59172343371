"""A T5-like encoder-decoder: shared embeddings, position bias a head, two stacks of one class."""

import copy

import torch
from torch import nn
from torch.nn import CrossEntropyLoss
from transformers.modeling_outputs import (
    BaseModelOutputWithPastAndCrossAttentions,
    Seq2SeqLMOutput,
)
from transformers.modeling_utils import (
    PreTrainedModel,
    find_pruneable_heads_and_indices,
    prune_linear_layer,
)
from transformers.models.t5.configuration_t5 import T5Config


class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


class Attention(nn.Module):
    def __init__(self, config, has_bias=False):
        super().__init__()
        self.is_decoder = config.is_decoder
        self.buckets = config.relative_attention_num_buckets
        self.n_heads, self.size = config.num_heads, config.d_kv
        self.inner_dim = self.n_heads * self.size
        self.q = nn.Linear(config.d_model, self.inner_dim, bias=False)
        self.k = nn.Linear(config.d_model, self.inner_dim, bias=False)
        self.v = nn.Linear(config.d_model, self.inner_dim, bias=False)
        self.o = nn.Linear(self.inner_dim, config.d_model, bias=False)
        if has_bias:
            self.relative_attention_bias = nn.Embedding(self.buckets, self.n_heads)
        self.pruned_heads = set()

    def prune_heads(self, heads):
        heads, index = find_pruneable_heads_and_indices(
            heads, self.n_heads, self.size, self.pruned_heads
        )
        self.q = prune_linear_layer(self.q, index)
        self.k = prune_linear_layer(self.k, index)
        self.v = prune_linear_layer(self.v, index)
        self.o = prune_linear_layer(self.o, index, dim=1)
        self.n_heads -= len(heads)
        self.inner_dim = self.size * self.n_heads
        self.pruned_heads = self.pruned_heads.union(heads)

    def bias(self, queries, keys, device):
        distance = torch.arange(keys, device=device) - torch.arange(queries, device=device)[:, None]
        places = distance.clamp(-(self.buckets // 2), self.buckets // 2 - 1) + self.buckets // 2
        return self.relative_attention_bias(places).permute(2, 0, 1)[None]

    def forward(self, x, mask, states=None, bias=None, head_mask=None, past=None):
        def split(t):
            return t.view(x.shape[0], -1, self.n_heads, self.size).transpose(1, 2)

        query = split(self.q(x))
        if states is not None and past is not None:
            key, value = past
        else:
            source = x if states is None else states
            key, value = split(self.k(source)), split(self.v(source))
            if states is None and past is not None:
                key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        scores = query @ key.transpose(3, 2)
        if bias is None:
            if hasattr(self, "relative_attention_bias"):
                bias = self.bias(key.shape[2], key.shape[2], x.device)[:, :, -x.shape[1] :]
            else:
                bias = scores.new_zeros((1, 1, x.shape[1], key.shape[2]))
            bias = bias + mask
        if self.pruned_heads and bias.shape[1] > 1:
            kept = torch.ones(bias.shape[1])
            kept[list(self.pruned_heads)] = 0
            scores = scores + bias[:, kept.bool()]
        else:
            scores = scores + bias
        weights = scores.softmax(-1)
        if head_mask is not None:
            weights = weights * head_mask
        merged = (weights @ value).transpose(1, 2).reshape(x.shape[0], -1, self.inner_dim)
        return self.o(merged), (key, value), bias


class FeedForward(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.wi = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x):
        return self.wo(self.wi(x).relu())


class Block(nn.Module):
    def __init__(self, config, has_bias):
        super().__init__()
        self.is_decoder = config.is_decoder
        parts = [Attention(config, has_bias)]
        if self.is_decoder:
            parts.append(Attention(config))
        parts.append(FeedForward(config))
        self.layer = nn.ModuleList(parts)
        self.norms = nn.ModuleList([Norm(config.d_model, 1e-6) for _ in parts])


class T5LikePreTrainedModel(PreTrainedModel):
    config_class = T5Config
    base_model_prefix = "transformer"

    def _init_weights(self, module):
        factor = self.config.initializer_factor
        if isinstance(module, Norm):
            module.weight.data.fill_(factor * 1.0)
        elif isinstance(module, FeedForward):
            module.wi.weight.data.fill_(factor * 0.5)
            module.wo.weight.data.fill_(factor * 0.25)
        elif isinstance(module, Attention):
            module.q.weight.data.normal_(mean=0.0, std=factor * (module.inner_dim**-0.5))

    def _shift_right(self, input_ids):
        start = self.config.decoder_start_token_id
        shifted = input_ids.new_zeros(input_ids.shape)
        shifted[..., 1:] = input_ids[..., :-1].clone()
        shifted[..., 0] = start
        return shifted.masked_fill(shifted == -100, self.config.pad_token_id)


class Stack(T5LikePreTrainedModel):
    def __init__(self, config, embed_tokens=None):
        super().__init__(config)
        self.embed_tokens = embed_tokens
        self.is_decoder = config.is_decoder
        self.block = nn.ModuleList([Block(config, i == 0) for i in range(config.num_layers)])
        self.final_layer_norm = Norm(config.d_model, 1e-6)
        self.init_weights()

    def get_input_embeddings(self):
        return self.embed_tokens

    def set_input_embeddings(self, new_embeddings):
        self.embed_tokens = new_embeddings

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        encoder_hidden_states=None,
        encoder_attention_mask=None,
        head_mask=None,
        past_key_values=None,
        use_cache=None,
        output_attentions=None,
        output_hidden_states=None,
        return_dict=None,
    ):
        states = self.embed_tokens(input_ids)
        past_length = past_key_values[0][0].shape[2] if past_key_values is not None else 0
        if attention_mask is None:
            shape = (input_ids.shape[0], input_ids.shape[1] + past_length)
            attention_mask = torch.ones(shape, device=states.device)
        mask = self.get_extended_attention_mask(attention_mask, input_ids.shape)
        cross_mask = None
        if self.is_decoder and encoder_hidden_states is not None:
            if encoder_attention_mask is None:
                encoder_attention_mask = torch.ones(encoder_hidden_states.shape[:2])
            cross_mask = self.invert_attention_mask(encoder_attention_mask)
        head_mask = self.get_head_mask(head_mask, self.config.num_layers)
        presents, bias, cross_bias = (), None, None
        for i, block in enumerate(self.block):
            past = past_key_values[i] if past_key_values is not None else (None,) * 4
            attended, present, bias = block.layer[0](
                block.norms[0](states),
                mask,
                bias=bias,
                head_mask=head_mask[i],
                past=None if past[0] is None else past[:2],
            )
            states = states + attended
            if self.is_decoder and encoder_hidden_states is not None:
                attended, crossed, cross_bias = block.layer[1](
                    block.norms[1](states),
                    cross_mask,
                    encoder_hidden_states,
                    bias=cross_bias,
                    past=None if past[2] is None else past[2:],
                )
                states = states + attended
                present = present + crossed
            states = states + block.layer[-1](block.norms[-1](states))
            presents = (*presents, present)
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=self.final_layer_norm(states),
            past_key_values=presents if use_cache else None,
        )


class T5LikeForConditionalGeneration(T5LikePreTrainedModel):
    _keys_to_ignore_on_load_missing = [r"encoder.embed_tokens.weight"]  # noqa: RUF012
    _tied_weights_keys = [  # noqa: RUF012
        "encoder.embed_tokens.weight",
        "decoder.embed_tokens.weight",
        "lm_head.weight",
    ]

    def __init__(self, config):
        super().__init__(config)
        self.model_dim = config.d_model
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        encoder_config = copy.deepcopy(config)
        encoder_config.is_decoder = False
        encoder_config.is_encoder_decoder = False
        self.encoder = Stack(encoder_config, self.shared)
        decoder_config = copy.deepcopy(config)
        decoder_config.is_decoder = True
        decoder_config.is_encoder_decoder = False
        decoder_config.num_layers = config.num_decoder_layers
        self.decoder = Stack(decoder_config, self.shared)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.init_weights()

    def get_input_embeddings(self):
        return self.shared

    def set_input_embeddings(self, new_embeddings):
        self.shared = new_embeddings
        self.encoder.set_input_embeddings(new_embeddings)
        self.decoder.set_input_embeddings(new_embeddings)

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, new_embeddings):
        self.lm_head = new_embeddings

    def get_encoder(self):
        return self.encoder

    def get_decoder(self):
        return self.decoder

    def _prune_heads(self, heads_to_prune):
        for layer, heads in heads_to_prune.items():
            self.encoder.block[layer].layer[0].prune_heads(heads)

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        decoder_input_ids=None,
        decoder_attention_mask=None,
        head_mask=None,
        encoder_outputs=None,
        past_key_values=None,
        labels=None,
        use_cache=None,
        output_attentions=None,
        output_hidden_states=None,
        return_dict=None,
    ):
        use_cache = use_cache if use_cache is not None else self.config.use_cache
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids, attention_mask, head_mask=head_mask)
        states = encoder_outputs[0]
        if labels is not None and decoder_input_ids is None and past_key_values is None:
            decoder_input_ids = self._shift_right(labels)
        outputs = self.decoder(
            decoder_input_ids,
            decoder_attention_mask,
            states,
            attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
        )
        top = outputs[0]
        if self.config.tie_word_embeddings:
            top = top * (self.model_dim**-0.5)
        logits = self.lm_head(top)
        loss = None
        if labels is not None:
            loss = CrossEntropyLoss(ignore_index=-100)(
                logits.view(-1, logits.size(-1)), labels.view(-1)
            )
        return Seq2SeqLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            encoder_last_hidden_state=states,
        )

    def prepare_inputs_for_generation(
        self,
        input_ids,
        past_key_values=None,
        attention_mask=None,
        use_cache=None,
        encoder_outputs=None,
        **kwargs,
    ):
        if past_key_values is not None:
            input_ids = input_ids[:, -1:]
        return {
            "decoder_input_ids": input_ids,
            "past_key_values": past_key_values,
            "encoder_outputs": encoder_outputs,
            "attention_mask": attention_mask,
            "use_cache": use_cache,
        }

    def _reorder_cache(self, past_key_values, beam_idx):
        return tuple(
            tuple(state.index_select(0, beam_idx) for state in layer) for layer in past_key_values
        )


def make_config(**changes):
    return T5Config(
        vocab_size=27,
        d_model=12,
        d_kv=4,
        d_ff=20,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=3,
        relative_attention_num_buckets=8,
        dropout_rate=0.0,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
        **changes,
    )
