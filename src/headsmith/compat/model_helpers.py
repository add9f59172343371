"""Functions that many model modules of Transformers 4.34 had, each a copy of its own.

They are written once here, with the results of 4.34; `restore` answers for every copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "boolean_causal_mask",
    "causal_mask",
    "create_position_ids_from_input_ids",
    "drop_path",
    "expand_boolean_mask",
    "expand_boolean_mask_of_falcon",
    "expand_mask",
    "get_unpad_data",
]


def causal_mask(
    input_ids_shape: Sequence[int],
    dtype: torch.dtype,
    device: torch.device | str | None = None,
    past_key_values_length: int = 0,
) -> Tensor:
    """What is added to scores so that no token sees a later one (`_make_causal_mask`).

    Args:
        input_ids_shape: (batch, to).
        dtype: of the answer.
        device: where it is made; the CPU if None.
        past_key_values_length: how many cached tokens come before, all of them seen.

    Returns:
        (batch, 1, to, cached + to): 0 where seen, else the dtype's minimum.

    Example:
        >>> import torch
        >>> from headsmith.compat.model_helpers import causal_mask
        >>> (causal_mask((1, 2), torch.float32, past_key_values_length=1) < 0).tolist()
        [[[[False, False, True], [False, False, False]]]]
    """
    hidden = boolean_causal_mask(input_ids_shape, device, past_key_values_length)
    zeros = torch.zeros((), dtype=dtype, device=hidden.device)
    return torch.where(hidden, torch.finfo(dtype).min, zeros).to(dtype)


def boolean_causal_mask(
    input_ids_shape: Sequence[int],
    device: torch.device | str | None = None,
    past_key_values_length: int = 0,
) -> Tensor:
    """The `_make_causal_mask` of BLOOM, Falcon and MPT: as `causal_mask`, True where hidden."""
    batch, count = input_ids_shape
    hidden = torch.ones(count, count + past_key_values_length, dtype=torch.bool, device=device)
    hidden = hidden.triu(diagonal=past_key_values_length + 1)
    return hidden[None, None].expand(batch, 1, -1, -1)


def expand_mask(
    mask: Tensor,
    dtype: torch.dtype,
    tgt_len: int | None = None,
    *,
    target_len: int | None = None,
) -> Tensor:
    """What is added to scores so that padding is not seen (`_expand_mask`).

    Args:
        mask: (batch, from); 1 is seen, 0 is not.
        dtype: of the answer.
        tgt_len: how many tokens look; as many as the mask has if None.
        target_len: what the detection models called it.

    Returns:
        (batch, 1, to, from): 0 where seen, else the dtype's minimum.
    """
    batch, length = mask.shape
    wanted = tgt_len if tgt_len is not None else target_len
    inverted = 1.0 - mask[:, None, None, :].expand(
        batch, 1, length if wanted is None else wanted, length
    ).to(dtype)
    return inverted.masked_fill(inverted.to(torch.bool), torch.finfo(dtype).min)


def expand_boolean_mask(mask: Tensor, tgt_length: int | None = None) -> Tensor:
    """The `_expand_mask` of BLOOM and MPT: as `expand_mask`, True where hidden."""
    batch, length = mask.shape
    count = tgt_length if tgt_length is not None else length
    return (~mask[:, None, None, :].to(torch.bool)).expand(batch, 1, count, length)


def expand_boolean_mask_of_falcon(
    mask: Tensor, past_key_values_length: int | None = None
) -> Tensor:
    """The `_expand_mask` of Falcon: told how many tokens are cached, not how many look."""
    return expand_boolean_mask(mask, mask.shape[1] - (past_key_values_length or 0))


def create_position_ids_from_input_ids(
    input_ids: Tensor, padding_idx: int, past_key_values_length: int = 0
) -> Tensor:
    """Positions from `padding_idx + 1` on; padding has `padding_idx`.

    Args:
        input_ids: (batch, tokens).
        padding_idx: the padding token, and the position it has.
        past_key_values_length: how many tokens came before.

    Example:
        >>> import torch
        >>> from headsmith.compat.model_helpers import create_position_ids_from_input_ids
        >>> create_position_ids_from_input_ids(torch.tensor([[5, 6, 1]]), 1).tolist()
        [[2, 3, 1]]
    """
    kept = input_ids.ne(padding_idx).int()
    counted = (kept.cumsum(dim=1).type_as(kept) + past_key_values_length) * kept
    return counted.long() + padding_idx


def drop_path(input: Tensor, drop_prob: float = 0.0, training: bool = False) -> Tensor:  # noqa: A002
    """Stochastic depth: drop whole samples and scale up the others.

    Args:
        input: (batch, …).
        drop_prob: how likely a sample is dropped.
        training: nothing is dropped if False.
    """
    if drop_prob == 0.0 or not training:
        return input
    keep = 1 - drop_prob
    shape = (input.shape[0],) + (1,) * (input.ndim - 1)
    kept = (keep + torch.rand(shape, dtype=input.dtype, device=input.device)).floor_()
    return input.div(keep) * kept


def get_unpad_data(padding_mask: Tensor) -> tuple[Tensor, Tensor, int]:
    """Where the tokens are that are no padding (`_get_unpad_data`).

    Args:
        padding_mask: (batch, tokens); 1 is a token.

    Returns:
        Indices into the flat batch, where each sequence begins and the last one ends (int32),
        and the longest length.
    """
    lengths = padding_mask.sum(dim=-1, dtype=torch.int32)
    indices = torch.nonzero(padding_mask.flatten(), as_tuple=False).flatten()
    ends = torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
    return indices, ends, int(lengths.max())
