"""Magnitude: the norm of all weights that a head or neuron owns. Needs no data."""

from __future__ import annotations

import torch
from torch import nn

from headsmith.pruning.families import Block
from headsmith.pruning.families.stack import find
from headsmith.pruning.projections import weight
from headsmith.pruning.score.ranking import Ranking, needs
from headsmith.pruning.statistics import BlockStatistics
from headsmith.spec.geometry import owners

__all__ = ["magnitude"]


@needs()
def magnitude(
    block: Block, base: nn.Module, statistics: BlockStatistics, generator: torch.Generator
) -> Ranking:
    """Rank by the Euclidean norm of the group's rows in the readers and columns in the writer."""
    writer = weight(base.get_submodule(block.writer)).double()
    squares = writer.square().sum(0).reshape(block.count, block.width).sum(1)
    for reader in block.readers:
        found = find(base, reader.path)
        matrix = found.detach() if isinstance(found, torch.Tensor) else weight(found)
        rows = matrix.double().square().flatten(1).sum(1) if matrix.ndim > 1 else None
        if rows is not None:
            owner = torch.from_numpy(owners(reader.widths, count=block.count))
            squares = squares.index_add(0, owner.to(rows.device), rows)
    return Ranking.by(torch.sqrt(squares).cpu())
