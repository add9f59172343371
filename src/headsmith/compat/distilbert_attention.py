"""DistilBERT's attention as it was in Transformers 4: states of three kinds, and heads to prune."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from headsmith.torch import find_pruneable_heads_and_indices, prune_linear_layer

__all__ = ["MultiHeadSelfAttention"]


class MultiHeadSelfAttention(nn.Module):
    """Attention with several heads; weights and attributes are called as in 4.34.

    Args:
        config: with `dim`, `n_heads` and `attention_dropout`.

    Raises:
        ValueError: `dim` cannot be divided by `n_heads`.

    Example:
        >>> import torch
        >>> from transformers import DistilBertConfig
        >>> from headsmith.compat.distilbert_attention import MultiHeadSelfAttention
        >>> attention = MultiHeadSelfAttention(DistilBertConfig(dim=8, n_heads=2))
        >>> states = torch.ones(1, 3, 8)
        >>> attention(states, states, states, mask=torch.ones(1, 3))[0].shape
        torch.Size([1, 3, 8])
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        if config.dim % config.n_heads:
            raise ValueError(
                f"Expected a dim that n_heads divides. Received dim={config.dim} and "
                f"n_heads={config.n_heads}."
            )
        self.n_heads: int = config.n_heads
        self.dim: int = config.dim
        self.dropout = nn.Dropout(config.attention_dropout)
        self.q_lin = nn.Linear(config.dim, config.dim)
        self.k_lin = nn.Linear(config.dim, config.dim)
        self.v_lin = nn.Linear(config.dim, config.dim)
        self.out_lin = nn.Linear(config.dim, config.dim)
        self.pruned_heads: set[int] = set()
        self.attention_head_size: int = config.dim // config.n_heads

    def prune_heads(self, heads: Iterable[int]) -> None:
        """Remove heads, told by the number they had at first.

        Args:
            heads: their numbers; those that are gone already are passed over.
        """
        going, kept = find_pruneable_heads_and_indices(
            list(heads), self.n_heads, self.attention_head_size, self.pruned_heads
        )
        if not going:
            return
        for name in ("q_lin", "k_lin", "v_lin"):
            setattr(self, name, prune_linear_layer(getattr(self, name), kept))
        self.out_lin = prune_linear_layer(self.out_lin, kept, dim=1)
        self.n_heads -= len(going)
        self.dim = self.n_heads * self.attention_head_size
        self.pruned_heads = self.pruned_heads | going

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor,
        head_mask: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, ...]:
        """Attend.

        Args:
            query: (batch, queries, dim).
            key: (batch, keys, dim).
            value: (batch, keys, dim).
            mask: (batch, keys); 0 where there is nothing to attend to.
            head_mask: what the weights are multiplied with, after dropout.
            output_attentions: whether to give the weights, too.

        Returns:
            States, (batch, queries, dim), and weights, (batch, heads, queries, keys), if asked.
        """
        q, k, v = (
            layer(states).unflatten(-1, (self.n_heads, self.attention_head_size)).transpose(1, 2)
            for layer, states in ((self.q_lin, query), (self.k_lin, key), (self.v_lin, value))
        )
        scores = torch.matmul(q / self.attention_head_size**0.5, k.transpose(-1, -2))
        hidden = (mask == 0).view(query.shape[0], 1, 1, key.shape[1])
        scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
        weights: Tensor = self.dropout(scores.softmax(-1))
        if head_mask is not None:
            weights = weights * head_mask
        states = self.out_lin(torch.matmul(weights, v).transpose(1, 2).flatten(-2))
        return (states, weights) if output_attentions else (states,)
