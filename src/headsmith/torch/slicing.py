"""Cut rows or columns out of a linear layer: `prune_linear_layer`, `prune_conv1d_layer`.

Pruning slices and nothing else: the new layer is never initialised. Constructing a linear
layer draws random weights, which costs many times the slice it would then be overwritten by.
"""

from __future__ import annotations

from types import MethodType
from typing import NoReturn, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from headsmith.torch.conv1d import Conv1D

__all__ = ["prune_conv1d_layer", "prune_layer", "prune_linear_layer"]

Layer = TypeVar("Layer", bound=nn.Module)
LinearLayer = TypeVar("LinearLayer", bound=nn.Linear)

_MODULE_STATE = frozenset(vars(nn.Module()))
"""What every module keeps for itself: parameters, hooks, the train/eval flag."""


def prune_linear_layer(layer: LinearLayer, index: Tensor, dim: int = 0) -> LinearLayer:
    """Keep the outputs (dim 0) or inputs (dim 1) of a linear layer that `index` names.

    As in Transformers 4.34: the features come in the order of `index`, which may repeat; the
    new parameters require gradients even if the old ones were frozen; the old layer is left as
    it is, hooks and all. Mended: dtype and train/eval mode are kept, a layer on the meta
    device stays there, a subclass stays one, and a wrong index is told as such.

    Args:
        layer: Linear layer with a weight of shape (out_features, in_features). Of a subclass
            the other attributes are carried over; one with further parameters, buffers or
            modules is refused, for it is unknown how these should shrink. Parametrized or
            masked weights are taken at their present value.
        index: Integer tensor of shape (kept,), each value in `0 … size − 1`, on any device.
        dim: 0 for rows of the weight and entries of the bias, 1 for columns.

    Returns:
        A new layer of the same class, dtype, device and mode.

    Raises:
        IndexError: A value of `index` or `dim` is out of range.
        TypeError: `index` is not a tensor of integers, or `layer` not a linear layer.
        ValueError: `index` is not one-dimensional, has no values (meta device) for a layer that
            has some, or the layer holds more than a weight and a bias.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(4, 6, dtype=torch.bfloat16)
        >>> prune_linear_layer(layer, torch.tensor([0, 5])).weight.dtype
        torch.bfloat16
        >>> prune_linear_layer(layer, torch.tensor([1, 2, 3]), dim=1)
        Linear(in_features=3, out_features=6, bias=True)
    """
    if not isinstance(layer, nn.Linear):
        raise TypeError(
            f"Expected a torch.nn.Linear. Received: {_name(layer)}. "
            "prune_layer accepts every kind of layer that can be pruned."
        )
    pruned = _select(layer, index, dim, output_dim=0)
    pruned.out_features, pruned.in_features = pruned.weight.shape
    return pruned


def prune_conv1d_layer(layer: Layer, index: Tensor, dim: int = 1) -> Layer:
    """Keep the outputs (dim 1) or inputs (dim 0) of a `Conv1D` that `index` names.

    The same as `prune_linear_layer`, with the weight transposed.

    Args:
        layer: `Conv1D` of headsmith or of Transformers, with a weight of shape (nx, nf).
        index: Integer tensor of shape (kept,), each value in `0 … size − 1`, on any device.
        dim: 1 for columns of the weight and entries of the bias, 0 for rows.

    Returns:
        A new layer of the same class, dtype, device and mode.

    Raises:
        IndexError: A value of `index` or `dim` is out of range.
        TypeError: `index` is not a tensor of integers, or `layer` not a `Conv1D`.
        ValueError: `index` is not one-dimensional, has no values (meta device) for a layer that
            has some, or the layer holds more than a weight and a bias.

    Example:
        >>> import torch
        >>> prune_conv1d_layer(Conv1D(6, 4), torch.tensor([0, 5]))
        Conv1D(nf=2, nx=4)
    """
    if not _is_conv1d(layer):
        raise TypeError(
            f"Expected a Conv1D, with a weight of shape (nx, nf). Received: {_name(layer)}. "
            "prune_layer accepts every kind of layer that can be pruned."
        )
    pruned = _select(layer, index, dim, output_dim=1)
    nx, nf = pruned.get_parameter("weight").shape
    pruned.__dict__["nf"] = nf
    # The Conv1D of Transformers 4 has no nx; giving it one would be a lie after it is re-saved.
    if "nx" in vars(layer):
        pruned.__dict__["nx"] = nx
    return pruned


def prune_layer(layer: Layer, index: Tensor, dim: int | None = None) -> Layer:
    """Prune a linear layer or a `Conv1D`, whichever it is.

    Args:
        layer: `torch.nn.Linear`, `Conv1D` of headsmith or of Transformers, or a subclass.
        index: Integer tensor of shape (kept,): the features to keep.
        dim: Dimension of the weight to cut; None for the outputs, which is 0 for a linear
            layer and 1 for a `Conv1D`.

    Returns:
        A new layer of the same class, dtype, device and mode.

    Raises:
        ValueError: The layer is of another class, or see `prune_linear_layer`.
        IndexError: A value of `index` or `dim` is out of range.
        TypeError: `index` is not a tensor of integers.

    Example:
        >>> import torch
        >>> prune_layer(torch.nn.Linear(4, 6), torch.tensor([0, 5]))
        Linear(in_features=4, out_features=2, bias=True)
        >>> prune_layer(Conv1D(6, 4), torch.tensor([0, 5]))
        Conv1D(nf=2, nx=4)
    """
    if isinstance(layer, nn.Linear):
        return prune_linear_layer(layer, index, 0 if dim is None else dim)
    if _is_conv1d(layer):
        return prune_conv1d_layer(layer, index, 1 if dim is None else dim)
    raise ValueError(
        f"Can't prune layer of class {type(layer)}. "
        "Expected a torch.nn.Linear or a Conv1D, or a subclass of one."
    )


def _is_conv1d(layer: nn.Module) -> bool:
    """Ours, or one of Transformers', known by its looks so that it need not be installed."""
    if isinstance(layer, Conv1D):
        return True
    if not any(cls.__name__ == "Conv1D" for cls in type(layer).__mro__):
        return False
    weight, nf = getattr(layer, "weight", None), getattr(layer, "nf", None)
    return isinstance(weight, Tensor) and weight.ndim == 2 and weight.shape[1] == nf


def _select(layer: Layer, index: Tensor, dim: int, *, output_dim: int) -> Layer:
    """Make a copy of `layer` that holds the slice, without its sizes set."""
    # Attributes rather than parameters: a parametrized or masked layer computes its weight.
    weight = cast(Tensor, layer.weight).detach()
    bias = cast("Tensor | None", layer.bias)
    if weight.ndim != 2 or not (weight.is_floating_point() or weight.is_complex()):
        raise ValueError(
            "Expected a floating-point weight of two dimensions. "
            f"Received: {weight.dtype} of shape {tuple(weight.shape)} in {_name(layer)}. "
            "Dequantize the layer first."
        )
    if not -2 <= dim <= 1:
        raise IndexError(f"Expected dim to be 0 or 1, or the same from the end. Received: {dim}.")
    dim %= 2
    index = _checked(index, weight.shape[dim], weight.device)
    weight = weight.index_select(dim, index)
    if bias is not None:
        bias = bias.detach()
        bias = bias.index_select(0, index) if dim == output_dim else bias.clone()
    return _same_class(layer, weight, bias)


def _checked(index: Tensor, size: int, device: torch.device) -> Tensor:
    if not isinstance(index, Tensor):
        raise TypeError(
            f"Expected index to be a tensor of integers. Received: {type(index).__name__}. "
            "Wrap it: torch.tensor(index, dtype=torch.long)."
        )
    if index.dtype not in (torch.int64, torch.int32):
        remedy = (
            "For a mask, pass mask.nonzero().squeeze(1)."
            if index.dtype == torch.bool
            else "Convert it: index.long()."
        )
        raise TypeError(f"Expected index to be int64 or int32. Received: {index.dtype}. {remedy}")
    if index.ndim != 1:
        raise ValueError(
            f"Expected index to have one dimension. Received: shape {tuple(index.shape)}. "
            "Flatten it: index.reshape(-1)."
        )
    if index.is_meta:
        if device.type != "meta":
            raise ValueError(
                f"Expected an index with values for a layer on {device}. Received: an index on "
                "the meta device. Make it with device='cpu'."
            )
        return index
    # Checked where the index is: on its way to a GPU it would only be able to kill the process.
    if index.numel():
        low, high = (int(extreme) for extreme in torch.aminmax(index))
        if low < 0 or high >= size:
            _refuse_values(index, size)
    return index.to(device)


def _refuse_values(index: Tensor, size: int) -> NoReturn:
    outside = index[(index < 0) | (index >= size)].tolist()
    raise IndexError(
        f"Expected index values in 0 … {size - 1}. "
        f"Received: {outside[:8]}{' and more' if len(outside) > 8 else ''}."
    )


def _same_class(layer: Layer, weight: Tensor, bias: Tensor | None) -> Layer:
    """Make a layer like `layer` with other parameters, without running its initialisation."""
    cls: type[Layer] = type_before_parametrizations(layer)
    new = cls.__new__(cls)
    nn.Module.__init__(new)
    if nn.Module not in cls.__bases__:  # a class derived from Linear or Conv1D
        _carry_over(layer, new)
    new.register_parameter("weight", nn.Parameter(weight))
    new.register_parameter("bias", None if bias is None else nn.Parameter(bias))
    new.training = layer.training
    return new


def _carry_over(layer: nn.Module, new: nn.Module) -> None:
    """Copy the attributes a subclass has added, so that its `forward` finds them."""
    tensors = {*layer._parameters, *layer._buffers, *layer._modules} - {"weight", "bias"}
    if is_parametrized(layer):
        tensors.discard("parametrizations")
    if tensors:
        raise ValueError(
            f"Expected a layer with a weight and a bias alone. Received: {_name(layer)} with "
            f"{sorted(tensors)} as well. Merge these into the weight first, or prune by hand."
        )
    for name, value in vars(layer).items():
        # What is bound to the old layer stays with it: run by the new one, it would silently
        # compute with the old weights. Accelerate, for one, replaces `forward` on the instance.
        bound = isinstance(value, MethodType) and value.__self__ is layer
        if name not in _MODULE_STATE and name != "forward" and not bound:
            new.__dict__[name] = value


def _name(layer: object) -> str:
    return f"{type(layer).__module__}.{type(layer).__qualname__}"
