"""The supported families as a table, from the descriptions themselves."""

from __future__ import annotations

from collections.abc import Iterable

from headsmith.pruning.families.known import KNOWN
from headsmith.pruning.families.stack import Family, LayerStack, Site

__all__ = ["families_table"]


def families_table(families: Iterable[Family] = KNOWN) -> str:
    """A Markdown table of families: model types, layers, blocks, and what is special.

    Args:
        families: those to list; by default the ones that come with headsmith.

    Example:
        >>> from headsmith.pruning.families.bert import BERT
        >>> from headsmith.pruning.families.table import families_table
        >>> print(families_table([BERT]).splitlines()[0])
        | `model_type` | layers | heads | neurons | |
    """
    lines = ["| `model_type` | layers | heads | neurons | |", "|---|---|---|---|---|"]
    for family in families:
        stacks = list({_key(stack): stack for stack in family.stacks}.values())
        cells = (
            _code(family.model_types),
            _code(dict.fromkeys(stack.layers for stack in stacks)),
            _code(_names(stacks, heads=True)),
            _code(_names(stacks, heads=False)),
            "; ".join(_notes(stacks)),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _key(stack: LayerStack) -> tuple[str, tuple[str, ...]]:
    return stack.layers, tuple(site.name for site in stack.sites)


def _names(stacks: Iterable[LayerStack], *, heads: bool) -> Iterable[str]:
    return dict.fromkeys(
        s.name for stack in stacks for s in stack.sites if bool(s.head_size) == heads
    )


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _notes(stacks: Iterable[LayerStack]) -> Iterable[str]:
    stacks = list(stacks)
    sites: list[Site] = [site for stack in stacks for site in stack.sites]
    told = {
        "encoder and decoder": any(stack.tokens == "decoder" for stack in stacks),
        "images": any(stack.tokens == "image" for stack in stacks),
        "cross-attention": any(site.cross for site in sites),
        "query heads that share a key and value go together": any(s.shared_by for s in sites),
        "layers share their weights": any(stack.repeats for stack in stacks),
        "attention and feed-forward side by side": any(s.beside for s in sites),
        "blocks are scaled": any(site.scale for site in sites),
    }
    return [note for note, holds in told.items() if holds]
