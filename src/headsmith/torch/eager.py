"""May a function look at the values of its tensors?

Skipping masked rows, packing kept labels and checking for overflow need to know numbers on
the Python side. That is free in eager mode on a CPU, and impossible while a graph is captured.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

__all__ = ["autocast_dtype", "compute_dtype", "may_read_values", "no_autocast"]


def may_read_values(*tensors: Tensor | None) -> bool:
    """Tell whether Python may branch on what the tensors hold.

    Args:
        tensors: The tensors; None is passed over.

    Returns:
        False under `torch.compile`, `torch.export`, `torch.jit.trace`, `torch.func` transforms
        and forward-mode differentiation, on the meta device, and for tensor subclasses such as
        fake tensors and DTensor. True otherwise.

    Example:
        >>> import torch
        >>> may_read_values(torch.ones(2), None), may_read_values(torch.ones(2, device="meta"))
        (True, False)
    """
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False
    if forward_ad._current_level >= 0:  # a dual number's tangent is lost in what is written to
        return False
    for tensor in tensors:  # a loop, since this runs in losses of a few microseconds
        if tensor is not None and (
            (type(tensor) is not Tensor and type(tensor) is not nn.Parameter)
            or tensor.is_meta
            or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        ):
            return False
    return True


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Name the dtype arithmetic is done in: float32, or float64 for float64.

    Example:
        >>> import torch
        >>> compute_dtype(torch.bfloat16), compute_dtype(torch.float64)
        (torch.float32, torch.float64)
    """
    return torch.float64 if dtype == torch.float64 else torch.float32


def autocast_dtype(tensor: Tensor) -> torch.dtype | None:
    """Name the dtype autocast gives to matrix products of `tensor`, or None where it is off.

    Example:
        >>> import torch
        >>> autocast_dtype(torch.ones(1)) is None
        True
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     autocast_dtype(torch.ones(1))
        torch.bfloat16
    """
    device = tensor.device.type
    # float64 is left alone by autocast; "meta" and other devices have no autocast at all.
    if (
        tensor.dtype == torch.float64
        or not torch.amp.is_autocast_available(device)
        or not torch.is_autocast_enabled(device)
    ):
        return None
    return torch.get_autocast_dtype(device)


def no_autocast(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """Keep autocast, where it is on, from taking float32 sums back to 16 bits.

    Example:
        >>> import torch
        >>> x = torch.ones(2, 2)
        >>> with torch.autocast("cpu", torch.bfloat16), no_autocast(x):
        ...     (x @ x).dtype
        torch.float32
    """
    if autocast_dtype(tensor) is None:
        return contextlib.nullcontext()
    return torch.autocast(tensor.device.type, enabled=False)
