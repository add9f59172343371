"""Rows of sparse cross-entropy on PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from headsmith.keras.eager import may_read_values

__all__ = ["rows"]

_PACK_BELOW = 0.8
"""Copying the kept rows of the logits pays when fewer than this fraction are kept."""


def rows(logits: Tensor, labels: Any, kept: Any) -> Tensor:
    """Give the loss of each row; see `headsmith.keras.cross_entropy`."""
    if isinstance(labels, np.ndarray):  # a copy: PyTorch warns of arrays that are read only
        labels = torch.from_numpy(np.array(labels, "int64")).to(logits.device)
    flat = logits.reshape(-1, logits.shape[-1])
    if kept is not None:
        kept = torch.as_tensor(kept, device=logits.device).reshape(-1)
    return _flat_rows(flat, labels.reshape(-1).to(torch.long), kept).reshape(labels.shape)


def _flat_rows(logits: Tensor, labels: Tensor, kept: Tensor | None) -> Tensor:
    if kept is None:
        return F.cross_entropy(logits, labels, reduction="none")
    if not may_read_values(logits, labels, kept):
        logits = logits.masked_fill(~kept.unsqueeze(-1), 0.0)
        losses = F.cross_entropy(logits, labels, reduction="none")
        return losses.masked_fill(~kept, 0.0)
    number = int(kept.count_nonzero())
    if number == kept.numel():
        return F.cross_entropy(logits, labels, reduction="none")
    if number < _PACK_BELOW * kept.numel():
        chosen = kept.nonzero().squeeze(-1)
        losses = F.cross_entropy(
            logits.index_select(0, chosen), labels.index_select(0, chosen), reduction="none"
        )
        return losses.new_zeros(kept.shape).index_copy(0, chosen, losses)
    ignored = (~kept).nonzero().squeeze(-1)
    losses = F.cross_entropy(_silenced(logits, ignored), labels, reduction="none")
    return losses.masked_fill(~kept, 0.0)


def _silenced(logits: Tensor, ignored: Tensor) -> Tensor:
    """Make sure that no gradient reaches the ignored rows, without a copy of the logits.

    The gradient is 0 there already, unless the row holds an infinity or NaN: 0 * NaN.
    """
    if not (torch.is_grad_enabled() and logits.requires_grad):
        return logits
    view = logits.view_as(logits)

    def silence(gradient: Tensor) -> Tensor:
        # The gradient of a view that only the loss reads belongs to nobody else, so it may be
        # changed in place, unless a graph of it is being made.
        target = gradient.clone() if gradient.requires_grad else gradient
        return target.index_fill_(0, ignored, 0.0)

    view.register_hook(silence)  # type: ignore[no-untyped-call]
    return view
