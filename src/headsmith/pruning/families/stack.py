"""LayerStack: a model described as a list of layers, each with attention and a feed-forward part.

```
layer ─┬─ attention     readers: the projections whose output features a head owns
       │                writer:  the projection whose input features a head owns
       └─ feed_forward  readers: up projections; writer: the down projection
```

Most models are told in one such description, data alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from headsmith.pruning.no_heads import NoHeads
from headsmith.pruning.projections import bias, sizes
from headsmith.spec.cost import BlockShape
from headsmith.spec.plan import Kind

__all__ = ["Block", "LayerStack", "Reader", "Site"]


@dataclass(frozen=True)
class Reader:
    """A projection that reads the hidden states for a block.

    Args:
        path: its module path, below the layer in a `Site`, below the base model in a `Block`.
        parts: how many projections are fused in it one after the other (3 for GPT-2's
            query, key and value in one Conv1D).
    """

    path: str
    parts: int = 1


@dataclass(frozen=True)
class Site:
    """Where one kind of block sits inside a layer; all paths are below the layer.

    Args:
        name: the module that gives the block its name.
        readers: projections whose output features a head or neuron owns.
        writer: the projection whose input features it owns, and which adds to the residual.
        residual: the module whose input is the residual stream that the writer is added to.
        attributes: path of an attribute to set after a cut → `"count"` (heads left) or
            `"features"` (features left).
        head_size: path of the attribute that holds the features of one head; attention only.
        hollow: the module to replace with `NoHeads` when no head is left; attention only.
    """

    name: str
    readers: tuple[Reader, ...]
    writer: str
    residual: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    head_size: str = ""
    hollow: str = ""


@dataclass(frozen=True)
class Block:
    """One attention or feed-forward block of one model; all paths are below the base model.

    Args:
        shape: its name, kind, counts and costs.
        layer: path of the layer it belongs to.
        layer_index: that layer's place in the stack, from 0.
        readers: projections whose output features a head or neuron owns; empty where no head
            is left.
        writer: path of the projection whose input features it owns.
        residual: path of the module whose input is the residual stream.
        site: the description it came from.
    """

    shape: BlockShape
    layer: str
    layer_index: int
    readers: tuple[Reader, ...]
    writer: str
    residual: str
    site: Site

    @property
    def name(self) -> str:
        """The block's name in a plan."""
        return self.shape.name

    @property
    def kind(self) -> Kind:
        """`"heads"` or `"neurons"`."""
        return self.shape.kind

    @property
    def count(self) -> int:
        """Heads or neurons it has now."""
        return self.shape.count

    @property
    def width(self) -> int:
        """Features one head or neuron owns."""
        return self.shape.width


@dataclass(frozen=True)
class LayerStack:
    """A family: models whose base model holds one list of like layers.

    Args:
        model_types: the `config.model_type` values it describes.
        layers: path of the `nn.ModuleList` of layers, below the base model.
        attention: where the heads are.
        feed_forward: where the neurons are.
    """

    model_types: tuple[str, ...]
    layers: str
    attention: Site
    feed_forward: Site

    def blocks(self, base: nn.Module) -> list[Block]:
        """All blocks of `base` in the order they run.

        Raises:
            AttributeError: `base` has no such modules.
        """
        stack = base.get_submodule(self.layers)
        found = []
        for index, _ in enumerate(stack.children()):
            layer = f"{self.layers}.{index}"
            found.append(_block(base, layer, index, self.attention, "heads"))
            found.append(_block(base, layer, index, self.feed_forward, "neurons"))
        return found


def _block(base: nn.Module, layer: str, index: int, site: Site, kind: Kind) -> Block:
    writer = base.get_submodule(f"{layer}.{site.writer}")
    features, outputs = sizes(writer)
    hollow = bool(site.hollow) and isinstance(base.get_submodule(f"{layer}.{site.hollow}"), NoHeads)
    width = 1
    if kind == "heads" and not hollow:
        owner, _, attribute = f"{layer}.{site.head_size}".rpartition(".")
        width = int(getattr(base.get_submodule(owner), attribute))
    readers = () if hollow else tuple(Reader(f"{layer}.{r.path}", r.parts) for r in site.readers)
    products = outputs
    weights = outputs
    for reader in readers:
        module = base.get_submodule(reader.path)
        inputs, _ = sizes(module)
        products += reader.parts * inputs
        weights += reader.parts * (inputs + (bias(module) is not None))
    return Block(
        shape=BlockShape(
            name=f"{layer}.{site.name}",
            kind=kind,
            count=features // width,
            width=width,
            weights_per_feature=weights,
            products_per_feature=products,
        ),
        layer=layer,
        layer_index=index,
        readers=readers,
        writer=f"{layer}.{site.writer}",
        residual=f"{layer}.{site.residual}",
        site=site,
    )
