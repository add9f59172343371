"""Families: where each kind of model keeps its heads and neurons.

One file a family; `describe` finds the one that fits a model.
"""

from __future__ import annotations

from headsmith.pruning.families.describe import (
    Description,
    describe,
    known_families,
    known_model_types,
    register_family,
)
from headsmith.pruning.families.multihead import open_attention
from headsmith.pruning.families.stack import Block, Family, LayerStack, Reader, Rows, Site

__all__ = [
    "Block",
    "Description",
    "Family",
    "LayerStack",
    "Reader",
    "Rows",
    "Site",
    "describe",
    "known_families",
    "known_model_types",
    "open_attention",
    "register_family",
]
