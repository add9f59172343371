"""Find the family of a model, and list its blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from headsmith.errors import UnknownFamilyError
from headsmith.pruning.families.discover import discover
from headsmith.pruning.families.known import KNOWN
from headsmith.pruning.families.stack import Block, Family
from headsmith.spec.cost import BlockShape

__all__ = [
    "Description",
    "base_of",
    "describe",
    "known_families",
    "known_model_types",
    "register_family",
]

_FAMILIES: dict[str, Family] = {}


def register_family(family: Family) -> None:
    """Make a family known for all its model types; a later one replaces an earlier one.

    Args:
        family: the description; `docs/families.md` shows how to write one.
    """
    for model_type in family.model_types:
        _FAMILIES[model_type] = family


for _family in KNOWN:
    register_family(_family)


def known_model_types() -> list[str]:
    """The `config.model_type` values that some family describes, sorted.

    Example:
        >>> from headsmith.pruning.families import known_model_types
        >>> "bert" in known_model_types()
        True
    """
    return sorted(_FAMILIES)


def known_families() -> Iterable[Family]:
    """Each family once, in the order they were registered."""
    return dict.fromkeys(_FAMILIES.values())


@dataclass(frozen=True)
class Description:
    """What can be removed from one model.

    Args:
        model_type: the model's `config.model_type`, or its class name if it has none.
        base: the base model, which all block paths start from.
        prefix: path of `base` below the model; empty when they are the same.
        blocks: attention and feed-forward blocks in the order they run.
        family: the description they were found by.
        discovered: whether that description was found by structure and not written by someone.
    """

    model_type: str
    base: nn.Module
    prefix: str
    blocks: tuple[Block, ...]
    family: Family
    discovered: bool = False

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

    A model of no known family is searched for lists of like layers whose projections have
    usual names and fitting sizes. Where that is not unambiguous, it is an error.

    Args:
        model: a model of a known family, with or without a task head, or one that can be
            understood by its structure; pruned before or not.

    Raises:
        UnknownFamilyError: no family is registered for its model type and its structure is not
            clear, or its modules are not where that family has them.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> from headsmith.pruning.families import describe
        >>> config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
        ...                     num_attention_heads=2, intermediate_size=16)
        >>> [(b.name, b.count) for b in describe(BertModel(config)).blocks]
        [('encoder.layer.0.attention', 2), ('encoder.layer.0.intermediate', 16)]
    """
    model_type = str(getattr(getattr(model, "config", None), "model_type", ""))
    model_type = model_type or type(model).__name__
    base, prefix = base_of(model)
    family = _FAMILIES.get(model_type)
    try:
        if family is None:
            found = discover(base, model_type)
            return Description(
                model_type, base, prefix, tuple(found.blocks(base)), found, discovered=True
            )
        blocks = family.blocks(base)
    except AttributeError as error:
        if family is None:
            raise UnknownFamilyError(
                f"No family describes models of type {model_type!r}, and its structure does not "
                f"tell: {error}. Known: {', '.join(known_model_types())}. Describe yours in a few "
                "lines:\n\n"
                "    from headsmith.pruning.families import (\n"
                "        Family, LayerStack, Reader, Site, register_family)\n"
                "    register_family(Family(\n"
                f'        model_types=("{model_type}",),\n'
                '        stacks=(LayerStack(layers="path.of.the.layers", sites=(\n'
                '            Site(name="attn", readers=(Reader("attn.q"), Reader("attn.k"),\n'
                '                 Reader("attn.v")), writer="attn.out", residual="norm1",\n'
                '                 head_size="attn.head_dim"),\n'
                '            Site(name="mlp", readers=(Reader("mlp.up"),), writer="mlp.down",\n'
                '                 residual="norm2"),\n'
                "        )),),\n"
                "    ))"
            ) from error
        raise UnknownFamilyError(
            f"This {type(model).__name__} calls itself {model_type!r} but does not have that "
            f"family's modules: {error}."
        ) from error
    return Description(model_type, base, prefix, tuple(blocks), family)
