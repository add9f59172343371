"""How much the whole model's error grows with what one block loses, measured block by block."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headsmith.pruning.data import Batch
from headsmith.pruning.families import Block, Description
from headsmith.pruning.moments import Moments, damp_
from headsmith.pruning.objective import Objective
from headsmith.pruning.processes import add_up, count, share
from headsmith.pruning.projections import bias, weight, write
from headsmith.pruning.replay import Replay
from headsmith.pruning.score import Ranking
from headsmith.spec.geometry import group_indices

__all__ = ["Sensitivity", "Trials"]

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


class Trials:
    """Tries blocks at some sizes, their output projections refitted, all else unpruned.

    Args:
        description: what `describe` says of the unpruned model.
        replay: of that model.
        batches: some hundred texts, on the model's device, by their place among all.
        objective: measures the error.
        given: place of a batch → what the last stage left.
        done: trials that need not be made.
        step: called with (trials done, trials in all).
    """

    def __init__(
        self,
        description: Description,
        replay: Replay,
        batches: Mapping[int, Batch],
        objective: Objective,
        given: Mapping[int, Any],
        *,
        done: int = 0,
        step: Callable[[int, int], None] | None = None,
    ) -> None:
        self._description, self._replay, self._objective = description, replay, objective
        self._batches, self._step = batches, step
        self._done = done
        self._total = sum(len(_sizes(b.count)) - 1 for b in description.blocks)
        last = len(replay.layers)
        self._targets = {
            i: objective.target(replay(b, start=last, given=given[i]), b)
            for i, b in batches.items()
        }

    def __call__(
        self,
        block: Block,
        ranking: Ranking,
        inputs: Moments,
        given: Mapping[int, Any],
    ) -> Sensitivity:
        """Try one block at about ten sizes; processes take turns at them.

        Args:
            block: which.
            ranking: in which order its groups go.
            inputs: moments of what its output projection reads, for the refit.
            given: place of a batch → what the block's stage is given.

        Returns:
            The errors measured, the same in every process.
        """
        sizes = _sizes(block.count)
        writer = self._description.base.get_submodule(block.writer)
        own_bias = bias(writer)
        dense = weight(writer).clone(), None if own_bias is None else own_bias.clone()
        # Without a bias nothing absorbs the mean: it has to be fitted like the rest.
        spread = inputs.second_moment if own_bias is None else inputs.covariance
        errors = torch.zeros(len(sizes), dtype=torch.float64)
        for place, size in share(sizes[:-1]):
            kept = group_indices(ranking.best(size), block.width, count=block.count)
            columns = torch.from_numpy(kept).to(spread.device)
            write(writer, *_refitted(*dense, spread, inputs.mean, columns))
            errors[place] = self._error(block.layer_index, given)
            write(writer, *dense)
            self._tell(count())
        add_up(errors)
        return Sensitivity(sizes, tuple(errors.tolist()))

    def _error(self, stage: int, given: Mapping[int, Any]) -> float:
        error = scale = 0.0
        for place, batch in self._batches.items():
            output = self._replay(batch, start=stage, given=given[place])
            one, size = self._objective.error(output, batch, self._targets[place])
            error, scale = error + float(one), scale + size
        return error / max(scale, 1e-30)

    def _tell(self, more: int) -> None:
        self._done = min(self._total, self._done + more)
        if self._step is not None and more:
            self._step(self._done, self._total)


def _sizes(count: int) -> tuple[int, ...]:
    return (*sorted({int(count * f + 0.5) for f in _FRACTIONS} - {count}), count)


def _refitted(
    dense: Tensor, own_bias: Tensor | None, spread: Tensor, mean: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor | None]:
    """The full-size weight and bias that make the best of the kept columns alone.

    Args:
        dense: the whole weight, (out, features).
        own_bias: with it, (out,), or None.
        spread: covariance of the features, or their second moment where there is no bias.
        mean: of the features.
        columns: those that stay.
    """
    exact = dense.to(spread)
    own = exact[:, columns]
    inner = spread[columns][:, columns]
    missing = exact @ spread[:, columns] - own @ inner
    factor = torch.linalg.cholesky(damp_(inner, _RIDGE))
    fitted = own + torch.cholesky_solve(missing.T, factor).T
    whole = torch.zeros_like(exact)
    whole[:, columns] = fitted
    if own_bias is None:
        return whole, None
    mean = mean.to(exact)
    return whole, own_bias.to(exact) + exact @ mean - fitted @ mean[columns]
