"""NoHeads: what stands where attention stood when no head is left."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

__all__ = ["NoHeads"]


class NoHeads(nn.Module):
    """Attention without heads: features of width 0, or what the output projection makes of them.

    Args:
        writer: the output projection with 0 input features, where it belongs to the module
            that is replaced; its bias is then all that is left of the block. None where the
            projection stands elsewhere.
        writer_name: the attribute it is kept under, so that its weights keep their names.
        layer_idx: the layer's place in the key-value cache, where the model has one.

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
    ) -> None:
        super().__init__()
        self.writer_name = writer_name
        self.layer_idx = layer_idx
        if writer is not None:
            self.add_module(writer_name, writer)

    def forward(
        self, hidden_states: Tensor, *args: Any, past_key_values: Any = None, **kwargs: Any
    ) -> tuple[Tensor, None]:
        """Take what attention takes; give (batch, seq, 0), or (batch, seq, hidden) with a writer.

        The second member stands for the attention weights, of which there are none.
        """
        if past_key_values is not None and self.layer_idx is not None:
            # The cache tells the length of what it holds by its tensors, often those of the
            # first layer: without an entry here, generation would lose count.
            cache = getattr(past_key_values, "self_attention_cache", past_key_values)
            marker = hidden_states.new_zeros(hidden_states.shape[0], 1, hidden_states.shape[1], 1)
            cache.update(marker, marker, self.layer_idx)
        empty = hidden_states.new_zeros(*hidden_states.shape[:-1], 0)
        if self.writer_name:
            return self.get_submodule(self.writer_name)(empty), None
        return empty, None
