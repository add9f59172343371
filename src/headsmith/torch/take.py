"""Take features out of a weight, at the speed of copying memory.

Two things make a plain `index_select` slower than the copy it is:

- The features of a head lie side by side. Moved one by one along the last dimension they cost
  several times what they cost moved as runs.
- A large tensor is new memory, and the system hands that out in pages of 4 KiB, one fault each:
  at 4096×4096 that takes several times as long as the copy itself. NumPy asks for huge pages.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

__all__ = ["take_features"]

_SHORTEST_RUN = 64  # bytes; below a cache line, runs gain nothing
_LARGE = 1 << 22  # bytes from which NumPy asks for huge pages
_ALIGNMENT = 64  # bytes, as torch aligns its own memory: kernels load whole vectors


def take_features(weight: Tensor, dim: int, index: Tensor) -> Tensor:
    """Copy rows or columns of a matrix; equals `weight.index_select(dim, index)`.

    Args:
        weight: Matrix, of any dtype, on any device; no gradient is recorded for CPU tensors.
        dim: 0 for rows, 1 for columns.
        index: int32 or int64 tensor of shape (kept,) on the device of `weight`, in range.

    Returns:
        New contiguous tensor.

    Raises:
        IndexError: On the CPU, a value of `index` is out of range.

    Example:
        >>> import torch
        >>> take_features(torch.arange(6).reshape(2, 3), 1, torch.tensor([2, 0]))
        tensor([[2, 0],
                [5, 3]])
    """
    plain = type(weight) is Tensor and type(index) is Tensor  # no values in a fake tensor
    if not plain or weight.device.type != "cpu" or not weight.is_contiguous():
        return weight.index_select(dim, index)
    if dim == 0:
        return _select(weight, 0, index)
    run = _run_length(index.numpy(), weight.shape[1], weight.element_size())
    if run == 1:
        return _select(weight, 1, index)
    runs = weight.view(weight.shape[0], -1, run)
    taken = _select(runs, 1, torch.div(index[::run], run, rounding_mode="floor"))
    return taken.view(weight.shape[0], index.shape[0])


def _run_length(index: np.ndarray, size: int, width: int) -> int:
    """The longest length that divides `index` into whole runs of neighbours, or 1."""
    if len(index) * width < _SHORTEST_RUN:
        return 1
    breaks = np.flatnonzero(np.diff(index) != 1) + 1
    # Many breaks mean short runs: spare the gcd of what cannot be long.
    if (len(breaks) + 1) * _SHORTEST_RUN > len(index) * width:
        return 1
    starts = index[np.concatenate(([0], breaks))]
    common = math.gcd(size, len(index), int(np.gcd.reduce(starts)))
    common = math.gcd(common, int(np.gcd.reduce(breaks))) if len(breaks) else common
    return common if common * width >= _SHORTEST_RUN else 1


def _select(source: Tensor, dim: int, index: Tensor) -> Tensor:
    shape = list(source.shape)
    shape[dim] = index.shape[0]
    if math.prod(shape) * source.element_size() < _LARGE:
        return source.index_select(dim, index)
    return torch.index_select(source, dim, index, out=_large_empty(shape, source.dtype))


def _large_empty(shape: list[int], dtype: torch.dtype) -> Tensor:
    """Like `torch.empty`, in memory that NumPy got, and aligned as torch's own."""
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    offset = -raw.ctypes.data % _ALIGNMENT
    return torch.from_numpy(raw[offset : offset + size]).view(dtype).view(shape)
