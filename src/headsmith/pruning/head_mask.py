"""head_mask: the argument that models of Transformers 4 took, for models that do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from headsmith.errors import PlanError
from headsmith.pruning.families import Block, describe
from headsmith.pruning.masks import masked
from headsmith.pruning.surgery import self_attention

__all__ = ["head_mask"]


@contextmanager
def head_mask(model: nn.Module, mask: Tensor | Sequence[Tensor | None] | None) -> Iterator[None]:
    """Scale attention heads while the context is open.

    Stands for the `head_mask` argument of Transformers 4, for every family known. A head's
    contribution is multiplied where it enters the output projection; 4.x multiplied its
    attention weights, which comes to the same.

    Args:
        model: a model of a known family, with or without a head on top; pruned or not.
        mask: (heads,) for all layers alike, (layers, heads), (layers, batch, heads) or five
            dimensions (layers, batch or 1, heads, 1, 1), as `get_head_mask` gives it; or a
            sequence with one of (heads,) or (batch, heads), or None, for each layer; or None for
            no mask. 1 keeps a head, 0 drops it, anything between scales it. Heads are those the
            layers have now. Gradients flow into it.

    Raises:
        PlanError: the mask does not fit the model.
        UnknownFamilyError: no family describes the model.

    Example:
        >>> import torch
        >>> from transformers import BertConfig, BertModel
        >>> from headsmith.pruning import head_mask
        >>> config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
        ...                     num_attention_heads=2, intermediate_size=16)
        >>> model = BertModel(config).eval()
        >>> with torch.no_grad(), head_mask(model, torch.tensor([1.0, 0.0])):
        ...     output = model(torch.tensor([[1, 2, 3]])).last_hidden_state
    """
    if mask is None:
        yield
        return
    blocks = list(self_attention(describe(model)).values())
    with masked(model, _by_block(blocks, mask)):
        yield


def _by_block(blocks: list[Block], mask: Tensor | Sequence[Tensor | None]) -> dict[str, Tensor]:
    if isinstance(mask, Tensor):
        if mask.ndim == 1:
            mask = mask.expand(len(blocks), -1)
        if mask.ndim == 5 and mask.shape[3:] == (1, 1):
            mask = mask[:, :, :, 0, 0]
        if mask.ndim not in (2, 3):
            raise PlanError(
                "A head mask is (heads,), (layers, heads), (layers, batch, heads) or (layers, "
                f"batch, heads, 1, 1). Received {tuple(mask.shape)}."
            )
    if len(mask) != len(blocks):
        raise PlanError(f"The model has {len(blocks)} layers; the head mask is for {len(mask)}.")
    found = {}
    for block, part in zip(blocks, mask, strict=True):
        if part is None:
            continue
        if part.ndim == 2 and part.shape[0] == 1:
            part = part[0]
        if not torch.is_floating_point(part):
            part = part.float()
        found[block.name] = part
    return found
