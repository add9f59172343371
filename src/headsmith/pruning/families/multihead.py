"""`nn.MultiheadAttention`, opened: the same computation, with heads that can go.

torch computes it in one piece, its number of heads derived from the width of what it reads, and
never calls its output projection. An opened one calls its projections like any other model, so
that masks, statistics and cuts find them. Weights and their names stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["OpenAttention", "open_attention"]


class OpenAttention(nn.MultiheadAttention):
    """`nn.MultiheadAttention` computed from its projections; made by `open_attention`."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As torch's, arguments and results; of `is_causal` only the mask given with it counts.

        Raises:
            ValueError: `attn_mask` has a part for each head, and some heads are gone.
        """
        batched, first = query.ndim == 3, self.batch_first
        inputs = [query, key, value]
        if not batched:
            inputs = [x.unsqueeze(0) for x in inputs]
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not first:
            inputs = [x.transpose(0, 1) for x in inputs]
        features, weights = self._attend(
            inputs, self._mask(inputs, key_padding_mask, attn_mask), need_weights
        )
        output: Tensor = self.out_proj(features)
        if weights is not None and average_attn_weights:
            weights = weights.sum(1) / max(1, self.num_heads)
        if not batched:
            return output.squeeze(0), None if weights is None else weights.squeeze(0)
        return output if first else output.transpose(0, 1), weights

    def _attend(
        self, inputs: list[Tensor], mask: Tensor | None, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        matrices = torch.as_tensor(self.in_proj_weight).chunk(3)
        shifts = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        shape = (self.num_heads, self.head_dim)
        if not self.num_heads:
            weights = inputs[0].new_zeros(len(inputs[0]), 0, inputs[0].shape[1], inputs[1].shape[1])
            return inputs[0].new_zeros(*inputs[0].shape[:-1], 0), weights if need_weights else None
        query, key, value = (
            F.linear(x, matrix, shift).reshape(*x.shape[:-1], *shape).transpose(1, 2)
            for x, matrix, shift in zip(inputs, matrices, shifts, strict=True)
        )
        drop = self.dropout if self.training else 0.0
        if not need_weights:
            found = F.scaled_dot_product_attention(query, key, value, mask, dropout_p=drop)
            return found.transpose(1, 2).flatten(2), None
        scores = query @ key.transpose(-1, -2) / self.head_dim**0.5
        weights = F.dropout((scores if mask is None else scores + mask).softmax(-1), drop)
        return (weights @ value).transpose(1, 2).flatten(2), weights

    def _mask(
        self, inputs: list[Tensor], padding: Tensor | None, attention: Tensor | None
    ) -> Tensor | None:
        """Both masks as one to add to scores, (batch or 1, heads or 1, queries or 1, keys)."""
        batch = len(inputs[0])
        found = None
        if attention is not None:
            if attention.ndim == 3 and len(attention) != batch * self.num_heads:
                raise ValueError(
                    f"Expected attn_mask of shape (queries, keys), or with {self.num_heads} heads "
                    f"that are left for each of {batch} examples. Received: "
                    f"{tuple(attention.shape)}. Leave out the parts of the heads that are gone."
                )
            found = _to_add(attention, inputs[0])
            found = (
                found.reshape(batch, self.num_heads, *found.shape[1:]) if found.ndim == 3 else found
            )
        if padding is not None:
            by_key = _to_add(padding, inputs[0])[:, None, None]
            found = by_key if found is None else found + by_key
        return found


def _to_add(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))


def open_attention(model: nn.Module) -> int:
    """Make every `nn.MultiheadAttention` in a model one whose heads can be removed, in place.

    Results are the same but for rounding; weights, their names and the state dict do not change.
    torch's fused inference path of `nn.TransformerEncoderLayer` is not taken any more, nor are
    padded inputs packed for it.

    Args:
        model: any model.

    Returns:
        How many were opened.

    Raises:
        ValueError: one has separate widths for keys or values, `add_bias_kv` or
            `add_zero_attn`; nothing has been changed then.

    Example:
        >>> from torch import nn
        >>> from headsmith.pruning.families import describe, open_attention
        >>> layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        >>> model = nn.TransformerEncoder(layer, num_layers=1)
        >>> open_attention(model)
        1
        >>> [(b.name, b.count) for b in describe(model).blocks]
        [('layers.0.self_attn', 2), ('layers.0.linear1', 16)]
    """
    found = list(_closed(model))
    for path, module in found:
        if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
            raise ValueError(
                f"Expected an nn.MultiheadAttention with one width and no added keys at {path!r}. "
                "Received one with kdim, vdim, add_bias_kv or add_zero_attn: its heads cannot be "
                "removed."
            )
    for _, module in found:
        module.__class__ = OpenAttention
        module._qkv_same_embed_dim = False  # what torch's layers ask before they take a short cut
    for encoder in model.modules() if found else ():
        if isinstance(encoder, nn.TransformerEncoder):
            encoder.use_nested_tensor = False  # packs padded inputs for that short cut
    return len(found)


def _closed(model: nn.Module) -> Iterator[tuple[str, nn.MultiheadAttention]]:
    for path, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention) and not isinstance(module, OpenAttention):
            yield path, module
