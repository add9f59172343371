"""Which features stay when attention heads go."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from headsmith.spec.geometry import group_indices, surviving_heads

__all__ = ["find_pruneable_heads_and_indices"]


def find_pruneable_heads_and_indices(
    heads: Iterable[int],
    n_heads: int,
    head_size: int,
    already_pruned_heads: Iterable[int],
) -> tuple[set[int], Tensor]:
    """Find the heads still to be pruned and the features that stay.

    As in Transformers 4.34: `n_heads` counts the heads the layer has now, while heads are
    named by the number they had before any was pruned; heads pruned before are passed over.
    Mended: a head that does not exist is an error (a negative one silently removed another
    head), `already_pruned_heads` may be any iterable, and the indices are on the CPU and have
    values whatever the default device.

    Args:
        heads: Numbers of the heads to prune, in any order.
        n_heads: How many heads the layer has now.
        head_size: Features of one head.
        already_pruned_heads: Numbers of the heads pruned before.

    Returns:
        The heads not pruned yet, and an int64 tensor of shape
        ((n_heads − number of those) * head_size,), ascending: the features to keep, ready for
        `prune_layer`.

    Raises:
        ValueError: A head is negative or too large, or a size is negative.
        TypeError: A head is not an integer.

    Example:
        >>> find_pruneable_heads_and_indices([1], 3, 2, set())
        ({1}, tensor([0, 1, 4, 5]))
        >>> find_pruneable_heads_and_indices({0, 2}, 2, 2, {0})
        ({2}, tensor([0, 1]))
    """
    fresh, kept = surviving_heads(heads, n_heads, already_pruned_heads)
    # from_numpy, because torch.tensor would follow a default device: under
    # `with torch.device("meta")` that leaves indices without values.
    return fresh, torch.from_numpy(group_indices(kept, head_size, count=n_heads))
