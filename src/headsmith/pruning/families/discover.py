"""Find heads and neurons in a model that no family describes, where its structure is plain."""

from __future__ import annotations

from torch import nn

from headsmith.pruning.families.stack import Family

__all__ = ["discover"]


def discover(base: nn.Module, model_type: str) -> Family:
    raise AttributeError("not yet")
