"""Magnitude: the norm of all weights that a head or neuron owns. Needs no data."""

from __future__ import annotations

import torch
from torch import nn

from headsmith.pruning.families import Block
from headsmith.pruning.projections import weight
from headsmith.pruning.score.ranking import Ranking
from headsmith.pruning.statistics import BlockStatistics

__all__ = ["magnitude"]


def magnitude(
    block: Block, base: nn.Module, statistics: BlockStatistics, generator: torch.Generator
) -> Ranking:
    """Rank by the Euclidean norm of the group's rows in the readers and columns in the writer."""
    writer = weight(base.get_submodule(block.writer)).double()
    squares = writer.square().sum(0).reshape(block.count, block.width).sum(1)
    for reader in block.readers:
        rows = weight(base.get_submodule(reader.path)).double().square().sum(1)
        squares = squares + rows.reshape(reader.parts, block.count, block.width).sum((0, 2))
    return Ranking.by(torch.sqrt(squares).cpu())
