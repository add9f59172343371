"""T5 and mT5: an encoder and a decoder that attends to it; gated or plain feed-forward blocks.

The first layer of each stack has a table of relative positions with one column a head, and
hands the bias made of it to all later layers. So that layers can lose different heads, the
table stays whole, each layer takes the part of the bias that is its own, and hands on all.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import Tensor

from headsmith.pruning.families.narrow import keep_bias_heads
from headsmith.pruning.families.stack import Family, LayerStack, Reader, Site
from headsmith.pruning.no_heads import count_in_cache

__all__ = ["T5"]


class SharedBias:
    """T5's attention with heads missing.

    Attributes:
        bias_heads: which of the heads in the shared bias are left; may be none.
    """

    bias_heads: tuple[int, ...]

    def compute_bias(self, *args: Any, **kwargs: Any) -> Tensor:
        """The bias of the heads that are left, (1, heads, queries, keys)."""
        whole: Tensor = super().compute_bias(*args, **kwargs)  # type: ignore[misc]
        return whole[:, list(self.bias_heads)]

    def forward(
        self,
        hidden_states: Tensor,
        mask: Tensor | None = None,
        key_value_states: Tensor | None = None,
        position_bias: Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """As T5's, with a `position_bias` for all heads that there once were, in and out."""
        past: Any = 0
        own = position_bias
        if position_bias is not None and position_bias.shape[1] > 1:
            own = position_bias[:, list(self.bias_heads)]
        if past_key_values is not None and key_value_states is None:
            past = past_key_values.get_seq_length(self.layer_idx)  # type: ignore[attr-defined]
            past = past.clone() if isinstance(past, Tensor) else past
        if self.bias_heads:
            output, own, *more = super().forward(  # type: ignore[misc]
                hidden_states,
                mask=mask,
                key_value_states=key_value_states,
                position_bias=own,
                past_key_values=past_key_values,
                **kwargs,
            )
            keys = own.shape[-1]
        else:
            output = self.o(hidden_states.new_zeros(*hidden_states.shape[:-1], 0))  # type: ignore[attr-defined]
            more = [None]
            if key_value_states is not None:
                keys = key_value_states.shape[1]
            else:
                keys = count_in_cache(
                    hidden_states,
                    past_key_values,
                    self.layer_idx,  # type: ignore[attr-defined]
                    kwargs.get("cache_position"),
                )
        if position_bias is None:
            position_bias = self._first_bias(hidden_states, keys, past)
            if mask is not None and _hands_on_masks(super().forward):  # type: ignore[misc]
                position_bias = position_bias + mask[..., :keys]
        return output, position_bias, *more

    def _first_bias(self, hidden_states: Tensor, keys: int, past: Any) -> Tensor:
        """What a stack's first layer hands on; zeros serve any number of heads."""
        queries = hidden_states.shape[1]
        if not self.has_relative_attention_bias:  # type: ignore[attr-defined]
            return hidden_states.new_zeros(1, 1, queries, keys)
        device, its_own = hidden_states.device, super().compute_bias  # type: ignore[misc]
        if "past_seen_tokens" in inspect.signature(its_own).parameters:
            whole: Tensor = its_own(queries, keys, device=device, past_seen_tokens=past)
        else:  # Transformers 5.0 is told all positions
            places = torch.arange(past, past + queries, device=device)
            whole = its_own(queries, keys, device=device, cache_position=places)
        return whole


def _hands_on_masks(forward: Any) -> bool:
    """Whether T5's attention adds the mask to the bias, and later layers have it from there.

    So until Transformers 5.14; since then each layer adds it to its own scores.
    """
    return "causal_mask" in inspect.unwrap(forward).__code__.co_varnames


def _attention(layer: int, name: str, *, cross: bool = False) -> Site:
    path = f"layer.{layer}.{name}"
    return Site(
        name=path,
        readers=(Reader(f"{path}.q"), Reader(f"{path}.k"), Reader(f"{path}.v")),
        writer=f"{path}.o",
        residual=f"layer.{layer}.layer_norm",
        attributes={f"{path}.n_heads": "count", f"{path}.inner_dim": "features"},
        head_size=f"{path}.key_value_proj_dim",
        cross=cross,
        settle=functools.partial(keep_bias_heads, extra=SharedBias),
    )


def _feed_forward(layer: int) -> Site:
    path = f"layer.{layer}.DenseReluDense"
    return Site(
        name=path,
        readers=tuple(Reader(f"{path}.{up}", optional=True) for up in ("wi", "wi_0", "wi_1")),
        writer=f"{path}.wo",
        residual=f"layer.{layer}.layer_norm",
    )


T5 = Family(
    model_types=("t5", "mt5"),
    stacks=(
        LayerStack(
            layers="encoder.block",
            sites=(_attention(0, "SelfAttention"), _feed_forward(1)),
        ),
        LayerStack(
            layers="decoder.block",
            sites=(
                _attention(0, "SelfAttention"),
                _attention(1, "EncDecAttention", cross=True),
                _feed_forward(2),
            ),
            tokens="decoder",
        ),
    ),
)
