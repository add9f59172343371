"""Take several sets of rows from one tensor, with a single gradient buffer.

Autograd gives each `index_select` and `gather` a gradient of the size of the whole tensor, filled
with zeros, and adds these up. A head that reads a third of the hidden states, the start's and
CLS's then spends more on zeros than on LayerNorm.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["take_rows"]


class _TakeRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, *indices: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*indices)
        ctx.length = tensor.shape[0]
        return tuple(tensor.index_select(0, index) for index in indices)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        first, *others = zip(ctx.saved_tensors, gradients, strict=True)
        whole = gradients[0].new_zeros(ctx.length, *gradients[0].shape[1:])
        whole.index_copy_(0, *first)
        for index, gradient in others:
            whole.index_add_(0, index, gradient)
        return whole, *(None for _ in gradients)


def take_rows(tensor: Tensor, distinct: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Give `tensor[distinct]` and `tensor[other]` for each further index.

    Args:
        tensor: Tensor (rows, ...).
        distinct: int64 tensor (n,) without repetitions.
        others: int64 tensors, which may repeat rows.

    Returns:
        One tensor per index.

    Example:
        >>> import torch
        >>> x = torch.arange(3.0).requires_grad_()
        >>> a, b = take_rows(x, torch.tensor([0, 2]), torch.tensor([2, 2]))
        >>> (a.sum() + b.sum()).backward()
        >>> x.grad.tolist()
        [1.0, 0.0, 3.0]
    """
    taken: tuple[Tensor, ...] = _TakeRows.apply(tensor, distinct, *others)  # type: ignore[no-untyped-call]
    return taken
