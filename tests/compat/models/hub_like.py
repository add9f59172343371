"""A decoder as model files on the hub have it, written between 4.36 and 4.46.

It keeps a Cache object inside and tuples outside, has `post_init` and no sign of age but that it
prepares inputs for a `generate` it does not inherit.
"""

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_attn_mask_utils import _prepare_4d_causal_attention_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.models.llama.modeling_llama import LLAMA_INPUTS_DOCSTRING, LLAMA_START_DOCSTRING
from transformers.utils import add_start_docstrings, add_start_docstrings_to_model_forward


class HubConfig(PretrainedConfig):
    model_type = "headsmith_hub_like"
    keys_to_ignore_at_inference = ("past_key_values",)

    def __init__(self, vocab_size=31, hidden_size=16, num_hidden_layers=2, num_heads=4, **kwargs):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_heads = num_heads
        self.use_cache = True
        kwargs.setdefault("tie_word_embeddings", False)
        super().__init__(**kwargs)


class HubAttention(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.layer_idx = layer_idx
        self.heads = config.num_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.out = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden, attention_mask, past_key_value=None):
        batch, count, width = hidden.shape
        states = self.qkv(hidden).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = states
        length = key.shape[-2]
        if past_key_value is not None:
            length += past_key_value.get_usable_length(length, self.layer_idx)
            key, value = past_key_value.update(key, value, self.layer_idx, {"sin": None})
        if key.shape[-2] != length:
            raise ValueError(f"{key.shape[-2]} keys, {length} expected")
        scores = query @ key.transpose(-1, -2) / key.shape[-1] ** 0.5
        if attention_mask is not None:
            scores = scores + attention_mask
        mixed = scores.softmax(-1) @ value
        return self.out(mixed.transpose(1, 2).reshape(batch, count, width)), past_key_value


class HubBlock(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size)
        self.attention = HubAttention(config, layer_idx)

    def forward(self, hidden, attention_mask, past_key_value=None):
        mixed, past_key_value = self.attention(self.norm(hidden), attention_mask, past_key_value)
        return hidden + mixed, past_key_value


@add_start_docstrings("Bare.", LLAMA_START_DOCSTRING)
class HubPreTrainedModel(PreTrainedModel):
    config_class = HubConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ("HubBlock",)
    _skip_keys_device_placement = "past_key_values"
    _supports_cache_class = True

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.data.normal_(0.0, 0.3)

    def _set_gradient_checkpointing(self, module, value=False):
        if isinstance(module, HubModel):
            module.gradient_checkpointing = value


class HubModel(HubPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.places = nn.Embedding(64, config.hidden_size)
        self.layers = nn.ModuleList([HubBlock(config, i) for i in range(config.num_hidden_layers)])
        self.gradient_checkpointing = False
        self.checkpointed = 0
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    @add_start_docstrings_to_model_forward(LLAMA_INPUTS_DOCSTRING)
    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
        inputs_embeds=None, use_cache=None, return_dict=None,
    ):  # fmt: skip
        use_cache = use_cache if use_cache is not None else self.config.use_cache
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict
        if inputs_embeds is None:
            inputs_embeds = self.embed(input_ids)
        batch, count = inputs_embeds.shape[:2]
        past_length = 0
        if use_cache:
            legacy = not isinstance(past_key_values, Cache)
            if legacy:
                past_key_values = DynamicCache.from_legacy_cache(past_key_values)
            past_length = past_key_values.get_usable_length(count)
        if position_ids is None:
            position_ids = torch.arange(past_length, past_length + count)[None]
        hidden = inputs_embeds + self.places(position_ids)
        mask = _prepare_4d_causal_attention_mask(
            attention_mask, (batch, count), inputs_embeds, past_length
        )
        for layer in self.layers:
            if self.gradient_checkpointing and self.training:
                self.checkpointed += 1
                hidden, _ = torch.utils.checkpoint.checkpoint(
                    layer, hidden, mask, None, use_reentrant=False
                )
            else:
                hidden, _ = layer(hidden, mask, past_key_values if use_cache else None)
        next_cache = None
        if use_cache:
            next_cache = past_key_values.to_legacy_cache() if legacy else past_key_values
        if not return_dict:
            return tuple(v for v in (hidden, next_cache) if v is not None)
        return BaseModelOutputWithPast(last_hidden_state=hidden, past_key_values=next_cache)


class HubForCausalLM(HubPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.model = HubModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.model.embed

    def get_output_embeddings(self):
        return self.lm_head

    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
        inputs_embeds=None, use_cache=None, labels=None, return_dict=None,
    ):  # fmt: skip
        out = self.model(
            input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache,
            return_dict=True,
        )  # fmt: skip
        return CausalLMOutputWithPast(
            logits=self.lm_head(out.last_hidden_state), past_key_values=out.past_key_values
        )

    def prepare_inputs_for_generation(
        self, input_ids, past_key_values=None, attention_mask=None, inputs_embeds=None, **kwargs
    ):
        if past_key_values is not None:
            if isinstance(past_key_values, Cache):
                cache_length = past_key_values.get_seq_length()
                past_length = past_key_values.seen_tokens
                limit = past_key_values.get_max_cache_shape()
            else:
                cache_length = past_length = past_key_values[0][0].shape[2]
                limit = None
            if attention_mask is not None and attention_mask.shape[1] > input_ids.shape[1]:
                input_ids = input_ids[:, -(attention_mask.shape[1] - past_length) :]
            elif past_length < input_ids.shape[1]:
                input_ids = input_ids[:, past_length:]
            if limit is not None and cache_length + input_ids.shape[1] > limit:
                attention_mask = attention_mask[:, -limit:]
        position_ids = kwargs.get("position_ids")
        if attention_mask is not None and position_ids is None:
            position_ids = attention_mask.long().cumsum(-1) - 1
            position_ids.masked_fill_(attention_mask == 0, 1)
            if past_key_values:
                position_ids = position_ids[:, -input_ids.shape[1] :]
        if inputs_embeds is not None and past_key_values is None:
            model_inputs = {"inputs_embeds": inputs_embeds}
        else:
            model_inputs = {"input_ids": input_ids}
        model_inputs.update(
            {
                "position_ids": position_ids,
                "past_key_values": past_key_values,
                "use_cache": kwargs.get("use_cache"),
                "attention_mask": attention_mask,
            }
        )
        return model_inputs

    @staticmethod
    def _reorder_cache(past_key_values, beam_idx):
        return tuple(
            tuple(state.index_select(0, beam_idx) for state in layer) for layer in past_key_values
        )


class HubForCausalLMWithPlaces(HubForCausalLM):
    """As of 4.46: told the places of the tokens to be read."""

    def prepare_inputs_for_generation(
        self, input_ids, past_key_values=None, attention_mask=None, inputs_embeds=None,
        cache_position=None, position_ids=None, use_cache=True, **kwargs,
    ):  # fmt: skip
        if past_key_values is not None:
            if inputs_embeds is not None:
                input_ids = input_ids[:, -cache_position.shape[0] :]
            elif input_ids.shape[1] != cache_position.shape[0]:
                input_ids = input_ids[:, cache_position]
        position_ids = attention_mask.long().cumsum(-1) - 1
        position_ids = position_ids.masked_fill(attention_mask == 0, 1)
        if past_key_values:
            position_ids = position_ids[:, -input_ids.shape[1] :]
        if inputs_embeds is not None and cache_position[0] == 0:
            model_inputs = {"inputs_embeds": inputs_embeds}
        else:
            model_inputs = {"input_ids": input_ids.clone()}
        return {
            **model_inputs,
            "position_ids": position_ids,
            "past_key_values": past_key_values,
            "use_cache": use_cache,
            "attention_mask": attention_mask,
        }

    def _update_model_kwargs_for_generation(
        self, outputs, model_kwargs, is_encoder_decoder=False, standardize_cache_format=False
    ):
        model_kwargs["past_key_values"] = self._extract_past_from_model_output(
            outputs, standardize_cache_format=standardize_cache_format
        )
        mask = model_kwargs["attention_mask"]
        model_kwargs["attention_mask"] = torch.cat([mask, mask.new_ones((mask.shape[0], 1))], -1)
        return model_kwargs
