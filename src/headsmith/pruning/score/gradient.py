"""Gradient of the mask (Michel et al., 2019, "Are Sixteen Heads Really Better than One?")."""

from __future__ import annotations

import torch
from torch import nn

from headsmith.pruning.families import Block
from headsmith.pruning.score.ranking import Ranking, needs
from headsmith.pruning.statistics import BlockStatistics

__all__ = ["gradient"]


@needs("gradient")
def gradient(
    block: Block, base: nn.Module, statistics: BlockStatistics, generator: torch.Generator
) -> Ranking:
    """Rank by the mean over examples of |∂ objective / ∂ mask|."""
    return Ranking.by(statistics.gradient.cpu())
