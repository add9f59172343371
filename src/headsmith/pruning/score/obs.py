"""Structured Optimal Brain Surgeon under a Kronecker-factored metric.

The error of a block's output y = W x is weighed by M = E[g gᵀ], g being the objective's
gradient at y, and felt through H = Cov[x]. Removing group g and letting the others make up
for it as well as they can costs tr(V_g (H⁻¹_gg)⁻¹ V_gᵀ) with V = M^½ W. The cheapest group
goes, the rest are compensated, H⁻¹ shrinks, and the next is chosen: so two heads that can
stand in for each other are not both removed.

Sources: Hassibi and Stork (1993) for the surgeon; Martens and Grosse (2015) for the factored
metric; Kurtic et al. (2023, "ZipLM") for groups of columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headsmith.pruning.families import Block
from headsmith.pruning.moments import damped
from headsmith.pruning.projections import bias, weight
from headsmith.pruning.score.ranking import Ranking
from headsmith.pruning.statistics import BlockStatistics

__all__ = ["obs"]

_DAMPING = 0.03
_STEPS = 96  # removals a block at most: narrow groups go several at a time


def obs(
    block: Block, base: nn.Module, statistics: BlockStatistics, generator: torch.Generator
) -> Ranking:
    """Rank by the order in which the surgeon removes; importance is the cost of the removal."""
    if not block.count:
        return Ranking((), ())
    root = _root(statistics.cotangents.second_moment)
    writer = base.get_submodule(block.writer)
    matrix = weight(writer).to(root.device).double()
    # A bias makes up for the mean of what goes; without one the mean is lost as well.
    inputs = statistics.inputs
    spread = inputs.second_moment if bias(writer) is None else inputs.covariance
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped(spread, _DAMPING)))
    return _remove_all(root.T @ matrix, inverse, block.count, block.width)


def _root(metric: Tensor) -> Tensor:
    """Its Cholesky factor, damped as little as will do.

    Gradients of a loss may come from few tokens alone; their matrix, of low rank and summed
    from float32 products, is then indefinite by rounding.
    """
    for damping in (1e-6, 1e-5, 1e-4, 1e-3):
        root: Tensor
        root, failed = torch.linalg.cholesky_ex(damped(metric, damping))
        if not failed:
            return root
    root = torch.linalg.cholesky(damped(metric, 1e-2))
    return root


def _remove_all(matrix: Tensor, inverse: Tensor, count: int, width: int) -> Ranking:
    at_once = max(1, count // _STEPS)
    left = torch.arange(count, device=matrix.device)
    order: list[int] = []
    importance = torch.zeros(count, dtype=torch.float64)
    while len(left):
        costs = _costs(matrix, inverse, width)
        chosen = torch.argsort(costs, stable=True)[:at_once]
        groups = left[chosen]
        order += groups.tolist()
        # A later removal is never cheaper to undo: keep importance ascending along the order.
        floor = importance.max()
        importance[groups.cpu()] = torch.maximum(costs[chosen].cpu(), floor)
        stays = torch.ones(len(left), dtype=torch.bool, device=left.device)
        stays[chosen] = False
        left = left[stays]
        columns = stays.repeat_interleave(width)
        matrix, inverse = _compensate(matrix, inverse, columns)
    return Ranking(tuple(order), tuple(importance.tolist()))


def _costs(matrix: Tensor, inverse: Tensor, width: int) -> Tensor:
    if width == 1:
        narrow: Tensor = matrix.square().sum(0) / inverse.diagonal()
        return narrow
    count = matrix.shape[1] // width
    blocks = inverse.reshape(count, width, count, width)
    index = torch.arange(count, device=matrix.device)
    own = blocks[index, :, index, :]
    columns = matrix.reshape(len(matrix), count, width).permute(1, 2, 0)
    costs: Tensor = (columns * torch.linalg.solve(own, columns)).sum((1, 2))
    return costs


def _compensate(matrix: Tensor, inverse: Tensor, stays: Tensor) -> tuple[Tensor, Tensor]:
    goes = ~stays
    own = inverse[goes][:, goes]
    shared = inverse[goes][:, stays]
    step = torch.linalg.solve(own, shared)
    return matrix[:, stays] - matrix[:, goes] @ step, inverse[stays][:, stays] - shared.T @ step
