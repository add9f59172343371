"""Resized: a stock Transformers model whose modules take the sizes noted in its config.

`standalone.py` writes this file, with `NoHeads`, into checkpoints that load without headsmith:
it imports nothing but torch, and headsmith's own `NoHeads`, which is written in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from headsmith.pruning.no_heads import NoHeads

__all__ = ["KEY", "FromNothing", "Resized", "resize"]

KEY = "headsmith_sizes"
"""The field of the config that holds the sizes."""


class Resized:
    """Put before a stock model class: builds it, then gives its modules their own sizes.

    The config's `headsmith_sizes` tells them; without that field the model is the stock one.
    """

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]
        # Weights are read later: the parameters are still on the meta device, or random.
        base = getattr(self, getattr(self, "base_model_prefix", "") or "-", self)
        resize(base, getattr(config, KEY, None) or {})


def resize(base: Any, sizes: Mapping[str, Mapping[str, Any]]) -> None:
    """Give the modules of a model built from its config the sizes they were pruned to.

    Args:
        base: the base model.
        sizes: `shapes`: parameter → its shape, as "64x32"; `attributes`: attribute → its value;
            `no_heads`: attention module → what `NoHeads` stands there with; `from_nothing`:
            layers without input features. Names are paths below `base`.
    """
    for path, given in sizes.get("no_heads", {}).items():
        options = dict(given)
        writer = options.pop("writer", "")
        kept = (base.get_submodule(path).get_submodule(writer), writer) if writer else ()
        base.set_submodule(path, NoHeads(*kept, **options))
    for path, shape in sizes.get("shapes", {}).items():
        owner, _, name = path.rpartition(".")
        module = base.get_submodule(owner)
        cut = getattr(module, name)
        for dim, size in enumerate(map(int, shape.split("x"))):
            cut = cut.narrow(dim, 0, size)
        # A copy, so that what was cut off does not stay in memory behind a view.
        setattr(module, name, nn.Parameter(cut.detach().clone(), cut.requires_grad))
        if name == "weight":
            transposed = hasattr(module, "nf")
            names = ("nx", "nf") if transposed else ("out_features", "in_features")
            for attribute, size in zip(names, cut.shape, strict=True):
                if hasattr(module, attribute):
                    setattr(module, attribute, size)
    for path in sizes.get("from_nothing", ()):
        base.set_submodule(path, FromNothing(base.get_submodule(path)))
    for path, value in sizes.get("attributes", {}).items():
        owner, _, name = path.rpartition(".")
        setattr(base.get_submodule(owner), name, value)


class FromNothing(nn.Module):
    """A layer without input features: all it gives is its bias.

    Args:
        layer: the layer to stand for; its parameters are kept under their names.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.weight: Tensor = layer.weight
        self.bias: Tensor | None = layer.bias
        self.size = max(layer.weight.shape)

    def forward(self, features: Tensor) -> Tensor:
        """Take (..., 0); give (..., out)."""
        zeros = torch.zeros(
            *features.shape[:-1], self.size, dtype=features.dtype, device=features.device
        )
        return zeros if self.bias is None else zeros + self.bias
