"""Cutting half of a layer: `prune_linear_layer`, `prune_conv1d_layer`."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from transformers import pytorch_utils as reference

import headsmith.torch as ours
from benchmarks.harness import Case, Sides

WIDTHS = (768, 1024, 4096)
HEAD = 64


def cases() -> Iterator[Case]:
    """Every second head of 64 features stays, as rows and as columns."""
    for width in WIDTHS:
        for dim in (0, 1):
            for name, layer in (
                ("prune_linear_layer", torch.nn.Linear),
                ("prune_conv1d_layer", reference.Conv1D),
            ):
                yield Case(
                    name, f"{width}×{width}, dim {dim}", partial(_sides, name, layer, width, dim)
                )


def _sides(name: str, layer: Callable[..., Any], width: int, dim: int) -> Sides:
    index = torch.arange(width).reshape(-1, HEAD)[::2].reshape(-1)
    # One layer for both: ours takes the Conv1D of Transformers as well.
    arguments = (layer(width, width), index, dim)
    return Sides(
        partial(getattr(ours, name), *arguments), partial(getattr(reference, name), *arguments)
    )
