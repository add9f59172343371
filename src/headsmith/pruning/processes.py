"""Several processes that prune one model together, each on its share of the data.

Every process holds the whole model and calls the same functions with the same arguments, as
under `torchrun` or `accelerate launch`. Batch i belongs to process i modulo their number; sums
over batches are added up in every process, so all go on with the same numbers and come to the
same plan. Without `torch.distributed` there is one process, and nothing here costs anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from headsmith.errors import HeadsmithError

__all__ = [
    "add_up",
    "agree",
    "all_of",
    "count",
    "from_first",
    "is_first",
    "number",
    "processes",
    "seed_of",
    "share",
    "take_from_first",
]

_Item = TypeVar("_Item")
_PATIENCE = timedelta(days=2)  # the others wait while the first one times or trains


def _running() -> bool:
    return dist.is_available() and dist.is_initialized()


def count() -> int:
    """How many processes work together."""
    return dist.get_world_size() if _running() else 1


def number() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if _running() else 0


def is_first() -> bool:
    """Whether this is the one that writes and speaks."""
    return number() == 0


def share(items: Sequence[_Item]) -> list[tuple[int, _Item]]:
    """The part of `items` that is this process's, each with its place among all.

    Example:
        >>> from headsmith.pruning.processes import share
        >>> share("abc")
        [(0, 'a'), (1, 'b'), (2, 'c')]
    """
    return list(enumerate(items))[number() :: count()]


def add_up(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over all processes, the same bits in each of them."""
    if count() == 1:
        return
    for tensor in tensors:
        if not tensor.numel():
            continue
        near = tensor
        if dist.get_backend() == "gloo" and tensor.device.type != "cpu":
            near = tensor.cpu()
        near = near.contiguous()
        dist.all_reduce(near)
        if near is not tensor:
            tensor.copy_(near)


def from_first(value: _Item) -> _Item:
    """The first process's `value`, plain data, in every process."""
    if count() == 1:
        return value
    box: list[Any] = [value]
    dist.broadcast_object_list(box)
    found: _Item = box[0]
    return found


def take_from_first(tensors: Sequence[Tensor]) -> None:
    """Fill each tensor with what the first process has in it."""
    for tensor in tensors if count() > 1 else ():
        near = tensor.detach().contiguous()
        if dist.get_backend() == "gloo" and near.device.type != "cpu":
            near = near.cpu()
        dist.broadcast(near, 0)
        with torch.no_grad():
            tensor.copy_(near)


def all_of(value: _Item) -> list[_Item]:
    """Every process's `value`, plain data, in the order of the processes."""
    if count() == 1:
        return [value]
    box: list[Any] = [None] * count()
    dist.all_gather_object(box, value)
    return box


def agree(what: str, value: str) -> None:
    """Stop all processes unless each was given the same.

    Args:
        what: what it is, for the message.
        value: this process's.

    Raises:
        HeadsmithError: they differ.
    """
    found = all_of(value)
    if len(set(found)) > 1:
        raise HeadsmithError(
            f"{count()} processes prune one model together, but were given different {what}. "
            "Give each the same model, data and settings."
        )


@contextmanager
def processes() -> Iterator[int]:
    """Join the other processes where a launcher has started several; leave them at the end.

    What is already joined stays as it is.

    Yields:
        How many there are.
    """
    asked = int(os.environ.get("WORLD_SIZE") or 1)
    if asked < 2 or _running():
        yield count()
        return
    if not dist.is_available():
        raise HeadsmithError(
            f"{asked} processes were started, but this PyTorch has no torch.distributed. Start one."
        )
    # The sums are small and in float64: gloo, on the CPU, serves every device.
    dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield count()
    finally:
        dist.destroy_process_group()


def seed_of(seed: int, place: int) -> torch.Generator:
    """A generator for the batch at `place`: its numbers do not depend on who draws them."""
    mixed = (seed * 1_000_003 + place * 7_919 + 12_345) % 2**63
    return torch.Generator().manual_seed(mixed)
