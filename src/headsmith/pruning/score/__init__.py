"""Scores: in which order the heads or neurons of one block should go. One file each."""

from __future__ import annotations

from headsmith.pruning.score.fisher import fisher
from headsmith.pruning.score.gradient import gradient
from headsmith.pruning.score.magnitude import magnitude
from headsmith.pruning.score.obs import obs
from headsmith.pruning.score.random import random
from headsmith.pruning.score.ranking import Ranking, Score

__all__ = ["SCORES", "Ranking", "Score", "fisher", "gradient", "magnitude", "obs", "random"]

SCORES: dict[str, Score] = {
    "obs": obs,
    "fisher": fisher,
    "gradient": gradient,
    "magnitude": magnitude,
    "random": random,
}
"""Name → score, the default first."""
