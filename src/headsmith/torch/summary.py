"""One vector for a whole sequence.

`SequenceSummary` of Transformers 4.34, with the attention pooling it announced and never had.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from headsmith.spec.configs import read_summary_config
from headsmith.torch.activations import get_activation
from headsmith.torch.eager import compute_dtype, no_autocast
from headsmith.torch.plain import is_plain

__all__ = [
    "AttentionPooling",
    "SequenceSummary",
    "attention_pool",
    "check_attention_mask",
    "last_token",
    "summarize",
]


def last_token(attention_mask: Tensor) -> Tensor:
    """Give the index of the last token, per row, wherever the padding is.

    Args:
        attention_mask: Tensor (..., seq), non-zero = a token.

    Returns:
        int64 tensor (...,); seq - 1 in a row without tokens.

    Example:
        >>> import torch
        >>> last_token(torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 0]])).tolist()
        [1, 2, 2]
    """
    length = attention_mask.shape[-1]
    return length - 1 - (attention_mask != 0).flip(-1).int().argmax(-1)


def check_attention_mask(attention_mask: Tensor, hidden_states: Tensor) -> None:
    """Refuse a mask that does not tell of each position whether it is a token.

    Args:
        attention_mask: Tensor (..., seq).
        hidden_states: Tensor (..., seq, H).

    Raises:
        ValueError: The shapes do not fit.

    Example:
        >>> import torch
        >>> check_attention_mask(torch.ones(2, 5), torch.ones(2, 5, 8))
    """
    if attention_mask.shape != hidden_states.shape[:-1]:
        raise ValueError(
            "Expected an `attention_mask` of shape (..., seq) beside hidden states "
            f"(..., seq, hidden). Received: {tuple(attention_mask.shape)} beside "
            f"{tuple(hidden_states.shape)}."
        )


def _pick(hidden_states: Tensor, index: Tensor) -> Tensor:
    """Take hidden_states[..., index, :], with index of shape (...,) or broadcast to it."""
    lead = hidden_states.shape[:-2]
    wide = index.expand(lead)[..., None, None].expand(*lead, 1, hidden_states.shape[-1])
    return hidden_states.gather(-2, wide).squeeze(-2)


def summarize(
    hidden_states: Tensor,
    summary_type: str = "last",
    *,
    cls_index: Tensor | None = None,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Reduce the sequence dimension to one vector, without parameters.

    Without a mask these are 4.34's results. It takes the last position for the last token, and
    the mean over padding too, so its answer changes with the padding; with `attention_mask`
    only tokens count, on whichever side the padding is.

    Args:
        hidden_states: Floating tensor (..., seq, H). Without a mask, "last", "first" and "mean"
            reduce dimension 1 as in 4.34, which is the sequence if there are three dimensions.
        summary_type: "last" (default), "first", "mean" or "cls_index".
        cls_index: int64 tensor (...,) or (..., 1) for "cls_index". Default: the last token.
        attention_mask: Bool, integer or float tensor (..., seq), non-zero = a token. Default:
            all are tokens. An example without tokens gives its last state, its first state or
            zeros ("mean").

    Returns:
        Tensor (..., H) in the dtype of `hidden_states`. Masked means are summed in float32.

    Raises:
        ValueError: An unknown type, or a mask whose shape does not fit.
        RuntimeError: An index is out of range.

    Example:
        >>> import torch
        >>> h = torch.tensor([[[1.0], [3.0], [100.0]]])
        >>> summarize(h, "mean", attention_mask=torch.tensor([[1, 1, 0]])).item()
        2.0
    """
    if attention_mask is not None:
        check_attention_mask(attention_mask, hidden_states)
    if summary_type == "last":
        if attention_mask is None:
            return hidden_states[:, -1]
        return _pick(hidden_states, last_token(attention_mask))
    if summary_type == "first":
        if attention_mask is None:
            return hidden_states[:, 0]
        return _pick(hidden_states, (attention_mask != 0).int().argmax(-1))
    if summary_type == "mean":
        if attention_mask is None:
            return hidden_states.mean(dim=1)
        return _masked_mean(hidden_states, attention_mask != 0)
    if summary_type == "cls_index":
        if cls_index is not None:
            if cls_index.ndim == hidden_states.ndim - 1 and cls_index.shape[-1] == 1:
                cls_index = cls_index.squeeze(-1)
            return _pick(hidden_states, cls_index)
        if attention_mask is not None:
            return _pick(hidden_states, last_token(attention_mask))
        return hidden_states[..., -1, :]
    raise ValueError(
        'Expected `summary_type` to be "last", "first", "mean" or "cls_index". '
        f"Received: {summary_type!r}."
    )


def _masked_mean(hidden_states: Tensor, keep: Tensor) -> Tensor:
    dtype = compute_dtype(hidden_states.dtype)
    # Filled and not multiplied: padding may hold infinities.
    kept = hidden_states.masked_fill(~keep.unsqueeze(-1), 0.0)
    total = kept.sum(dim=-2, dtype=dtype)
    return (total / keep.sum(dim=-1, keepdim=True).clamp(min=1)).to(hidden_states.dtype)


def attention_pool(
    hidden_states: Tensor,
    query: Tensor,
    key_weight: Tensor,
    value_weight: Tensor,
    value_bias: Tensor,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Let learned queries attend to a sequence: one vector per head, side by side.

    The queries do not depend on the input, so neither keys nor values are made for each token:
    `q . (K h) = (K^T q) . h`, and `sum p (V h + b) = V (sum p h) + b`. The cost is one number
    per token, head and hidden dimension, not hidden of them.

    Args:
        hidden_states: Floating tensor (..., seq, H).
        query: Tensor (heads, H / heads).
        key_weight: Tensor (H, H), rows in head order.
        value_weight: Tensor (H, H), rows in head order.
        value_bias: Tensor (H,).
        attention_mask: Tensor (..., seq), non-zero = a token. Default: all are. An example
            without tokens is pooled as one of zeros.

    Returns:
        Tensor (..., H) in the dtype of `hidden_states`, or autocast's. The softmax is computed
        in float32 or above.

    Example:
        >>> import torch
        >>> eye = torch.eye(4)
        >>> attention_pool(torch.ones(2, 5, 4), torch.zeros(2, 2), eye, eye, torch.zeros(4)).shape
        torch.Size([2, 4])
    """
    heads, size = query.shape
    wide = (query.unsqueeze(1) @ key_weight.view(heads, size, -1)).squeeze(1)
    if attention_mask is not None:
        hidden_states = hidden_states.masked_fill((attention_mask == 0).unsqueeze(-1), 0.0)
    scores = torch.nn.functional.linear(hidden_states, wide).transpose(-1, -2)
    with no_autocast(hidden_states):
        probs = _attention(scores, size, attention_mask).to(hidden_states.dtype)
        pooled = probs @ hidden_states  # (..., heads, H)
    per_head = value_weight.view(heads, size, -1)
    mixed = (per_head @ pooled.unsqueeze(-1)).squeeze(-1).flatten(-2)
    return mixed + value_bias.to(mixed.dtype)


def _attention(scores: Tensor, size: int, attention_mask: Tensor | None) -> Tensor:
    """Give the probabilities (..., heads, seq), in float32 or above, of heads `size` wide."""
    scores = scores.to(compute_dtype(scores.dtype)) / math.sqrt(size)
    if attention_mask is not None:
        scores = scores.masked_fill((attention_mask == 0).unsqueeze(-2), -1e30)
    return scores.softmax(-1)


class AttentionPooling(nn.Module):
    """Pool a sequence by multi-head attention with a learned query.

    What `summary_type="attn"` of Transformers announces: XLNet's `summarize_sequence`
    (Yang et al. 2019, https://github.com/zihangdai/xlnet/blob/master/modeling.py), a learned
    vector attending to the tokens; also the "pooling by multi-head attention" of Lee et al.
    2019 (https://arxiv.org/abs/1810.00825) with one seed.

    If `key` or `value` was replaced (adapters, quantised layers) or carries hooks, they are
    called, which makes a key and a value for each token.

    Args:
        hidden_size: Width of the hidden states.
        num_heads: Number of heads; divides `hidden_size`.

    Attributes:
        query: Parameter (num_heads, hidden_size / num_heads), at first normal (0, 0.02).
        key: Linear without bias; a bias of the keys would cancel in the softmax.
        value: Linear.
        output: Linear.

    Example:
        >>> import torch
        >>> AttentionPooling(8, 2)(torch.ones(3, 5, 8)).shape
        torch.Size([3, 8])
    """

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        if num_heads < 1 or hidden_size % num_heads:
            raise ValueError(
                "Expected a number of heads that divides the hidden size. "
                f"Received: {num_heads} and {hidden_size}."
            )
        self.query = nn.Parameter(torch.empty(num_heads, hidden_size // num_heads))
        self.key = nn.Linear(hidden_size, hidden_size, bias=False)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)
        nn.init.normal_(self.query, std=0.02)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Map (..., seq, H) to (..., H); see `attention_pool`."""
        if not (is_plain(self.key, nn.Linear) and is_plain(self.value, nn.Linear)):
            return self._called(hidden_states, attention_mask)
        pooled = attention_pool(
            hidden_states,
            self.query,
            self.key.weight,
            self.value.weight,
            self.value.bias,
            attention_mask,
        )
        result: Tensor = self.output(pooled)
        return result

    def _called(self, hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
        if attention_mask is not None:
            hidden_states = hidden_states.masked_fill((attention_mask == 0).unsqueeze(-1), 0.0)
        heads, size = self.query.shape
        keys = self.key(hidden_states).unflatten(-1, (heads, size))
        values = self.value(hidden_states).unflatten(-1, (heads, size))
        scores = (keys * self.query).sum(-1).transpose(-1, -2)
        probs = _attention(scores, size, attention_mask).to(values.dtype)
        pooled = (probs.unsqueeze(-2) @ values.transpose(-3, -2)).flatten(-3)
        result: Tensor = self.output(pooled)
        return result


class SequenceSummary(nn.Module):
    """One vector for a sequence: pick or pool, then dropout, projection, activation, dropout.

    As in Transformers 4.34. Mended: `attention_mask`; "attn" works; an unknown summary type is
    refused at once; `cls_index` may be (batch, 1).

    Args:
        config: Any object; every field may be missing.

            - summary_type: "last" (default), "first", "mean", "cls_index" or "attn".
            - summary_use_proj: whether to project, to `num_labels` values if
              `summary_proj_to_labels` is set and there are labels, else to `hidden_size`.
            - summary_activation: a name of `headsmith.torch.activations`, or none.
            - summary_first_dropout, summary_last_dropout: probabilities in [0, 1].
            - summary_num_heads: heads of "attn" (default: `num_attention_heads`, or 1).

    Attributes:
        summary: The projection, a Linear, or Identity.
        attention: The `AttentionPooling` of "attn"; absent otherwise.

    Raises:
        AttributeError: `hidden_size` or `num_labels` is needed and missing.
        KeyError: An unknown activation.
        ValueError: An unknown summary type, or a field out of its range.

    Example:
        >>> import torch
        >>> from headsmith.spec.configs import SummaryConfig
        >>> config = SummaryConfig(hidden_size=8, summary_type="mean", summary_use_proj=True)
        >>> SequenceSummary(config)(torch.ones(2, 5, 8)).shape
        torch.Size([2, 8])
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        checked = read_summary_config(config)
        self.summary_type = checked.summary_type
        size = checked.hidden_size
        self.summary: nn.Module = nn.Identity()
        if checked.summary_use_proj and size is not None:
            self.summary = nn.Linear(size, checked.num_labels or size)
        name = checked.summary_activation
        self.activation: nn.Module = get_activation(name) if name else nn.Identity()
        self.first_dropout = _dropout(checked.summary_first_dropout)
        self.last_dropout = _dropout(checked.summary_last_dropout)
        if checked.summary_type == "attn" and size is not None:
            self.attention = AttentionPooling(size, checked.summary_num_heads or 1)

    def forward(
        self,
        hidden_states: Tensor,
        cls_index: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Summarise.

        Args:
            hidden_states: Floating tensor (batch, seq, H), or (batch, ..., seq, H).
            cls_index: int64 tensor (batch,) or (batch, ...) for "cls_index". Default: the last
                token.
            attention_mask: Tensor (batch, ..., seq), non-zero = a token. Default: all are, and
                the results are those of 4.34.

        Returns:
            Tensor (batch, ..., H or num_labels).

        Raises:
            ValueError: The mask does not fit.
            RuntimeError: An index is out of range.
        """
        if self.summary_type == "attn":
            output = self.attention(hidden_states, attention_mask)
        else:
            output = summarize(
                hidden_states,
                self.summary_type,
                cls_index=cls_index,
                attention_mask=attention_mask,
            )
        output = self.summary(self.first_dropout(output))
        result: Tensor = self.last_dropout(self.activation(output))
        return result


def _dropout(probability: float) -> nn.Module:
    return nn.Dropout(probability) if probability > 0 else nn.Identity()
