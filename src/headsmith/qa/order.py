"""In which order windows are trained on: a function of seed and epoch, of nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["batches_of", "by_length", "seed_of"]

_POOL = 50  # batches whose windows are sorted by length together


def batches_of(
    lengths: Sequence[int], batch_size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """Shuffle windows into batches of windows of like length.

    Args:
        lengths: tokens of each window.
        batch_size: windows a batch; the last one may be smaller.
        seed: of the shuffle.
        epoch: another order for each.

    Returns:
        Indices of windows, one array a batch; every window is in one of them.

    Example:
        >>> from headsmith.qa.order import batches_of
        >>> sorted(int(i) for b in batches_of([3, 1, 2], 2, seed=0, epoch=0) for i in b)
        [0, 1, 2]
    """
    generator = np.random.Generator(np.random.PCG64([seed & 0xFFFFFFFF, epoch]))
    order = generator.permutation(len(lengths))
    size = np.asarray(lengths)
    found = []
    for start in range(0, len(order), _POOL * batch_size):
        pool = order[start : start + _POOL * batch_size]
        found += by_length(pool, size[pool], batch_size)
    return [found[i] for i in generator.permutation(len(found))]


def by_length(
    items: NDArray[np.int64], lengths: NDArray[np.int64], batch_size: int
) -> list[NDArray[np.int64]]:
    """Cut `items`, sorted by length, into batches; little padding is left in them."""
    ordered = items[np.argsort(lengths, kind="stable")]
    return [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]


def seed_of(seed: int, *place: int) -> int:
    """A seed for one place of a run, such as a step, unlike those of other places.

    Example:
        >>> from headsmith.qa.order import seed_of
        >>> seed_of(0, 7) == seed_of(0, 7), seed_of(0, 7) == seed_of(0, 8)
        (True, False)
    """
    words = np.random.SeedSequence([seed & 0xFFFFFFFF, *place]).generate_state(2)
    return int(words[0]) << 31 | int(words[1]) >> 1
