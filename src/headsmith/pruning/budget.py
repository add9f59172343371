"""Budget: how much of a model may stay, and in what it is counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from headsmith.errors import BudgetError
from headsmith.spec.cost import BlockShape, total_flops, total_parameters

__all__ = ["Budget", "Cost", "Floors", "one_budget"]

Kind = Literal["flops", "params", "latency", "keep", "max_bytes"]

Cost = Callable[[BlockShape, int], float]
"""What a block costs when so many of its groups stay."""


@dataclass(frozen=True)
class Floors:
    """What every block keeps at least, however little it matters; a smaller block keeps all.

    Args:
        heads: heads an attention block keeps; 0 lets whole blocks go.
        neurons: neurons a feed-forward block keeps; 0 lets whole blocks go.

    Raises:
        BudgetError: a number is negative.

    Example:
        >>> from headsmith.pruning.budget import Floors
        >>> from headsmith.spec.cost import BlockShape
        >>> Floors(heads=1).of(BlockShape("layer.0.attention", "heads", 12, 32, 1536, 1536))
        1
    """

    heads: int = 0
    neurons: int = 0

    def __post_init__(self) -> None:
        for name in ("heads", "neurons"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise BudgetError(f"The least number of {name} is 0 or more. Received {value!r}.")

    def of(self, shape: BlockShape) -> int:
        """The least number of groups that `shape` keeps."""
        asked = self.heads if shape.kind == "heads" else self.neurons
        return min(shape.count, max(shape.least, asked))


@dataclass(frozen=True)
class Budget:
    """One budget.

    Args:
        kind: `"flops"`, `"params"` and `"latency"` are fractions of what the blocks' FLOPs, the
            blocks' parameters and the whole model's time on this device are; `"keep"` is the
            fraction of heads and of neurons that each block keeps; `"max_bytes"` is what all
            weights of the model may take, in their own dtype.
        amount: the fraction, in (0, 1]; for `"max_bytes"` the bytes.
    """

    kind: Kind
    amount: float

    def counted(
        self, model: nn.Module, shapes: Sequence[BlockShape], length: int
    ) -> tuple[Cost, float]:
        """The cost function of a budget that can be counted, and the most the blocks may cost.

        Args:
            model: the model as it is.
            shapes: its blocks.
            length: tokens of a sequence, for FLOPs.

        Raises:
            BudgetError: what cannot be removed alone takes more than `max_bytes`, or `length` is
                below 1.
        """
        if length < 1:
            raise BudgetError(f"FLOPs are counted for 1 token or more. Received length={length}.")
        if self.kind == "flops":
            return (lambda s, kept: s.flops(length, kept)), self.amount * total_flops(
                shapes, length
            )
        if self.kind == "params":
            return (lambda s, kept: s.parameters(kept)), self.amount * total_parameters(shapes)
        width = next(model.parameters()).element_size()
        whole = sum(p.numel() * p.element_size() for p in model.parameters())
        fixed = whole - total_parameters(shapes) * width
        if self.amount <= fixed:
            raise BudgetError(
                f"The weights that cannot be removed (embeddings and the like) take {fixed:,} "
                f"bytes, so max_bytes must be above that. Received {self.amount:,.0f}."
            )
        return (lambda s, kept: s.parameters(kept) * width), min(self.amount, whole) - fixed

    def uniform(self, shapes: Sequence[BlockShape], floors: Floors) -> dict[str, int]:
        """Block name → groups kept when each block keeps the same fraction, at least one."""
        return {
            s.name: min(s.count, max(floors.of(s), 1, round(self.amount * s.count))) for s in shapes
        }


def one_budget(given: Mapping[str, float | None]) -> Budget:
    """The one budget among `given`, checked.

    Args:
        given: kind → amount, or None where it was not given.

    Raises:
        BudgetError: not exactly one is given, or it is out of its range.

    Example:
        >>> from headsmith.pruning.budget import one_budget
        >>> one_budget({"flops": 0.5, "params": None})
        Budget(kind='flops', amount=0.5)
    """
    named = {kind: amount for kind, amount in given.items() if amount is not None}
    if len(named) != 1:
        raise BudgetError(
            f"Give one budget: {', '.join(given)}. "
            f"Received {' and '.join(named) if named else 'none'}."
        )
    ((kind, amount),) = named.items()
    if kind == "max_bytes":
        if not (isinstance(amount, int | float) and amount > 0):
            raise BudgetError(f"max_bytes is a number of bytes above 0. Received {amount!r}.")
    elif not (isinstance(amount, int | float) and 0 < amount <= 1):
        raise BudgetError(
            f"{kind} is the fraction to keep, above 0 and at most 1 (0.6 keeps 60%). "
            f"Received {amount!r}."
        )
    return Budget(kind, amount)  # type: ignore[arg-type]
