"""Ranking: what every score answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from headsmith.pruning.families import Block
from headsmith.pruning.statistics import ALL, BlockStatistics, Need

__all__ = ["Ranking", "Score", "needs", "needs_of"]


@dataclass(frozen=True)
class Ranking:
    """An order in which the groups of one block may go.

    Args:
        order: all groups, the least useful first.
        importance: of each group, by its index; comparable within the block.
    """

    order: tuple[int, ...]
    importance: tuple[float, ...]

    @classmethod
    def by(cls, importance: Tensor) -> Ranking:
        """Rank by importance, (count,); of equals the first goes first."""
        order = torch.argsort(importance, stable=True)
        return cls(tuple(order.tolist()), tuple(importance.double().tolist()))

    def best(self, keep: int) -> tuple[int, ...]:
        """The `keep` groups that go last, ascending."""
        return tuple(sorted(self.order[len(self.order) - keep :]))


class Score(Protocol):
    """Ranks the groups of one block."""

    def __call__(
        self,
        block: Block,
        base: nn.Module,
        statistics: BlockStatistics,
        generator: torch.Generator,
    ) -> Ranking:
        """Rank the heads or neurons of `block`, a block of the base model `base`."""


_Score = TypeVar("_Score", bound=Score)


def needs(*statistics: Need) -> Callable[[_Score], _Score]:
    """Declare which fields of `BlockStatistics` a score reads; no others are collected for it."""

    def declare(score: _Score) -> _Score:
        score.needs = frozenset(statistics)  # type: ignore[attr-defined]
        return score

    return declare


def needs_of(score: Score) -> frozenset[Need]:
    """What a score declared to read; all, if it declared nothing."""
    found: frozenset[Need] = getattr(score, "needs", ALL)
    return found
