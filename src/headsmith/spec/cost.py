"""What a block costs: parameters, and FLOPs for one token, as a function of what is kept.

Counted are the matrix products of attention and feed-forward blocks, two FLOPs a
multiply-add; biases of rows that go are counted as parameters. Softmax, LayerNorm and
activation functions are left out, as is usual, and so are the embeddings. Cross-attention is
counted as if the sequence attended to were as long as the one that attends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headsmith.spec.plan import Kind

__all__ = ["BlockShape", "total_flops", "total_parameters"]


@dataclass(frozen=True)
class BlockShape:
    """Sizes of one attention or feed-forward block.

    Args:
        name: the block's name in a `PrunePlan`.
        kind: `"heads"` or `"neurons"`.
        count: heads or neurons it has now. Where query heads share keys and values, one of
            these heads is such a group of them.
        width: features one of them owns in the output projection (head size times query heads;
            1 for a neuron).
        weights_per_group: weights and biases that go with one of them.
        products_per_group: multiply-adds for one token that go with one of them, once through.
        repeats: how often a token passes the block; above 1 where layers share their weights.
        least: how many have to stay.
    """

    name: str
    kind: Kind
    count: int
    width: int
    weights_per_group: int
    products_per_group: int
    repeats: int = 1
    least: int = 0

    def parameters(self, kept: int | None = None) -> int:
        """Removable parameters left when `kept` heads or neurons stay (None: all)."""
        return self._left(kept) * self.weights_per_group

    def flops(self, length: int, kept: int | None = None) -> int:
        """FLOPs for one token of a sequence of `length` tokens when `kept` stay (None: all)."""
        products = self.products_per_group
        if self.kind == "heads":
            products += 2 * length * self.width  # query × keys, and probabilities × values
        return 2 * self._left(kept) * products * self.repeats

    def _left(self, kept: int | None) -> int:
        return self.count if kept is None else kept


def total_flops(
    shapes: Iterable[BlockShape], length: int, kept: Mapping[str, int] | None = None
) -> int:
    """FLOPs for one token over all blocks; `kept` maps block names to how many stay."""
    kept = kept or {}
    return sum(s.flops(length, kept.get(s.name)) for s in shapes)


def total_parameters(shapes: Iterable[BlockShape], kept: Mapping[str, int] | None = None) -> int:
    """Removable parameters over all blocks; `kept` maps block names to how many stay."""
    kept = kept or {}
    return sum(s.parameters(kept.get(s.name)) for s in shapes)
