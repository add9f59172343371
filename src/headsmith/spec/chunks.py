"""Where chunks begin and end: plain integers, no framework."""

from __future__ import annotations

import operator

__all__ = ["check_chunk_size", "chunk_bounds"]


def chunk_bounds(length: int, chunk_size: int) -> list[tuple[int, int]]:
    """Cut `length` positions into runs of `chunk_size`, the last one shorter if it must be.

    Args:
        length: Positions to cut, at least 0.
        chunk_size: Positions in a chunk; 0 or less means all of them in one chunk.

    Returns:
        (start, stop) of each chunk, in order and without gaps. There is always at least one,
        for an empty length the chunk (0, 0): whoever works chunk by chunk then still learns
        the shape of an empty result.

    Raises:
        ValueError: `length` is negative.
        TypeError: `length` or `chunk_size` is not an integer.

    Example:
        >>> chunk_bounds(7, 3)
        [(0, 3), (3, 6), (6, 7)]
        >>> chunk_bounds(7, 0)
        [(0, 7)]
    """
    length, chunk_size = operator.index(length), operator.index(chunk_size)
    if length < 0:
        raise ValueError(f"Expected a length of at least 0. Received: {length}.")
    if chunk_size <= 0 or chunk_size >= length:
        return [(0, length)]
    return [(start, min(start + chunk_size, length)) for start in range(0, length, chunk_size)]


def check_chunk_size(chunk_size: int | None, reader: str) -> None:
    """Refuse a size that no chunk can have; None leaves the choice to the function.

    Args:
        chunk_size: Positions in a chunk, or None.
        reader: Who asks, for the error.

    Raises:
        ValueError: It is no whole number, or below 1.

    Example:
        >>> check_chunk_size(64, "PoolerEndLogits")
    """
    if chunk_size is None or (hasattr(chunk_size, "__index__") and chunk_size >= 1):
        return
    raise ValueError(
        f"{reader} expects `chunk_size` to be a whole number, 1 or more, or None. "
        f"Received: {chunk_size!r}."
    )
