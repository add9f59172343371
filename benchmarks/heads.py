"""`find_pruneable_heads_and_indices`, with every second head to go."""

from collections.abc import Iterator
from functools import partial

from transformers import pytorch_utils as reference

import headsmith.torch as ours
from benchmarks.harness import Case, Sides


def cases() -> Iterator[Case]:
    """A layer of today and a large one."""
    for n_heads in (12, 128):
        yield Case(
            "find_pruneable_heads_and_indices",
            f"{n_heads} heads of 64, half go",
            partial(_sides, n_heads),
        )


def _sides(n_heads: int) -> Sides:
    arguments = (list(range(0, n_heads, 2)), n_heads, 64, set())
    return Sides(
        partial(ours.find_pruneable_heads_and_indices, *arguments),
        partial(reference.find_pruneable_heads_and_indices, *arguments),
    )
