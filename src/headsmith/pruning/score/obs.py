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

from headsmith.errors import HeadsmithError
from headsmith.pruning.families import Block
from headsmith.pruning.moments import damp_, damped
from headsmith.pruning.projections import bias, weight
from headsmith.pruning.score.ranking import Ranking, needs
from headsmith.pruning.statistics import BlockStatistics

__all__ = ["obs", "weighed"]

_DAMPING = 0.03
_STEPS = 96  # removals a block at most: narrow groups go several at a time
_ROWS = 512
_WORTH = 0.7  # with less than this left, what is gone is dropped from the matrices


@needs("inputs", "cotangents")
def obs(
    block: Block, base: nn.Module, statistics: BlockStatistics, generator: torch.Generator
) -> Ranking:
    """Rank by the order in which the surgeon removes; importance is the cost of the removal."""
    if not block.count:
        return Ranking((), ())
    return _remove_all(*weighed(block, base, statistics), block.count, block.width)


def weighed(block: Block, base: nn.Module, statistics: BlockStatistics) -> tuple[Tensor, Tensor]:
    """What a removal is measured by: V = M^½ W and H⁻¹; the moments are used up.

    Args:
        block: a block of the base model.
        base: the base model.
        statistics: of the block, its inputs and cotangents.

    Returns:
        (outputs, features) and (features, features).
    """
    writer = base.get_submodule(block.writer)
    # A bias makes up for the mean of what goes; without one the mean is lost as well.
    inputs = statistics.inputs
    spread = inputs.second_moment if bias(writer) is None else inputs.covariance
    inverse = _invert_(damp_(spread, _DAMPING))
    root = _root(statistics.cotangents.second_moment)
    return root.T.to(inverse) @ weight(writer).to(inverse), inverse


def _invert_(matrix: Tensor) -> Tensor:
    """The inverse of a positive definite matrix, in its own memory where LAPACK allows."""
    turned = matrix.mT  # the same numbers, in the order LAPACK has them
    failed = torch.zeros((), dtype=torch.int32, device=matrix.device)
    torch.linalg.cholesky_ex(turned, out=(turned, failed))
    if failed:
        raise HeadsmithError(
            "The features of a block have no covariance that can be inverted: on this data some "
            "are NaN or infinite. Run the model in float32, or leave out the texts that do it."
        )
    torch.cholesky_inverse(turned, out=turned)
    return matrix


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
    """Remove group after group; `matrix` and `inverse` are used up."""
    at_once = max(1, count // _STEPS)
    groups = torch.arange(count, device=matrix.device)
    stays = torch.ones(count, dtype=torch.bool, device=matrix.device)
    order: list[int] = []
    importance = torch.zeros(count, dtype=torch.float64)
    while len(order) < count:
        costs = _costs(matrix, inverse, width).masked_fill_(~stays, torch.inf)
        chosen = torch.argsort(costs, stable=True)[: min(at_once, count - len(order))]
        gone = groups[chosen].cpu()
        order += gone.tolist()
        # A later removal is never cheaper to undo: keep importance ascending along the order.
        floor = importance.max()
        importance[gone] = torch.maximum(costs[chosen].cpu().double(), floor)
        stays[chosen] = False
        _compensate_(matrix, inverse, _columns(chosen, width))
        # What is gone is carried along for a while: copying what is left costs more.
        if int(stays.sum()) < _WORTH * len(groups):
            left = stays.nonzero().squeeze(1)
            groups, stays = groups[left], stays[left]
            columns = _columns(left, width)
            matrix, inverse = matrix[:, columns], _keep_(inverse, columns)
    return Ranking(tuple(order), tuple(importance.tolist()))


def _keep_(inverse: Tensor, columns: Tensor) -> Tensor:
    """Some rows and columns, ascending, moved together in the memory of all."""
    flat, left = inverse.reshape(-1), len(columns)
    for first in range(0, left, _ROWS):
        part = inverse[columns[first : first + _ROWS]][:, columns]
        # It ends before the rows that are still to be moved.
        flat[first * left : first * left + part.numel()] = part.flatten()
    return flat[: left * left].view(left, left)


def _columns(groups: Tensor, width: int) -> Tensor:
    return (groups[:, None] * width + torch.arange(width, device=groups.device)).flatten()


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


def _compensate_(matrix: Tensor, inverse: Tensor, goes: Tensor) -> None:
    """Let the other columns make up for those that go, in place; those that go become zero."""
    shared = inverse[goes]
    step = torch.linalg.solve(shared[:, goes], shared)
    matrix.addmm_(matrix[:, goes], step, alpha=-1)
    inverse.addmm_(shared.T, step, alpha=-1)
    inverse.diagonal()[goes] = 1.0  # they are asked for no more, and divide nothing by zero
