"""Methods of model classes that Transformers 5 dropped, as 4.34 had them.

Each is written as a function with `self` first; `classes.py` puts those that are absent back on
the base classes. Mended: the third argument of `get_extended_attention_mask` may be a device or
a dtype, a config without `is_decoder` is an encoder's, and heads named by strings (JSON) are
heads.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["MODULE_METHODS", "PRETRAINED_METHODS", "heads_by_layer"]

_logger = logging.getLogger(__name__)


def invert_attention_mask(self: Any, encoder_attention_mask: Tensor) -> Tensor:
    """Turn a mask of ones and zeros into what is added to scores.

    Args:
        self: the model, whose dtype the answer has.
        encoder_attention_mask: (batch, to) or (batch, from, to); 1 attends, 0 does not.

    Returns:
        (batch, 1, 1, to) or (batch, 1, from, to): 0 where attended, else the dtype's minimum.

    Raises:
        ValueError: the mask has another number of dimensions.
    """
    return _as_bias(_per_head(encoder_attention_mask), self.dtype)


def create_extended_attention_mask_for_decoder(
    input_shape: Sequence[int], attention_mask: Tensor, device: torch.device | None = None
) -> Tensor:
    """Join a causal mask with a padding mask.

    Args:
        input_shape: (batch, from).
        attention_mask: (batch, to), `to` ≥ `from` when keys are cached.
        device: where the causal mask is made; the padding mask's device if None.

    Returns:
        (batch, 1, from, to) in the dtype of `attention_mask`: 1 attends.
    """
    device = attention_mask.device if device is None else device
    batch, queries = input_shape
    cached = max(attention_mask.shape[1] - queries, 0)
    place = torch.arange(queries, device=device)
    causal = torch.arange(queries + cached, device=device) <= place[:, None] + cached
    causal = causal.to(attention_mask.dtype).expand(batch, -1, -1)
    return causal[:, None, :, :] * attention_mask[:, None, None, :]


def get_extended_attention_mask(
    self: Any,
    attention_mask: Tensor,
    input_shape: Sequence[int],
    device: torch.device | torch.dtype | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Make a mask that can be added to attention scores, causal for a decoder.

    Args:
        self: the model; `config.is_decoder` makes a two-dimensional mask causal.
        attention_mask: (batch, to) or (batch, from, to); 1 attends, 0 does not.
        input_shape: (batch, from).
        device: a device (4.x) or a dtype (late 4.x took it third), or None.
        dtype: of the answer; the model's if None.

    Returns:
        (batch, 1, 1 or from, to): 0 where attended, else the dtype's minimum.

    Raises:
        ValueError: the mask has neither two nor three dimensions.
    """
    if isinstance(device, torch.dtype):
        device, dtype = None, device
    dtype = self.dtype if dtype is None else dtype
    if attention_mask.dim() == 2 and getattr(self.config, "is_decoder", False):
        place = None if device is None else torch.device(device)
        extended = create_extended_attention_mask_for_decoder(input_shape, attention_mask, place)
    else:
        extended = _per_head(attention_mask)
    return _as_bias(extended, dtype)


def get_head_mask(
    self: Any,
    head_mask: Tensor | None,
    num_hidden_layers: int,
    is_attention_chunked: bool = False,
) -> Any:
    """Give each layer its head mask.

    Args:
        self: the model, whose dtype the answer has.
        head_mask: (heads,) for all layers alike, (layers, heads), five dimensions as they are
            wanted, or None; 1 keeps a head, 0 drops it.
        num_hidden_layers: how many layers there are.
        is_attention_chunked: add a last dimension, for attention in chunks.

    Returns:
        (layers, 1, heads, 1, 1), or `[None] * num_hidden_layers`.

    Raises:
        ValueError: the mask has another number of dimensions.
    """
    if head_mask is None:
        return [None] * num_hidden_layers
    head_mask = self._convert_head_mask_to_5d(head_mask, num_hidden_layers)
    return head_mask.unsqueeze(-1) if is_attention_chunked else head_mask


def _convert_head_mask_to_5d(self: Any, head_mask: Tensor, num_hidden_layers: int) -> Tensor:
    """Give a head mask the shape (layers, batch, heads, from, to), ones where it is shared."""
    if head_mask.dim() == 1:
        head_mask = head_mask.expand(num_hidden_layers, -1)
    if head_mask.dim() == 2:
        head_mask = head_mask[:, None, :, None, None]
    if head_mask.dim() != 5:
        raise ValueError(
            "Expected a head mask of shape (heads,), (layers, heads) or (layers, batch, heads, "
            f"from, to). Received: {tuple(head_mask.shape)}."
        )
    return head_mask.to(dtype=self.dtype)


def estimate_tokens(self: Any, input_dict: Mapping[str, Any]) -> int:
    """Count the elements of the model's main input; 0, and a warning once, if it is not there."""
    if self.main_input_name in input_dict:
        return int(input_dict[self.main_input_name].numel())
    issued = self.__dict__.setdefault("warnings_issued", {})
    if "estimate_tokens" not in issued:
        issued["estimate_tokens"] = True
        _logger.warning(
            "There is no %r among the inputs: floating-point operations cannot be counted.",
            self.main_input_name,
        )
    return 0


def floating_point_ops(
    self: Any, input_dict: Mapping[str, Any], exclude_embeddings: bool = True
) -> int:
    """Estimate the operations of one forward and backward pass: 6 × tokens × parameters."""
    parameters = self.num_parameters(exclude_embeddings=exclude_embeddings)
    return int(6 * self.estimate_tokens(input_dict) * parameters)


def prune_heads(self: Any, heads_to_prune: Mapping[Any, Iterable[int]]) -> None:
    """Remove attention heads, in place and for good.

    A model class with a `_prune_heads` of its own, as 4.x classes have it, prunes itself; the
    heads are then noted in `config.pruned_heads`. Any other goes to
    `headsmith.pruning.prune_heads`.

    Args:
        self: the model, with or without a head on top.
        heads_to_prune: layer → numbers of the heads, numbered as before any were pruned.

    Raises:
        UnknownFamilyError: the model cannot prune itself and no family describes it.
    """
    heads = heads_by_layer(heads_to_prune)
    if not hasattr(self.base_model, "_prune_heads"):
        from headsmith.pruning.prune_heads import prune_heads as prune_native

        prune_native(self, heads)
        return
    noted = heads_by_layer(getattr(self.config, "pruned_heads", None) or {})
    for layer, gone in heads.items():
        noted[layer] = sorted({*noted.get(layer, []), *gone})
    self.config.pruned_heads = noted
    self.base_model._prune_heads(heads)


def _tie_or_clone_weights(self: Any, output_embeddings: Any, input_embeddings: Any) -> None:
    """Let the output embeddings have the input embeddings' weight, or a clone for TorchScript."""
    weight = input_embeddings.weight
    if getattr(self.config, "torchscript", False):
        weight = nn.Parameter(weight.clone())
    output_embeddings.weight = weight
    bias = getattr(output_embeddings, "bias", None)
    if bias is not None:
        missing = weight.shape[0] - bias.shape[0]
        bias.data = nn.functional.pad(bias.data, (0, missing), "constant", 0)
    if hasattr(output_embeddings, "out_features") and hasattr(input_embeddings, "num_embeddings"):
        output_embeddings.out_features = input_embeddings.num_embeddings


MODULE_METHODS: dict[str, Any] = {
    "invert_attention_mask": invert_attention_mask,
    "create_extended_attention_mask_for_decoder": staticmethod(
        create_extended_attention_mask_for_decoder
    ),
    "get_extended_attention_mask": get_extended_attention_mask,
    "get_head_mask": get_head_mask,
    "_convert_head_mask_to_5d": _convert_head_mask_to_5d,
    "estimate_tokens": estimate_tokens,
    "floating_point_ops": floating_point_ops,
}
"""What 4.34 had on `ModuleUtilsMixin`."""

PRETRAINED_METHODS: dict[str, Any] = {
    "prune_heads": prune_heads,
    "_tie_or_clone_weights": _tie_or_clone_weights,
}
"""What 4.34 had on `PreTrainedModel`."""


def heads_by_layer(heads: Mapping[Any, Iterable[int]]) -> dict[int, list[int]]:
    """Layer → heads, with integers for the strings that JSON made of the layers.

    Example:
        >>> from headsmith.compat.methods import heads_by_layer
        >>> heads_by_layer({"0": [1, 2]})
        {0: [1, 2]}
    """
    return {int(layer): [int(head) for head in gone] for layer, gone in heads.items()}


def _per_head(mask: Tensor) -> Tensor:
    if mask.dim() == 3:
        return mask[:, None, :, :]
    if mask.dim() == 2:
        return mask[:, None, None, :]
    raise ValueError(
        "Expected an attention mask of shape (batch, to) or (batch, from, to). "
        f"Received: {tuple(mask.shape)}."
    )


def _as_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    return (1.0 - mask.to(dtype=dtype)) * torch.finfo(dtype).min
