"""Ranks: the order of importance, in a form that can be compared between layers."""

from __future__ import annotations

from collections.abc import Collection, Sequence

__all__ = ["ranks"]


def ranks(importance: Sequence[float], kept: Collection[int] | None = None) -> list[int]:
    """Rank each of a block, 1 the most important; of equals a kept one comes first.

    Args:
        importance: of each head or neuron, by its index.
        kept: indices that stay; None where none goes.

    Example:
        >>> from headsmith.report.ranks import ranks
        >>> ranks([0.1, 0.9, 0.5])
        [3, 1, 2]
    """
    stays = set(range(len(importance)) if kept is None else kept)
    order = sorted(range(len(importance)), key=lambda i: (-importance[i], i not in stays, i))
    found = [0] * len(order)
    for place, index in enumerate(order, start=1):
        found[index] = place
    return found
