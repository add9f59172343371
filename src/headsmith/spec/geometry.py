"""Which rows and columns belong to a head: plain integers, no framework.

A projection that serves several heads lays them side by side, `width` features each. A fused
projection, such as the `c_attn` of GPT-2, repeats that layout once for each part:

```
one part        | head 0 | head 1 | head 2 |
three parts     | q: 0 1 2 | k: 0 1 2 | v: 0 1 2 |
uneven parts    | q: 0 0 1 1 2 2 | k: 0 1 2 | v: 0 1 2 |     two query heads a key/value head
```

Everything that removes heads comes down to two questions answered here: which heads are still
there, and which features do they own.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["group_indices", "layout_indices", "owners", "surviving_heads"]


def group_indices(
    kept: Sequence[int], width: int, *, count: int, parts: int = 1
) -> npt.NDArray[np.int64]:
    """Give the indices of the features that the kept groups own.

    A group is whatever is removed as one: an attention head, a group of key/value heads, a
    neuron (`width=1`).

    Args:
        kept: The groups that stay, each in `0 … count − 1` and named once. The answer follows
            this order within each part.
        width: Features in one group, at least 0.
        count: Groups in the layer as it is now, at least 0.
        parts: How many times the layout repeats along the dimension, at least 1: 3 for a
            projection that holds queries, keys and values one after another. Each part is
            `count * width` features wide.

    Returns:
        int64 array of shape (parts * len(kept) * width,).

    Raises:
        ValueError: A kept group is out of range or named twice, or a size is out of range.
        TypeError: A kept group is not an integer.

    Example:
        >>> group_indices([0, 2], width=2, count=3).tolist()
        [0, 1, 4, 5]
        >>> group_indices([1], width=2, count=2, parts=3).tolist()
        [2, 3, 6, 7, 10, 11]
    """
    for name, size, least in (("width", width, 0), ("count", count, 0), ("parts", parts, 1)):
        if size < least:
            raise ValueError(f"Expected {name} to be at least {least}. Received: {size}.")
    groups = np.array([operator.index(group) for group in kept], dtype=np.int64)
    outside = groups[(groups < 0) | (groups >= count)]
    if outside.size:
        raise ValueError(
            f"Expected kept groups of a layer with {count}, numbered from 0. "
            f"Received: {outside.tolist()} among {groups.tolist()}."
        )
    values, times = np.unique(groups, return_counts=True)
    if values.size != groups.size:
        raise ValueError(
            f"Expected each kept group once. Received: {values[times > 1].tolist()} more than once."
        )
    # (parts, 1, 1) + (1, kept, 1) + (1, 1, width): every start meets every offset, no loop.
    part = np.arange(parts, dtype=np.int64).reshape(-1, 1, 1) * (count * width)
    group = groups.reshape(1, -1, 1) * width
    offset = np.arange(width, dtype=np.int64).reshape(1, 1, -1)
    return (part + group + offset).reshape(-1)


def layout_indices(
    kept: Sequence[int], widths: Sequence[int], *, count: int
) -> npt.NDArray[np.int64]:
    """Give the indices of the features that the kept groups own in parts of different widths.

    Args:
        kept: The groups that stay, each in `0 … count − 1` and named once.
        widths: Features of one group in each part, in the order of the parts.
        count: Groups in the layer as it is now, at least 0.

    Returns:
        int64 array of shape (len(kept) * sum(widths),).

    Raises:
        ValueError: A kept group is out of range or named twice, or a size is out of range.
        TypeError: A kept group is not an integer.

    Example:
        >>> layout_indices([1], (2, 1, 1), count=2).tolist()  # 2 query heads to a key and value
        [2, 3, 5, 7]
    """
    found = [np.zeros(0, dtype=np.int64)]
    start = 0
    for width in widths:
        found.append(start + group_indices(kept, width, count=count))
        start += count * width
    return np.concatenate(found)


def owners(widths: Sequence[int], *, count: int) -> npt.NDArray[np.int64]:
    """Tell which group owns each feature: the other way round than `layout_indices`.

    Args:
        widths: Features of one group in each part, in the order of the parts.
        count: Groups in the layer, at least 0.

    Returns:
        int64 array of shape (count * sum(widths),).

    Example:
        >>> owners((2, 1), count=2).tolist()
        [0, 0, 1, 1, 0, 1]
    """
    parts = [np.repeat(np.arange(count, dtype=np.int64), width) for width in widths]
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def surviving_heads(
    heads: Iterable[int], n_heads: int, already_pruned: Iterable[int] = ()
) -> tuple[set[int], list[int]]:
    """Tell which heads are still to be pruned and which positions stay afterwards.

    Heads keep the number they were born with; positions count only those still in the layer.
    With heads 0 and 2 of five gone, head 3 sits at position 1:

    ```
    number     0  1  2  3  4
               ×  │  ×  │  │
    position      0     1  2
    ```

    Args:
        heads: Numbers of the heads to prune, in any order; a repeated one counts once and
            one pruned before is passed over.
        n_heads: How many heads the layer has now, at least 0.
        already_pruned: Numbers of the heads pruned before.

    Returns:
        The numbers of the heads not pruned yet, and the positions of the heads that stay,
        ascending, each in `0 … n_heads − 1`.

    Raises:
        ValueError: A number is negative or belongs to no head of the layer. A negative one
            does not count from the end: [1, −3] of 4 heads would name one head twice.
        TypeError: A number is not an integer.

    Example:
        >>> surviving_heads([2, 3], n_heads=3, already_pruned=[0, 2])
        ({3}, [0, 2])
    """
    if n_heads < 0:
        raise ValueError(f"Expected n_heads to be at least 0. Received: {n_heads}.")
    gone = sorted({operator.index(head) for head in already_pruned})
    if gone and gone[0] < 0:
        raise ValueError(f"Expected already pruned heads to be at least 0. Received: {gone}.")
    asked = {operator.index(head) for head in heads}
    fresh = asked.difference(gone)
    position = {head: head - bisect_left(gone, head) for head in fresh}
    outside = sorted(head for head in fresh if head < 0 or position[head] >= n_heads)
    if outside:
        present = f"{n_heads} heads" + (f" left after {gone} were pruned" if gone else "")
        raise ValueError(
            f"Expected heads of a layer with {present}. "
            f"Received: {outside} among {sorted(asked)}. "
            "Heads are numbered from 0, as in the layer before any were pruned."
        )
    removed = set(position.values())
    return fresh, [place for place in range(n_heads) if place not in removed]
