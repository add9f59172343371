"""Run a function over slices of its inputs, so that only one slice is in memory at a time.

Reformer (Kitaev et al. 2020) does this to its feed-forward layers: these treat every position
alone, so their widest activations need never exist for the whole sequence.

```
inputs      |    0    |    1    |  2 |       slices along chunk_dim, the last may be shorter
                 ↓         ↓       ↓
          forward_fn forward_fn forward_fn   one after another
                 ↓         ↓       ↓
outputs     |    0    |    1    |  2 |       joined along chunk_dim
```
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from headsmith.spec.chunks import chunk_bounds

__all__ = ["apply_chunking_to_forward"]


def apply_chunking_to_forward(
    forward_fn: Callable[..., Any], chunk_size: int, chunk_dim: int, *input_tensors: Tensor
) -> Any:
    """Call `forward_fn` on chunks of the inputs along one dimension and join what it returns.

    The result equals `forward_fn(*input_tensors)` if the function treats the positions along
    `chunk_dim` independently of each other.

    As in Transformers 4.34: a chunk size of 0 or less is one plain call; inputs of unequal
    length and a number of inputs that does not fit the function are errors; a negative
    `chunk_dim` counts from the end, of each tensor's own shape. Mended: the length need not be
    a multiple of the chunk size; modules, built-in functions and functions with defaults,
    `*args` or keyword-only arguments are accepted; outputs may be tuples, lists and mappings of
    tensors; where no gradient is needed each chunk is written straight into the result, while
    4.34 held all chunks and the result at once.

    Args:
        forward_fn: Function, method or module, called with one positional argument for each
            input.
        chunk_size: Positions in a chunk; 0 or less for no chunking.
        chunk_dim: Dimension to cut, of every input and every output.
        *input_tensors: At least one tensor, all of the same length along `chunk_dim`. They may
            differ in every other dimension.

    Returns:
        What `forward_fn` returns: a tensor, None, or a tuple, named tuple, list or mapping of
        such, each tensor joined along `chunk_dim`. If all fits into one chunk, the very object
        that `forward_fn` returned.

    Raises:
        ValueError: No inputs, a number of inputs that the function does not take, inputs of
            unequal length, or outputs that differ in structure from chunk to chunk.
        IndexError: An input has no dimension `chunk_dim`.
        TypeError: An input is not a tensor, or an output is of a kind that cannot be joined.

    Example:
        >>> import torch
        >>> feed_forward = torch.nn.Linear(4, 6)
        >>> hidden = torch.ones(2, 7, 4)
        >>> apply_chunking_to_forward(feed_forward, 3, 1, hidden).shape
        torch.Size([2, 7, 6])
    """
    _check_fit(forward_fn, input_tensors)
    if chunk_size <= 0:
        return forward_fn(*input_tensors)
    length = _common_length(input_tensors, chunk_dim)
    bounds = chunk_bounds(length, chunk_size)
    if len(bounds) == 1:
        return forward_fn(*input_tensors)

    output: Any = None
    structure: object = None
    joints: list[_Joint] = []
    for start, stop in bounds:
        output = None  # let go of the last chunk before the next one is computed
        output = forward_fn(*(x.narrow(chunk_dim, start, stop - start) for x in input_tensors))
        if start == 0:
            structure = _structure(output)
            joints = [_Joint(chunk_dim, length) for _ in _tensors(output)]
        elif _structure(output) != structure:
            raise ValueError(
                "Expected forward_fn to return the same structure for every chunk. "
                f"Received: {_structure(output)} for positions {start} … {stop - 1} "
                f"after {structure}."
            )
        _add_parts(joints, output, start, stop)
    return _rebuilt(output, (joint.whole() for joint in joints))


class _Joint:
    """One output tensor on its way to being whole.

    Parts are written into one preallocated tensor if the first is as long as its chunk and
    needs no gradient; from the first part that does not fit in there on, and where the graph
    holds the parts anyway, they are kept and concatenated.
    """

    def __init__(self, dim: int, length: int) -> None:
        self.dim = dim
        self.length = length
        self.target: Tensor | None = None
        self.parts: list[Tensor] = []

    def add(self, part: Tensor, start: int, stop: int) -> None:
        if not -part.ndim <= self.dim < part.ndim:
            raise IndexError(
                f"Expected every output to have the dimension chunk_dim={self.dim}, to be joined "
                f"along. Received: an output of shape {tuple(part.shape)}."
            )
        shape = list(part.shape)
        fits = (
            shape[self.dim] == stop - start
            and not (part.requires_grad and torch.is_grad_enabled())
            and part.layout == torch.strided
        )
        shape[self.dim] = self.length
        if start == 0 and fits:
            self.target = part.new_empty(shape)
        if self.target is not None:
            target = self.target
            if fits and (list(target.shape), target.dtype, target.device) == (
                shape,
                part.dtype,
                part.device,
            ):
                target.narrow(self.dim, start, stop - start).copy_(part)
                return
            self.parts.append(target.narrow(self.dim, 0, start))
            self.target = None
        self.parts.append(part)

    def whole(self) -> Tensor:
        return torch.cat(self.parts, self.dim) if self.target is None else self.target


def _add_parts(joints: list[_Joint], output: Any, start: int, stop: int) -> None:
    # A function of its own, so that no variable keeps the last part alive during the next chunk.
    for joint, part in zip(joints, _tensors(output), strict=True):
        joint.add(part, start, stop)


def _check_fit(forward_fn: Callable[..., Any], input_tensors: tuple[Tensor, ...]) -> None:
    """Refuse a number of inputs that the function does not take, before any work is done."""
    if not input_tensors:
        raise ValueError("Expected at least one input tensor after chunk_dim. Received: none.")
    # The signature of a module itself is that of nn.Module.__call__: anything goes.
    target = forward_fn.forward if isinstance(forward_fn, nn.Module) else forward_fn
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return  # built-in functions such as torch.tanh have none: let them judge for themselves
    try:
        signature.bind(*input_tensors)
    except TypeError as error:
        raise ValueError(
            f"Expected as many input tensors as forward_fn{signature} takes. "
            f"Received: {len(input_tensors)} ({error})."
        ) from None


def _common_length(input_tensors: tuple[Tensor, ...], dim: int) -> int:
    for position, x in enumerate(input_tensors):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"Expected tensors to cut into chunks. Received: {type(x).__name__} as input "
                f"{position}. Bind what is not to be cut: functools.partial(forward_fn, ...)."
            )
        if not -x.ndim <= dim < x.ndim:
            raise IndexError(
                f"Expected every input to have the dimension chunk_dim={dim}. "
                f"Received: shape {tuple(x.shape)} as input {position}."
            )
    lengths = [x.shape[dim] for x in input_tensors]
    if any(length != lengths[0] for length in lengths):
        raise ValueError(
            f"Expected all input tensors to have the same length along dimension {dim}. "
            f"Received: lengths {lengths}."
        )
    return lengths[0]


def _structure(output: Any) -> object:
    """Describe how the tensors of an output are nested, for comparison and for messages."""
    if output is None:
        return None
    if isinstance(output, Tensor):
        return "tensor"
    if isinstance(output, Mapping):
        return type(output).__name__, {key: _structure(value) for key, value in output.items()}
    if isinstance(output, (tuple, list)):
        return type(output).__name__, [_structure(value) for value in output]
    raise TypeError(
        "Expected forward_fn to return a tensor, None, or tuples, lists or mappings of these. "
        f"Received: {type(output).__name__}, which cannot be joined."
    )


def _tensors(output: Any) -> Iterator[Tensor]:
    """Give the tensors of an output in a fixed order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif output is not None:
        for value in output:
            yield from _tensors(value)


def _rebuilt(output: Any, tensors: Iterator[Tensor]) -> Any:
    """Make another `output` with other tensors, which come in the order of `_tensors`."""
    if output is None:
        return None
    if isinstance(output, Tensor):
        return next(tensors)
    if isinstance(output, Mapping):
        # Filled by key, not constructed: a ModelOutput keeps its attributes in step that way.
        joined: Any = copy.copy(output)
        for key, value in output.items():
            joined[key] = _rebuilt(value, tensors)
        return joined
    members = [_rebuilt(value, tensors) for value in output]
    return type(output)(*members) if hasattr(output, "_fields") else type(output)(members)
