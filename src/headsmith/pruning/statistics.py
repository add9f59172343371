"""One pass over the calibration data: what flows through each block, and how much it matters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from headsmith.pruning.data import Batch
from headsmith.pruning.families import Block, Description
from headsmith.pruning.families.stack import Tokens
from headsmith.pruning.masks import masked
from headsmith.pruning.moments import Moments, sums_device
from headsmith.pruning.objective import Objective
from headsmith.pruning.projections import sizes
from headsmith.pruning.replay import inference, to_device
from headsmith.pruning.tokens import rows_of

__all__ = ["BlockStatistics", "collect"]


@dataclass
class BlockStatistics:
    """What one pass tells of one block.

    Args:
        inputs: moments of the writer's input features.
        cotangents: moments of the objective's gradient at the writer's output.
        gradient: Σ over examples of |∂ objective / ∂ mask|, (count,).
        gradient_squared: Σ over examples of its square, (count,).
    """

    inputs: Moments
    cotangents: Moments
    gradient: Tensor
    gradient_squared: Tensor


def collect(
    model: nn.Module,
    description: Description,
    batches: Sequence[Batch],
    objective: Objective,
    *,
    seed: int = 0,
    step: Callable[[int, int], None] | None = None,
) -> dict[str, BlockStatistics]:
    """Run the model forward and backward over `batches` without gradients of its weights.

    Args:
        model: the unpruned model; left as it was.
        description: what `describe` says of it.
        batches: calibration data.
        objective: gives the scalar whose gradient is taken.
        seed: of the objective's random directions.
        step: called with (batches done, batches in all).

    Returns:
        Block name → statistics.
    """
    device = next(model.parameters()).device
    found = {b.name: _empty(b, description, sums_device(device)) for b in description.blocks}
    generator = torch.Generator().manual_seed(seed)
    with inference(model):
        for number, batch in enumerate(batches):
            _add(model, description, to_device(batch, model), objective, generator, found)
            if step is not None:
                step(number + 1, len(batches))
    return found


def _empty(block: Block, description: Description, device: torch.device) -> BlockStatistics:
    features = block.count * block.width
    _, outputs = sizes(description.base.get_submodule(block.writer))
    zeros = torch.zeros(block.count, dtype=torch.float64, device=device)
    return BlockStatistics(
        Moments(features, device=device), Moments(outputs, device=device), zeros, zeros.clone()
    )


def _add(
    model: nn.Module,
    description: Description,
    batch: Batch,
    objective: Objective,
    generator: torch.Generator,
    found: dict[str, BlockStatistics],
) -> None:
    size = len(next(iter(batch.values())))
    blocks = [b for b in description.blocks if b.count]
    parameter = next(model.parameters())
    masks = {
        b.name: torch.ones(
            size, b.count, device=parameter.device, dtype=parameter.dtype, requires_grad=True
        )
        for b in blocks
    }
    with ExitStack() as stack:
        for block in blocks:
            writer = description.base.get_submodule(block.writer)
            hook = _watch(found[block.name], batch, block.tokens)
            stack.callback(writer.register_forward_hook(hook).remove)
        stack.enter_context(masked(model, masks))
        with torch.enable_grad():
            scalar = objective.probe(model(**batch), batch, generator)
            gradients = torch.autograd.grad(scalar, list(masks.values()), allow_unused=True)
    for block, gradient in zip(blocks, gradients, strict=True):
        if gradient is not None:
            statistics = found[block.name]
            exact = gradient.to(statistics.gradient.device).double()
            statistics.gradient += exact.abs().sum(0)
            statistics.gradient_squared += exact.square().sum(0)


def _watch(statistics: BlockStatistics, batch: Batch, tokens: Tokens) -> Any:
    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        statistics.inputs.add(rows_of(args[0], batch, tokens))

        def note(cotangent: Tensor) -> None:
            statistics.cotangents.add(rows_of(cotangent, batch, tokens))

        output.register_hook(note)  # type: ignore[no-untyped-call]

    return hook
