"""Find the family of a model, and list its blocks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from headsmith.errors import UnknownFamilyError
from headsmith.pruning.families.bert import BERT
from headsmith.pruning.families.distilbert import DISTILBERT
from headsmith.pruning.families.gpt2 import GPT2
from headsmith.pruning.families.stack import Block, LayerStack
from headsmith.spec.cost import BlockShape

__all__ = ["Description", "base_of", "describe", "known_model_types", "register_family"]

_FAMILIES: dict[str, LayerStack] = {}


def register_family(family: LayerStack) -> None:
    """Make a family known for all its model types; a later one replaces an earlier one."""
    for model_type in family.model_types:
        _FAMILIES[model_type] = family


for _family in (BERT, DISTILBERT, GPT2):
    register_family(_family)


def known_model_types() -> list[str]:
    """The `config.model_type` values that some family describes, sorted.

    Example:
        >>> from headsmith.pruning.families import known_model_types
        >>> "bert" in known_model_types()
        True
    """
    return sorted(_FAMILIES)


@dataclass(frozen=True)
class Description:
    """What can be removed from one model.

    Args:
        model_type: the model's `config.model_type`.
        base: the base model, which all block paths start from.
        prefix: path of `base` below the model; empty when they are the same.
        blocks: attention and feed-forward blocks in the order they run.
    """

    model_type: str
    base: nn.Module
    prefix: str
    blocks: tuple[Block, ...]

    @property
    def shapes(self) -> list[BlockShape]:
        """The blocks' sizes and costs."""
        return [b.shape for b in self.blocks]

    def __getitem__(self, name: str) -> Block:
        return next(b for b in self.blocks if b.name == name)


def base_of(model: nn.Module) -> tuple[nn.Module, str]:
    """The base model (what `AutoModel` would load) and its path below `model`."""
    prefix = str(getattr(model, "base_model_prefix", ""))
    base = getattr(model, prefix, None) if prefix else None
    return (base, prefix) if isinstance(base, nn.Module) else (model, "")


def describe(model: nn.Module) -> Description:
    """List the attention and feed-forward blocks of a model.

    Args:
        model: a Transformers model of a known family, with or without a task head; pruned
            before or not.

    Raises:
        UnknownFamilyError: no family is registered for its model type, or its modules are
            not where that family has them.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> from headsmith.pruning.families import describe
        >>> config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
        ...                     num_attention_heads=2, intermediate_size=16)
        >>> [(b.name, b.count) for b in describe(BertModel(config)).blocks]
        [('encoder.layer.0.attention', 2), ('encoder.layer.0.intermediate', 16)]
    """
    model_type = str(getattr(getattr(model, "config", None), "model_type", ""))
    if model_type not in _FAMILIES:
        raise UnknownFamilyError(
            f"No family describes models of type {model_type or type(model).__name__!r}. "
            f"Known: {', '.join(known_model_types())}. Describe yours with a LayerStack and "
            "headsmith.pruning.families.register_family."
        )
    base, prefix = base_of(model)
    try:
        blocks = _FAMILIES[model_type].blocks(base)
    except AttributeError as error:
        raise UnknownFamilyError(
            f"This {type(model).__name__} calls itself {model_type!r} but does not have that "
            f"family's modules: {error}."
        ) from error
    return Description(model_type, base, prefix, tuple(blocks))
