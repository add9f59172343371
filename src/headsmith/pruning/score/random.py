"""Random order: the control that every other score has to beat."""

from __future__ import annotations

import torch
from torch import nn

from headsmith.pruning.families import Block
from headsmith.pruning.score.ranking import Ranking, needs
from headsmith.pruning.statistics import BlockStatistics

__all__ = ["random"]


@needs()
def random(
    block: Block, base: nn.Module, statistics: BlockStatistics, generator: torch.Generator
) -> Ranking:
    """Rank at random, by `generator`."""
    return Ranking.by(torch.rand(block.count, generator=generator))
