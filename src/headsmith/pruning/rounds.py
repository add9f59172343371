"""Rounds: reach a budget by several cuts, each keeping the same fraction of what is left.

Scores are taken anew after each cut and repair, of the smaller model. With a budget t of the
whole and R rounds, round r ends at t^(r/R).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from headsmith.errors import BudgetError
from headsmith.pruning.budget import one_budget
from headsmith.spec.cost import BlockShape, total_flops, total_parameters

__all__ = ["KINDS", "Schedule"]

KINDS = ("flops", "params", "latency", "keep", "max_bytes")
"""The names of budgets."""

_IN_ROUNDS = ("flops", "params", "max_bytes")


class Schedule:
    """The budget of each round, in terms of the model as it is by then.

    Args:
        model: as it is at the beginning.
        shapes: its blocks.
        rounds: how many.
        search: holds one budget of the whole among other settings, and perhaps `length`.

    Raises:
        BudgetError: the budget is out of range, or one that rounds cannot lead to.
    """

    def __init__(
        self,
        model: nn.Module,
        shapes: Sequence[BlockShape],
        rounds: int,
        search: Mapping[str, Any],
    ) -> None:
        if not isinstance(rounds, int) or rounds < 1:
            raise BudgetError(f"rounds is 1 or more. Received {rounds!r}.")
        self.rounds = rounds
        self._length = int(search.get("length", 128))
        self._budget = one_budget({kind: search.get(kind) for kind in KINDS})
        if rounds > 1 and self._budget.kind not in _IN_ROUNDS:
            raise BudgetError(
                f"Several rounds lead to a budget of {', '.join(_IN_ROUNDS)}. "
                f"Received {rounds} rounds with {self._budget.kind}: take one round."
            )
        self._whole = self._cost(model, shapes)

    def __call__(
        self, number: int, model: nn.Module, shapes: Sequence[BlockShape]
    ) -> dict[str, float] | None:
        """The budget of round `number`, from 1, as `make_plan` takes it; None: nothing to do."""
        kind, amount = self._budget.kind, self._budget.amount
        if self.rounds == 1:
            return {kind: amount}
        share = number / self.rounds
        if kind == "max_bytes":
            return {kind: self._whole * min(1.0, amount / self._whole) ** share}
        fraction = amount**share * self._whole / max(1.0, self._cost(model, shapes))
        return {kind: fraction} if fraction < 1 else None

    def _cost(self, model: nn.Module, shapes: Sequence[BlockShape]) -> float:
        if self._budget.kind == "max_bytes":
            return float(sum(p.numel() * p.element_size() for p in model.parameters()))
        if self._budget.kind == "flops":
            return float(total_flops(shapes, self._length))
        return float(total_parameters(shapes))
