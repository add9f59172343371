"""Linear layers of either orientation, seen the same way.

`nn.Linear` keeps its weight as (out, in), GPT's Conv1D as (in, out). Everything that reads
or refits an output projection goes through these few functions.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["bias", "is_transposed", "sizes", "weight", "write"]


def is_transposed(layer: nn.Module) -> bool:
    """Whether `layer` keeps its weight as (in, out), as Conv1D does."""
    return not isinstance(layer, nn.Linear)


def weight(layer: nn.Module) -> Tensor:
    """The weight as (out, in): a view, whatever the layer's own orientation."""
    own = cast(Tensor, layer.weight).detach()
    return own.T if is_transposed(layer) else own


def bias(layer: nn.Module) -> Tensor | None:
    """The bias (out,), detached, or None."""
    own = cast("Tensor | None", layer.bias)
    return None if own is None else own.detach()


def sizes(layer: nn.Module) -> tuple[int, int]:
    """(in features, out features)."""
    out, into = weight(layer).shape
    return into, out


@torch.no_grad()
def write(layer: nn.Module, new_weight: Tensor, new_bias: Tensor | None) -> None:
    """Put a weight (out, in) and a bias (out,) into `layer`, in its own dtype and device."""
    weight(layer).copy_(new_weight)
    own_bias = bias(layer)
    if new_bias is not None and own_bias is not None:
        own_bias.copy_(new_bias)
