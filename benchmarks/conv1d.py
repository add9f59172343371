"""`Conv1D` as in the feed-forward block of GPT-2."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from transformers import pytorch_utils as reference

import headsmith.torch as ours
from benchmarks.harness import Case, Sides


def cases() -> Iterator[Case]:
    """Forward alone, and forward with backward."""
    for nx, nf in ((768, 3072), (3072, 768)):
        for backward in (False, True):
            passes = "forward + backward" if backward else "forward"
            yield Case(
                "Conv1D", f"{nx}→{nf}, 4×128 tokens, {passes}", partial(_sides, nx, nf, backward)
            )


def _sides(nx: int, nf: int, backward: bool) -> Sides:
    layers = ours.Conv1D(nf, nx), reference.Conv1D(nf, nx)
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(4, 128, nx)
    cotangent = torch.randn(4, 128, nf)

    def call(layer: torch.nn.Module) -> Any:
        if not backward:
            with torch.no_grad():
                return layer(x)
        source = x.requires_grad_()
        return torch.autograd.grad(layer(source), [source, *layer.parameters()], cotangent)

    return Sides(*(partial(call, layer) for layer in layers))
