"""prune_heads: attention heads told as Transformers 4 told them, removed from any known model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from headsmith.errors import PlanError
from headsmith.pruning.families import Description, describe
from headsmith.pruning.record import plan_of
from headsmith.pruning.surgery import apply_plan, plan_of_heads, self_attention

__all__ = ["prune_heads"]


def prune_heads(model: nn.Module, heads: Mapping[int, Iterable[int]]) -> None:
    """Remove attention heads, in place and for good.

    As `PreTrainedModel.prune_heads` of Transformers 4, for every family known: heads are told by
    the number they had before any was pruned, and those that are gone already are passed over.
    Mended: a layer or head that does not exist is an error before anything is changed, a layer
    may lose all its heads, and what was removed is noted so that the checkpoint loads again.

    Args:
        model: a model of a known family, with or without a head on top.
        heads: layer, from 0 → numbers of the heads to remove.

    Raises:
        PlanError: a layer or head does not exist.
        UnknownFamilyError: no family describes the model.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> from headsmith.pruning import prune_heads
        >>> config = BertConfig(vocab_size=9, hidden_size=12, num_hidden_layers=1,
        ...                     num_attention_heads=3, intermediate_size=16)
        >>> model = BertModel(config)
        >>> prune_heads(model, {0: [1]})
        >>> prune_heads(model, {0: [1, 2]})  # head 2 still has its number
        >>> model.encoder.layer[0].attention.self.query
        Linear(in_features=12, out_features=4, bias=True)
    """
    description = describe(model)
    left = _numbers_left(model, description)
    present = {}
    for layer, asked in heads.items():
        numbers, born = left.get(layer, ((), 0))
        wanted = sorted(set(asked))
        wrong = [head for head in wanted if not 0 <= head < born]
        if layer in left and wrong:
            raise PlanError(f"Layer {layer} had heads 0 to {born - 1} at first. Received {wrong}.")
        present[layer] = [numbers.index(h) for h in wanted if h in numbers]
    apply_plan(model, plan_of_heads(model, present))


def _numbers_left(
    model: nn.Module, description: Description
) -> dict[int, tuple[tuple[int, ...], int]]:
    """Layer → the first numbers of the heads it has now, and how many it had at first."""
    earlier = plan_of(model)
    left = {}
    for layer, block in self_attention(description).items():
        planned = earlier.blocks.get(block.name) if earlier else None
        if planned is None:
            left[layer] = (tuple(range(block.count)), block.count)
        else:
            left[layer] = (planned.kept, planned.count)
    return left
