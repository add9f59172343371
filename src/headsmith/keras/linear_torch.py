"""Cross-entropy of a product, chunk by chunk, on PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from headsmith.keras.eager import may_read_values

__all__ = ["row_losses", "weighted_sum"]

Settings = tuple[bool, float, int]
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


def _loop(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    scale: Tensor,
    settings: Settings,
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, Gradients]:
    """Give losses (rows,) and the wanted gradients of `sum(scale * losses)`."""
    transposed, smoothing, chunk = settings
    table = weight if transposed else weight.t()  # (hidden, vocab)
    classes, dtype = table.shape[1], scale.dtype
    losses = torch.zeros(hidden.shape[0], dtype=dtype, device=hidden.device)
    of_hidden = torch.zeros_like(hidden) if wanted[0] else None
    # 16-bit products are summed in float32: there are many.
    of_weight = torch.zeros_like(weight, dtype=dtype) if wanted[1] else None
    of_bias = torch.zeros(classes, dtype=dtype, device=hidden.device) if wanted[2] else None
    for first in range(0, hidden.shape[0], chunk):
        h, y = hidden[first : first + chunk], labels[first : first + chunk].unsqueeze(1)
        out = (h @ table).to(dtype) if bias is None else torch.addmm(bias, h, table).to(dtype)
        target = out.gather(1, y)
        if smoothing:
            target = (1 - smoothing) * target + smoothing * out.mean(1, keepdim=True)
        # The logits are used up: from here on `out` is their softmax, then the gradient.
        highest = out.amax(1, keepdim=True)
        highest = highest.where(highest.isfinite(), 0.0)
        target -= highest
        total = out.sub_(highest).exp_().sum(1, keepdim=True)
        losses[first : first + chunk] = (total.log() - target).squeeze(1)
        if not any(wanted):
            continue
        due = scale[first : first + chunk].unsqueeze(1)
        out.mul_(due / total)
        if smoothing:
            out.sub_(due * (smoothing / classes))
        out.scatter_add_(1, y, due * (smoothing - 1))
        d = out.to(h.dtype)
        if of_hidden is not None:
            torch.mm(d, table.t(), out=of_hidden[first : first + chunk])
        if of_weight is not None:
            pair = (h.t(), d) if transposed else (d.t(), h)
            if of_weight.dtype == d.dtype:
                of_weight.addmm_(*pair)
            else:
                of_weight += torch.mm(*pair)
        if of_bias is not None:
            of_bias += out.sum(0)
    return losses, (
        of_hidden,
        None if of_weight is None else of_weight.to(weight.dtype),
        None if of_bias is None or bias is None else of_bias.to(bias.dtype),
    )


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        scale: Tensor,
        settings: Settings,
        training: bool,
    ) -> Tensor:
        wanted = ctx.needs_input_grad[:3] if training else (False, False, False)
        losses, ctx.found = _loop(hidden, weight, bias, labels, scale, settings, wanted)
        return (losses * scale).sum()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        if ctx.found is None:
            raise RuntimeError(
                "Expected one backward pass: the gradients were given away in the first. "
                'Received: a second one. Compute the loss again, or use `reduction="none"`.'
            )
        # Nobody else holds them, so they need no copy; for an upstream of 1, no pass either.
        found, ctx.found = ctx.found, None
        (factor,) = upstream
        if not (may_read_values(factor) and factor.item() == 1.0):
            for gradient in found:
                if gradient is not None:
                    gradient.mul_(factor)
        return (*found, None, None, None, None)


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        dtype: torch.dtype,
        settings: Settings,
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias, labels)
        ctx.settings = settings
        ones = torch.ones(labels.shape, dtype=dtype, device=hidden.device)
        return _loop(hidden, weight, bias, labels, ones, settings, (False, False, False))[0]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        hidden, weight, bias, labels = ctx.saved_tensors
        (scale,) = upstream
        wanted = ctx.needs_input_grad[:3]
        _, found = _loop(hidden, weight, bias, labels, scale, ctx.settings, wanted)
        return (*found, None, None, None)


def _kept_rows(kept: Tensor, *tensors: Tensor) -> tuple[Tensor | None, list[Tensor]]:
    """Take the rows that count, where Python may know which; else silence the others."""
    if may_read_values(kept):
        rows = kept.nonzero().squeeze(1)
        if len(rows) == len(kept):
            return None, list(tensors)
        return rows, [x.index_select(0, rows) for x in tensors]
    hidden, *rest = tensors
    return None, [hidden.masked_fill(~kept.unsqueeze(1), 0.0), *rest]


def weighted_sum(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    kept: Tensor,
    scale: Tensor,
    transposed: bool,
    smoothing: float,
    chunk: int,
) -> Any:
    """Give `sum(scale * losses)`; see `headsmith.keras.linear_losses`."""
    _, (hidden, labels, scale) = _kept_rows(kept, hidden, labels.long(), scale)
    settings, training = (transposed, smoothing, chunk), torch.is_grad_enabled()
    apply = _Sum.apply
    return apply(hidden, weight, bias, labels, scale, settings, training)  # type: ignore[no-untyped-call]


def row_losses(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    kept: Tensor,
    transposed: bool,
    smoothing: float,
    chunk: int,
) -> Any:
    """Give the loss of each row, 0 where it does not count."""
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    rows, (hidden, labels) = _kept_rows(kept, hidden, labels.long())
    settings, apply = (transposed, smoothing, chunk), _Rows.apply
    losses = apply(hidden, weight, bias, labels, dtype, settings)  # type: ignore[no-untyped-call]
    if rows is not None:
        return losses.new_zeros(kept.shape).index_copy(0, rows, losses)
    return losses.masked_fill(~kept, 0.0)
