"""Linear layers of either orientation, seen the same way.

`nn.Linear` keeps its weight as (out, in), GPT's Conv1D as (in, out). Everything that reads
or refits an output projection goes through these few functions.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["bias", "can_be_cut", "is_transposed", "sizes", "weight", "write"]


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
    if _own_matrix(layer) is None and hasattr(layer, "in_features"):
        # An adapter's, or packed: only the layer itself can tell.
        return cast(int, layer.in_features), cast(int, layer.out_features)
    out, into = weight(layer).shape
    return into, out


def can_be_cut(layer: nn.Module) -> bool:
    """Whether all there is to `layer` is a floating-point matrix and a bias, of its own.

    Not so with an adapter around it (LoRA), when it is quantized, or when its weight is computed
    from others (`torch.nn.utils.parametrize` and `prune`).
    """
    inside = {*layer._parameters, *layer._buffers, *layer._modules}
    return _own_matrix(layer) is not None and inside <= {"weight", "bias"}


def _own_matrix(layer: nn.Module) -> Tensor | None:
    own = layer._parameters.get("weight")
    return own if own is not None and own.ndim == 2 and own.is_floating_point() else None


@torch.no_grad()
def write(layer: nn.Module, new_weight: Tensor, new_bias: Tensor | None) -> None:
    """Put a weight (out, in) and a bias (out,) into `layer`, in its own dtype and device."""
    weight(layer).copy_(new_weight)
    own_bias = bias(layer)
    if new_bias is not None and own_bias is not None:
        own_bias.copy_(new_bias)
