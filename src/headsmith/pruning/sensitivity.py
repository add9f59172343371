"""How much the whole model's error grows with what one block loses, measured block by block."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headsmith.pruning.data import Batch
from headsmith.pruning.families import Block, Description
from headsmith.pruning.moments import damped
from headsmith.pruning.objective import Objective
from headsmith.pruning.projections import bias, weight, write
from headsmith.pruning.replay import Replay, inference, to_device
from headsmith.pruning.score import Ranking
from headsmith.pruning.statistics import BlockStatistics
from headsmith.spec.geometry import group_indices

__all__ = ["Sensitivity", "measure"]

_RIDGE = 0.03
_FRACTIONS = (0.0, 1 / 24, 1 / 12, 1 / 6, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8)


@dataclass(frozen=True)
class Sensitivity:
    """Error of the whole model with one block cut to some sizes, all else unpruned.

    Args:
        sizes: groups kept, ascending, the last being all.
        errors: the error at each size; 0 at the last.
    """

    sizes: tuple[int, ...]
    errors: tuple[float, ...]

    def at(self, sizes: Sequence[int]) -> NDArray[np.float64]:
        """Errors at any sizes, interpolated in the logarithm, never rising with size."""
        measured = np.maximum(np.array(self.errors[:-1]), 1e-12)
        # Noise may let a larger block look worse; more is never worse in truth.
        measured = np.maximum.accumulate(measured[::-1])[::-1]
        known, full = self.sizes[:-1], self.sizes[-1]
        wanted = np.asarray(sizes, dtype=float)
        if not known:
            return np.zeros(len(wanted))
        logs = np.interp(wanted, known, np.log(measured))
        found: NDArray[np.float64] = np.exp(logs)
        # Towards the whole block the error goes to zero, whose logarithm does not exist.
        last = known[-1]
        beyond = wanted > last
        found[beyond] *= (full - wanted[beyond]) / max(1, full - last)
        return found


def measure(
    model: nn.Module,
    description: Description,
    statistics: Mapping[str, BlockStatistics],
    rankings: Mapping[str, Ranking],
    batches: Sequence[Batch],
    objective: Objective,
    *,
    step: Callable[[int, int], None] | None = None,
) -> dict[str, Sensitivity]:
    """Try each block at about ten sizes, its output projection refitted, and measure the error.

    Args:
        model: the unpruned model; left as it was.
        description: what `describe` says of it.
        statistics: from `collect`, for the refit.
        rankings: in which order each block's groups go.
        batches: some hundred texts.
        objective: measures the error.
        step: called with (trials done, trials in all).

    Returns:
        Block name → sensitivity.
    """
    replay = Replay(model, description)
    sizes = {b.name: _sizes(b.count) for b in description.blocks}
    total = sum(len(s) - 1 for s in sizes.values())
    done = 0
    found: dict[str, Sensitivity] = {}
    on_device = [to_device(b, model) for b in batches]
    with inference(model), torch.no_grad():
        targets = [objective.target(replay(b), b) for b in on_device]
        before: list[Any] = [None] * len(on_device)
        for layer in range(len(replay.layers)):
            for block in description.blocks:
                if block.layer_index != layer:
                    continue
                writer = description.base.get_submodule(block.writer)
                dense = weight(writer).clone(), bias(writer)
                dense = dense[0], None if dense[1] is None else dense[1].clone()
                errors = []
                for size in sizes[block.name][:-1]:
                    kept = rankings[block.name].best(size)
                    write(writer, *_refitted(writer, block, kept, statistics[block.name]))
                    errors.append(_error(replay, layer, before, on_device, targets, objective))
                    write(writer, *dense)
                    done += 1
                    if step is not None:
                        step(done, total)
                found[block.name] = Sensitivity(sizes[block.name], (*errors, 0.0))
            before = [
                replay(b, start=layer, given=given, stop=layer)
                for b, given in zip(on_device, before, strict=True)
            ]
    return found


def _sizes(count: int) -> tuple[int, ...]:
    return (*sorted({int(count * f + 0.5) for f in _FRACTIONS} - {count}), count)


def _refitted(
    writer: nn.Module, block: Block, kept: tuple[int, ...], statistics: BlockStatistics
) -> tuple[Tensor, Tensor | None]:
    """The full-size weight and bias that make the best of the kept columns alone."""
    own_bias = bias(writer)
    mean = statistics.inputs.mean
    # Without a bias nothing absorbs the mean: it has to be fitted like the rest.
    inputs = statistics.inputs
    covariance = inputs.second_moment if own_bias is None else inputs.covariance
    dense = weight(writer).to(covariance.device).double()
    columns = torch.from_numpy(group_indices(kept, block.width, count=block.count))
    columns = columns.to(covariance.device)
    own = dense[:, columns]
    inner = covariance[columns][:, columns]
    missing = dense @ covariance[:, columns] - own @ inner
    fitted = own + torch.linalg.solve(damped(inner, _RIDGE), missing.T).T
    whole = torch.zeros_like(dense)
    whole[:, columns] = fitted
    if own_bias is None:
        return whole, None
    return whole, own_bias.to(mean.device).double() + dense @ mean - fitted @ mean[columns]


def _error(
    replay: Replay,
    layer: int,
    before: Sequence[Any],
    batches: Sequence[Batch],
    targets: Sequence[Tensor],
    objective: Objective,
) -> float:
    error = scale = 0.0
    for batch, given, target in zip(batches, before, targets, strict=True):
        output = replay(batch, start=layer, given=given)
        one, size = objective.error(output, batch, target)
        error, scale = error + float(one), scale + size
    return error / max(scale, 1e-30)
