"""Attention that needs more than other shapes once heads are gone.

A module becomes an instance of a class derived from its own: it stays where it is, keeps its
weights and their names, and runs Transformers' own code with what that code cannot know.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from headsmith.pruning.families.stack import Block, find

__all__ = ["BiasHeads", "become", "keep_bias_heads"]


def become(module: nn.Module, extra: type) -> None:
    """Put a class before the module's own in its order of methods; once is enough."""
    if not isinstance(module, extra):
        own: Any = type(module)
        module.__class__ = _derived(extra, own)


@functools.cache
def _derived(extra: type, own: type) -> type:
    return type(f"{extra.__name__}{own.__name__}", (extra, own), {"__module__": __name__})


class BiasHeads:
    """Attention that is handed a bias for all the heads there once were.

    Attributes:
        bias_heads: which of these heads are left.
    """

    bias_heads: tuple[int, ...]

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Hand on the heads' own part of `position_bias`, (…, all heads, seq, seq)."""
        if position_bias is not None:
            position_bias = position_bias[:, list(self.bias_heads)]
        return super().forward(hidden_states, attention_mask, position_bias, **kwargs)  # type: ignore[misc]


def keep_bias_heads(
    layer: nn.Module, block: Block, kept: Sequence[int], *, extra: type = BiasHeads
) -> None:
    """After a cut: the block's attention, the module its writer is in, takes its part of the bias.

    Args:
        layer: the layer that was cut.
        block: the block as it was.
        kept: the heads that stay.
        extra: the class that takes the part.
    """
    inside = block.site.writer.rpartition(".")[0]
    attention: Any = find(layer, inside)
    if not hasattr(attention, block_head_size(block)):
        return  # a stand-in: no heads are left
    earlier = getattr(attention, "bias_heads", range(block.count))
    become(attention, extra)
    attention.bias_heads = tuple(earlier[i] for i in kept)


def block_head_size(block: Block) -> str:
    """The name of the attribute that holds the features of one head."""
    return block.site.head_size.rpartition(".")[2]
