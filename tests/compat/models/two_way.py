"""A BERT-like encoder that can be a decoder with cross-attention, in the style of 2021.

The shape of the text half of image-and-text models: a stock BertConfig with fields added by
hand, queries beside words, `init_weights` alone, masks from the base class, caches in tuples.
"""

import math

import torch
from torch import nn
from torch.nn import CrossEntropyLoss
from transformers.activations import ACT2FN
from transformers.file_utils import ModelOutput
from transformers.modeling_outputs import (
    BaseModelOutputWithPastAndCrossAttentions,
    BaseModelOutputWithPoolingAndCrossAttentions,
    CausalLMOutputWithCrossAttentions,
)
from transformers.modeling_utils import (
    PreTrainedModel,
    apply_chunking_to_forward,
    find_pruneable_heads_and_indices,
    prune_linear_layer,
)
from transformers.models.bert.configuration_bert import BertConfig
from transformers.utils import logging

logger = logging.get_logger(__name__)


class Embeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word_embeddings = nn.Embedding(
            config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id
        )
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.register_buffer(
            "position_ids", torch.arange(config.max_position_embeddings).expand((1, -1))
        )
        self.register_buffer(
            "scale", torch.full((1,), 1.5), persistent=False
        )  # what no checkpoint holds
        self.position_embedding_type = config.position_embedding_type

    def forward(self, input_ids=None, query_embeds=None, past_key_values_length=0):
        parts = []
        if query_embeds is not None:
            parts.append(query_embeds)
        if input_ids is not None:
            length = input_ids.shape[1]
            places = self.position_ids[:, past_key_values_length : past_key_values_length + length]
            words = self.word_embeddings(input_ids)
            if self.position_embedding_type == "absolute":
                words = words + self.position_embeddings(places) * self.scale
            parts.append(words)
        return self.dropout(self.LayerNorm(torch.cat(parts, dim=1)))


class SelfAttention(nn.Module):
    def __init__(self, config, is_cross_attention):
        super().__init__()
        self.num_attention_heads = config.num_attention_heads
        self.attention_head_size = config.hidden_size // config.num_attention_heads
        self.all_head_size = self.num_attention_heads * self.attention_head_size
        self.query = nn.Linear(config.hidden_size, self.all_head_size)
        width = config.encoder_width if is_cross_attention else config.hidden_size
        self.key = nn.Linear(width, self.all_head_size)
        self.value = nn.Linear(width, self.all_head_size)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def split(self, x):
        shape = (*x.size()[:-1], self.num_attention_heads, self.attention_head_size)
        return x.view(*shape).permute(0, 2, 1, 3)

    def forward(
        self,
        hidden_states,
        attention_mask=None,
        head_mask=None,
        encoder_hidden_states=None,
        encoder_attention_mask=None,
        past_key_value=None,
        output_attentions=False,
    ):
        if encoder_hidden_states is not None:
            key = self.split(self.key(encoder_hidden_states))
            value = self.split(self.value(encoder_hidden_states))
            attention_mask = encoder_attention_mask
        else:
            key = self.split(self.key(hidden_states))
            value = self.split(self.value(hidden_states))
            if past_key_value is not None:
                key = torch.cat([past_key_value[0], key], dim=2)
                value = torch.cat([past_key_value[1], value], dim=2)
        past_key_value = (key, value)
        scores = self.split(self.query(hidden_states)) @ key.transpose(-1, -2)
        scores = scores / math.sqrt(self.attention_head_size)
        if attention_mask is not None:
            scores = scores + attention_mask
        weights = self.dropout(scores.softmax(dim=-1))
        if head_mask is not None:
            weights = weights * head_mask
        context = (weights @ value).permute(0, 2, 1, 3).contiguous()
        context = context.view(*context.size()[:-2], self.all_head_size)
        outputs = (context, weights) if output_attentions else (context,)
        return (*outputs, past_key_value)


class SelfOutput(nn.Module):
    def __init__(self, config, width):
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_states, residual):
        return self.LayerNorm(self.dropout(self.dense(hidden_states)) + residual)


class Attention(nn.Module):
    def __init__(self, config, is_cross_attention=False):
        super().__init__()
        self.self = SelfAttention(config, is_cross_attention)
        self.output = SelfOutput(config, config.hidden_size)
        self.pruned_heads = set()

    def prune_heads(self, heads):
        if len(heads) == 0:
            return
        heads, index = find_pruneable_heads_and_indices(
            heads, self.self.num_attention_heads, self.self.attention_head_size, self.pruned_heads
        )
        self.self.query = prune_linear_layer(self.self.query, index)
        self.self.key = prune_linear_layer(self.self.key, index)
        self.self.value = prune_linear_layer(self.self.value, index)
        self.output.dense = prune_linear_layer(self.output.dense, index, dim=1)
        self.self.num_attention_heads = self.self.num_attention_heads - len(heads)
        self.self.all_head_size = self.self.attention_head_size * self.self.num_attention_heads
        self.pruned_heads = self.pruned_heads.union(heads)

    def forward(self, hidden_states, *args, **kwargs):
        outputs = self.self(hidden_states, *args, **kwargs)
        return (self.output(outputs[0], hidden_states), *outputs[1:])


class Layer(nn.Module):
    def __init__(self, config, number):
        super().__init__()
        self.chunk_size_feed_forward = config.chunk_size_feed_forward
        self.seq_len_dim = 1
        self.attention = Attention(config)
        self.has_cross_attention = (
            config.add_cross_attention and number % config.cross_attention_freq == 0
        )
        if self.has_cross_attention:
            self.crossattention = Attention(config, is_cross_attention=True)
        self.intermediate = nn.Linear(config.hidden_size, config.intermediate_size)
        self.act = ACT2FN[config.hidden_act]
        self.output = SelfOutput(config, config.intermediate_size)

    def forward(
        self,
        hidden_states,
        attention_mask=None,
        head_mask=None,
        encoder_hidden_states=None,
        encoder_attention_mask=None,
        past_key_value=None,
        output_attentions=False,
    ):
        own = self.attention(
            hidden_states,
            attention_mask,
            head_mask,
            past_key_value=past_key_value,
            output_attentions=output_attentions,
        )
        attended, outputs, present = own[0], own[1:-1], own[-1]
        if self.has_cross_attention and encoder_hidden_states is not None:
            cross = self.crossattention(
                attended,
                None,
                head_mask,
                encoder_hidden_states,
                encoder_attention_mask,
                output_attentions=output_attentions,
            )
            attended = cross[0]
            outputs = outputs + cross[1:-1]
        done = apply_chunking_to_forward(
            self.feed_forward_chunk, self.chunk_size_feed_forward, self.seq_len_dim, attended
        )
        return (done, *outputs, present)

    def feed_forward_chunk(self, attended):
        return self.output(self.act(self.intermediate(attended)), attended)


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layer = nn.ModuleList([Layer(config, i) for i in range(config.num_hidden_layers)])

    def forward(self, hidden_states, attention_mask, head_mask, past_key_values, use_cache, **rest):
        presents = () if use_cache else None
        weights = () if rest.get("output_attentions") else None
        for i, layer in enumerate(self.layer):
            past = past_key_values[i] if past_key_values is not None else None
            outputs = layer(
                hidden_states, attention_mask, head_mask[i], past_key_value=past, **rest
            )
            hidden_states = outputs[0]
            if use_cache:
                presents += (outputs[-1],)
            if weights is not None:
                weights += (outputs[1],)
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=hidden_states, past_key_values=presents, attentions=weights
        )


class TwoWayPreTrainedModel(PreTrainedModel):
    config_class = BertConfig
    base_model_prefix = "bert"
    _keys_to_ignore_on_load_missing = [r"position_ids"]  # noqa: RUF012

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.data.normal_(mean=0.0, std=self.config.initializer_range)
        elif isinstance(module, nn.LayerNorm):
            module.bias.data.zero_()
            module.weight.data.fill_(1.0)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.data.zero_()


class TwoWayModel(TwoWayPreTrainedModel):
    def __init__(self, config, add_pooling_layer=True):
        super().__init__(config)
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        self.pooler = self.pooler if add_pooling_layer else None
        self.init_weights()

    def get_input_embeddings(self):
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value):
        self.embeddings.word_embeddings = value

    def _prune_heads(self, heads_to_prune):
        for layer, heads in heads_to_prune.items():
            self.encoder.layer[layer].attention.prune_heads(heads)

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        head_mask=None,
        query_embeds=None,
        encoder_hidden_states=None,
        encoder_attention_mask=None,
        past_key_values=None,
        use_cache=None,
        output_attentions=None,
        output_hidden_states=None,
        return_dict=None,
        is_decoder=False,
    ):
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict
        use_cache = bool(use_cache) and is_decoder
        past = past_key_values[0][0].shape[2] if past_key_values is not None else 0
        embedded = self.embeddings(input_ids, query_embeds, past)
        batch, length = embedded.shape[:2]
        device = embedded.device
        if attention_mask is None:
            attention_mask = torch.ones((batch, length + past), device=device)
        self.config.is_decoder = is_decoder
        extended = self.get_extended_attention_mask(attention_mask, (batch, length))
        if encoder_hidden_states is not None:
            if encoder_attention_mask is None:
                encoder_attention_mask = torch.ones(encoder_hidden_states.shape[:2], device=device)
            encoder_attention_mask = self.invert_attention_mask(encoder_attention_mask)
        head_mask = self.get_head_mask(head_mask, self.config.num_hidden_layers)
        outputs = self.encoder(
            embedded,
            extended,
            head_mask,
            past_key_values,
            use_cache,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            output_attentions=output_attentions,
        )
        states = outputs[0]
        pooled = torch.tanh(self.pooler(states[:, 0])) if self.pooler is not None else None
        if not return_dict:
            return (states, pooled, *outputs[1:])
        return BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=states,
            pooler_output=pooled,
            past_key_values=outputs.past_key_values,
            attentions=outputs.attentions,
        )


class Predictions(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.decoder.bias = self.bias

    def forward(self, hidden_states):
        return self.decoder(self.LayerNorm(self.dense(hidden_states).tanh()))


class TwoWayLMHeadModel(TwoWayPreTrainedModel):
    _keys_to_ignore_on_load_unexpected = [r"pooler"]  # noqa: RUF012
    _tied_weights_keys = ["predictions.decoder.weight", "predictions.decoder.bias"]  # noqa: RUF012

    def __init__(self, config):
        super().__init__(config)
        self.bert = TwoWayModel(config, add_pooling_layer=False)
        self.predictions = Predictions(config)
        self.init_weights()

    def get_output_embeddings(self):
        return self.predictions.decoder

    def set_output_embeddings(self, new_embeddings):
        self.predictions.decoder = new_embeddings

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        head_mask=None,
        encoder_hidden_states=None,
        encoder_attention_mask=None,
        labels=None,
        past_key_values=None,
        use_cache=None,
        output_attentions=None,
        output_hidden_states=None,
        return_dict=None,
        is_decoder=True,
    ):
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict
        outputs = self.bert(
            input_ids,
            attention_mask,
            head_mask=head_mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
            output_attentions=output_attentions,
            return_dict=True,
            is_decoder=is_decoder,
        )
        scores = self.predictions(outputs[0])
        loss = None
        if labels is not None:
            shifted = scores[:, :-1].contiguous()
            loss = CrossEntropyLoss(label_smoothing=0.1)(
                shifted.view(-1, self.config.vocab_size), labels[:, 1:].contiguous().view(-1)
            )
        if not return_dict:
            return (loss, scores)
        return CausalLMOutputWithCrossAttentions(
            loss=loss, logits=scores, past_key_values=outputs.past_key_values
        )

    def prepare_inputs_for_generation(
        self, input_ids, past_key_values=None, attention_mask=None, **model_kwargs
    ):
        if attention_mask is None:
            attention_mask = input_ids.new_ones(input_ids.shape)
        if past_key_values is not None:
            input_ids = input_ids[:, -1:]
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "past_key_values": past_key_values,
            "encoder_hidden_states": model_kwargs.get("encoder_hidden_states"),
            "encoder_attention_mask": model_kwargs.get("encoder_attention_mask"),
            "use_cache": model_kwargs.get("use_cache"),
            "is_decoder": True,
        }

    def _reorder_cache(self, past, beam_idx):
        return tuple(tuple(t.index_select(0, beam_idx) for t in layer) for layer in past)


def make_config(**changes):
    config = BertConfig(
        vocab_size=31,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=24,
        max_position_embeddings=20,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **changes,
    )
    config.encoder_width = 10
    config.add_cross_attention = True
    config.cross_attention_freq = 2
    config.chunk_size_feed_forward = 0
    return config


__all__ = ["ModelOutput", "TwoWayLMHeadModel", "TwoWayModel", "make_config"]
