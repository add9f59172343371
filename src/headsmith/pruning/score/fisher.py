"""Diagonal Fisher information of the mask (Kwon et al., 2022).

"A Fast Post-Training Pruning Framework for Transformers": with the objective's second
derivative taken as diagonal, removing a group costs half its squared gradient.
"""

from __future__ import annotations

import torch
from torch import nn

from headsmith.pruning.families import Block
from headsmith.pruning.score.ranking import Ranking, needs
from headsmith.pruning.statistics import BlockStatistics

__all__ = ["fisher"]


@needs("gradient")
def fisher(
    block: Block, base: nn.Module, statistics: BlockStatistics, generator: torch.Generator
) -> Ranking:
    """Rank by the mean over examples of (∂ objective / ∂ mask)²."""
    return Ranking.by(statistics.gradient_squared.cpu())
