"""Masks without touching the model: hooks that scale each head's or neuron's contribution.

A forward pre-hook on a block's output projection multiplies the slice of its input that a
head owns. This works on every family and needs no `head_mask` argument, which Transformers 5
does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from headsmith.errors import PlanError
from headsmith.pruning.families import describe
from headsmith.spec.plan import PrunePlan

__all__ = ["masked", "masks_of", "scaled"]


@contextmanager
def masked(model: nn.Module, masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Scale heads and neurons while the context is open.

    Args:
        model: a model of a known family.
        masks: block name → factors, (count,) for all examples alike or (batch, count) for
            each its own; 0 removes, 1 keeps. Gradients flow into them.

    Raises:
        PlanError: a name is not a block of this model, or a mask has another size.

    Example:
        >>> import torch
        >>> from transformers import BertConfig, BertModel
        >>> from headsmith.pruning import masked
        >>> config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
        ...                     num_attention_heads=2, intermediate_size=16)
        >>> model = BertModel(config).eval()
        >>> gone = {"encoder.layer.0.attention": torch.tensor([1.0, 0.0])}
        >>> with torch.no_grad(), masked(model, gone):
        ...     output = model(torch.tensor([[1, 2, 3]])).last_hidden_state
    """
    description = describe(model)
    blocks = {b.name: b for b in description.blocks}
    with ExitStack() as stack:
        for name, mask in masks.items():
            if name not in blocks:
                raise PlanError(
                    f"{name!r} is not a block of this model. Its blocks: {', '.join(blocks)}."
                )
            block = blocks[name]
            if mask.shape[-1] != block.count or mask.ndim not in (1, 2):
                raise PlanError(
                    f"{name}: a mask is ({block.count},) or (batch, {block.count}). "
                    f"Received {tuple(mask.shape)}."
                )
            stack.enter_context(
                scaled(description.base.get_submodule(block.writer), mask, block.width)
            )
        yield


@contextmanager
def scaled(writer: nn.Module, mask: Tensor, width: int) -> Iterator[None]:
    """Scale what one module reads, `width` features for each entry of `mask`."""
    handle = writer.register_forward_pre_hook(_scale_by(mask, width))
    try:
        yield
    finally:
        handle.remove()


def _scale_by(mask: Tensor, width: int) -> Any:
    def scale(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        features = args[0]
        factors = mask.to(features.device, features.dtype).repeat_interleave(width, dim=-1)
        if mask.ndim == 2:
            # Some models flatten (batch, seq, features) to rows before their feed-forward part.
            each = features.shape[:-1].numel() // max(1, len(mask))
            rows = features.reshape(len(mask), each, features.shape[-1])
            return ((rows * factors.unsqueeze(1)).reshape(features.shape), *args[1:])
        return (features * factors, *args[1:])

    return scale


def masks_of(model: nn.Module, plan: PrunePlan) -> dict[str, Tensor]:
    """The plan as masks of ones and zeros: what `masked` needs to try a plan without cutting.

    Args:
        model: the model that `plan` is made for.
        plan: what stays.

    Returns:
        Block name → float32 mask (count,), for the blocks the plan names.
    """
    masks = {}
    for name, block in plan.blocks.items():
        mask = torch.zeros(block.count)
        mask[list(block.kept)] = 1.0
        masks[name] = mask
    return masks
