"""NoHeads: what stands where attention stood when no head is left."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

__all__ = ["NoHeads", "count_in_cache"]


class NoHeads(nn.Module):
    """Attention without heads: features of width 0, or what the output projection makes of them.

    Args:
        writer: the output projection with 0 input features, where it belongs to the module
            that is replaced; its bias is then all that is left of the block. None where the
            projection stands elsewhere.
        writer_name: the attribute it is kept under, so that its weights keep their names.
        layer_idx: the layer's place in the key-value cache, where the model has one.
        cross: whether it stands for attention to another sequence, whose keys nobody counts.

    Example:
        >>> import torch
        >>> from headsmith.pruning.no_heads import NoHeads
        >>> output, weights = NoHeads()(torch.ones(2, 5, 8))
        >>> tuple(output.shape), weights
        ((2, 5, 0), None)
    """

    def __init__(
        self,
        writer: nn.Module | None = None,
        writer_name: str = "",
        layer_idx: int | None = None,
        *,
        cross: bool = False,
    ) -> None:
        super().__init__()
        self.cross = cross
        self.writer_name = writer_name
        self.layer_idx = layer_idx
        if writer is not None:
            self.add_module(writer_name, writer)

    def forward(
        self,
        hidden_states: Tensor,
        *args: Any,
        past_key_values: Any = None,
        layer_past: Any = None,
        cache_position: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """Take what attention takes; give (batch, seq, 0), or (batch, seq, hidden) with a writer.

        The second member stands for the attention weights, of which there are none.
        """
        cache = layer_past if past_key_values is None else past_key_values
        if not self.cross:
            count_in_cache(hidden_states, cache, self.layer_idx, cache_position)
        empty = hidden_states.new_zeros(*hidden_states.shape[:-1], 0)
        if self.writer_name:
            return self.get_submodule(self.writer_name)(empty), None
        return empty, None


def count_in_cache(
    hidden_states: Tensor, cache: Any, layer_idx: int | None, positions: Tensor | None = None
) -> int:
    """Let a key-value cache know of tokens that left it no keys; the number of keys with them.

    The cache tells the length of what it holds by its tensors, often those of the first layer:
    without an entry there, generation would lose count.

    Args:
        hidden_states: what attention would read, (batch, seq, hidden).
        cache: the cache, or None.
        layer_idx: the layer's place in it.
        positions: of the tokens, which Transformers before 5.4 hands to attention and cache.
    """
    length = hidden_states.shape[1]
    if cache is None or layer_idx is None:
        return length
    cache = getattr(cache, "self_attention_cache", cache)
    # Not zeros: static caches of early Transformers 5 count the keys that are none.
    marker = hidden_states.new_ones(hidden_states.shape[0], 1, length, 1)
    more = () if positions is None else ({"cache_position": positions},)
    keys, _ = cache.update(marker, marker, layer_idx, *more)
    return int(keys.shape[-2])
