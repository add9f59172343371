"""Families: where each kind of model keeps its heads and neurons.

One file a family; `describe` finds the one that fits a model.
"""

from __future__ import annotations

from headsmith.pruning.families.describe import (
    Description,
    describe,
    known_model_types,
    register_family,
)
from headsmith.pruning.families.stack import Block, LayerStack, Reader, Site

__all__ = [
    "Block",
    "Description",
    "LayerStack",
    "Reader",
    "Site",
    "describe",
    "known_model_types",
    "register_family",
]
