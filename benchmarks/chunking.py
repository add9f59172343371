"""`apply_chunking_to_forward` on the feed-forward block of BERT: time and peak memory."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import pytorch_utils as reference

import headsmith.torch as ours
from benchmarks.harness import Case, Sides

BATCH, LENGTH, HIDDEN, INNER = 8, 512, 768, 3072


def cases() -> Iterator[Case]:
    """The whole block, and the wide activation itself as the result, which weighs the most."""
    for grad, chunk_size in ((False, 256), (False, 64), (True, 64)):
        for width in (HIDDEN, INNER):
            yield Case(
                "apply_chunking_to_forward",
                f"{BATCH}×{LENGTH}×{HIDDEN}→{width}, chunks of {chunk_size}, "
                f"grad {'on' if grad else 'off'}",
                partial(_sides, width, chunk_size, grad),
                weigh=True,
            )


def _sides(width: int, chunk_size: int, grad: bool) -> Sides:
    inner = nn.Sequential(nn.Linear(HIDDEN, INNER), nn.GELU())
    block = inner if width == INNER else inner.append(nn.Linear(INNER, HIDDEN))
    x = torch.randn(BATCH, LENGTH, HIDDEN)

    # A plain function, since 4.34 refuses a module.
    def feed_forward(hidden: Tensor) -> Any:
        return block(hidden)

    def call(module: Any) -> Any:
        with torch.set_grad_enabled(grad):
            out = module.apply_chunking_to_forward(feed_forward, chunk_size, 1, x)
            if not grad:
                return out
            return torch.autograd.grad(out.sum(), list(block.parameters()))

    return Sides(partial(call, ours), partial(call, reference))
