"""Families as data: where a kind of model keeps its heads and neurons.

```
Family ── LayerStack ── layer ─┬─ Site (heads)    readers: what a head owns output features of
          (one for each        │                  writer:  what it owns input features of
           list of like        └─ Site (neurons)  readers: up projections; writer: the down one
           layers)
```

`Family.blocks` finds in one model what the description tells of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from torch import Tensor, nn

from headsmith.pruning.no_heads import NoHeads
from headsmith.pruning.projections import sizes
from headsmith.spec.cost import BlockShape
from headsmith.spec.plan import Kind

__all__ = ["Block", "Family", "LayerStack", "Reader", "Rows", "Settle", "Site", "Tokens", "find"]

Tokens = Literal["encoder", "decoder", "image"]
"""Which entry of a batch tells padding from tokens: `attention_mask`, `decoder_attention_mask`
(or what stands for it), or none."""

Settle = Callable[[nn.Module, "Block", Sequence[int]], None]
"""Code a family needs after a cut: takes the layer, the block as it was, and what was kept."""


@dataclass(frozen=True)
class Reader:
    """A projection that reads the hidden states for a block.

    Args:
        path: below the layer, of a linear layer, a Conv1D, or a bare parameter whose first
            dimension the heads or neurons own.
        parts: how many projections are fused in it one after the other (3 for GPT-2's
            query, key and value in one Conv1D).
        shared_parts: how many more follow, in which the query heads that share keys and
            values own the features of a single head (2 for Phi-3's key and value).
        optional: whether some models of the family do without it.
    """

    path: str
    parts: int = 1
    shared_parts: int = 0
    optional: bool = False


@dataclass(frozen=True)
class Site:
    """Where one kind of block sits inside a layer; all paths are below the layer.

    Args:
        name: the module that gives the block its name.
        readers: projections whose output features a head or neuron owns.
        writer: the projection whose input features it owns, and which adds to the residual.
        residual: the module whose first input is the residual stream that the writer's output
            is added to; `"."` is the layer itself, and empty means unknown.
        kind: `"heads"` or `"neurons"`; None is heads where there is a `head_size`.
        attributes: path of an attribute to set after a cut → `"count"` (heads left), `"heads"`
            (query heads left) or `"features"` (features left).
        head_size: path of the attribute that holds the features of one head; attention only.
        shared_by: path of the attribute that tells how many query heads share a key and value
            head; they go together. Empty where each has its own.
        hollow: the module to replace with `NoHeads` when no head is left; attention only.
        cross: whether keys and values come from another sequence.
        optional: whether some models of the family do without the block.
        beside: a module whose output is added to the residual stream as well before the
            writer's is, as where attention and feed-forward run side by side.
        scale: a parameter that the writer's output is multiplied by before it is added.
        settle: code to run after a cut, for what no attribute can tell.
        least: how many heads or neurons have to stay; None is 1 for attention that has neither
            `hollow` nor `settle`, for its code would fail without any, and else 0.
    """

    name: str
    readers: tuple[Reader, ...]
    writer: str
    residual: str = ""
    kind: Kind | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    head_size: str = ""
    shared_by: str = ""
    hollow: str = ""
    cross: bool = False
    optional: bool = False
    beside: str = ""
    scale: str = ""
    settle: Settle | None = None
    least: int | None = None


@dataclass(frozen=True)
class Rows:
    """A `Reader` found in a model.

    Args:
        path: below the base model.
        widths: output features that one head or neuron owns in each fused part.
    """

    path: str
    widths: tuple[int, ...]


@dataclass(frozen=True)
class Block:
    """One attention or feed-forward block of one model; all paths are below the base model.

    Args:
        shape: its name, kind, counts and costs.
        layer: path of the layer it belongs to.
        layer_index: place of its stage among all of the model, from 0. A stage is what runs as
            one: a layer, or all layers together where they share their weights.
        stage: path of that stage.
        stack: path of the list of layers it belongs to.
        tokens: which of the batch's tokens pass through it.
        readers: projections whose output features a head or neuron owns; empty where no head
            is left.
        writer: path of the projection whose input features it owns.
        residual: path of the module whose input is the residual stream; empty if unknown.
        beside: path of a module whose output is added to that stream first, or empty.
        scale: path of a parameter that the writer's output is multiplied by, or empty.
        site: the description it came from.
    """

    shape: BlockShape
    layer: str
    layer_index: int
    stage: str
    stack: str
    tokens: Tokens
    readers: tuple[Rows, ...]
    writer: str
    residual: str
    beside: str
    scale: str
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
        """Features one head or neuron owns in the writer."""
        return self.shape.width


@dataclass(frozen=True)
class LayerStack:
    """One list of like layers.

    Args:
        layers: path of the `nn.ModuleList` of layers, below the base model; `*` stands for each
            member of a list, so that `"groups.*.layers"` is a list of lists.
        sites: the blocks of a layer in the order they run.
        tokens: which of the batch's tokens pass through it.
        stage: path of the module that runs the layers where they share their weights: it is run
            as a whole. Empty where each layer runs once.
        repeats: how often a token passes each layer, asked of the base model; None is once.
        when: whether a base model's layers are like this; None is always. It may raise an
            `AttributeError` that says why a model cannot be described.
    """

    layers: str
    sites: tuple[Site, ...]
    tokens: Tokens = "encoder"
    stage: str = ""
    repeats: Callable[[nn.Module], int] | None = None
    when: Callable[[nn.Module], bool] | None = None


@dataclass(frozen=True)
class Family:
    """Models that keep their heads and neurons in the same places.

    Args:
        model_types: the `config.model_type` values it describes; class names for models
            without a config.
        stacks: the lists of layers in the order they run. Some models of a family may lack
            some of them (an encoder alone), none may lack all.
        pruned_heads: whether Transformers 4 reads `config.pruned_heads` for these models.
    """

    model_types: tuple[str, ...]
    stacks: tuple[LayerStack, ...]
    pruned_heads: bool = False

    def blocks(self, base: nn.Module) -> list[Block]:
        """All blocks of `base` in the order they run.

        Raises:
            AttributeError: `base` has no such modules.
        """
        found: list[Block] = []
        missing = []
        stages: list[str] = []
        for stack in self.stacks:
            layers = _layers(base, stack.layers)
            if not layers:
                missing.append(stack.layers)
            elif stack.when is not None and not stack.when(base):
                continue
            for layer in layers:
                stage = stack.stage or layer
                if stage not in stages:
                    stages.append(stage)
                for site in stack.sites:
                    if site.optional and not has(base, f"{layer}.{site.writer}"):
                        continue
                    found.append(_block(base, stack, layer, stage, len(stages) - 1, site))
        if not found:
            raise AttributeError(f"it has no layers at {' or '.join(map(repr, missing))}")
        return found


def find(base: nn.Module, path: str) -> nn.Module | Tensor:
    """The module or parameter at a path below `base`; an empty path or `"."` is `base`.

    Raises:
        AttributeError: there is neither.
    """
    owner, _, name = path.removesuffix(".").rpartition(".")
    own = base.get_submodule(owner.removesuffix("."))
    return cast("nn.Module | Tensor", getattr(own, name)) if name else own


def has(base: nn.Module, path: str) -> bool:
    """Whether there is a module or parameter at a path below `base`."""
    try:
        return find(base, path) is not None
    except AttributeError:
        return False


def _layers(base: nn.Module, pattern: str) -> list[str]:
    paths = [""]
    for piece in pattern.split(".*."):
        lists = [f"{path}{piece}" for path in paths]
        paths = [
            f"{path}.{name}."
            for path in lists
            if has(base, path)
            for name, _ in base.get_submodule(path).named_children()
        ]
    return [path.removesuffix(".") for path in paths]


def _below(layer: str, path: str) -> str:
    return layer if path == "." else f"{layer}.{path}" if path else ""


def _block(
    base: nn.Module, stack: LayerStack, layer: str, stage: str, index: int, site: Site
) -> Block:
    kind = site.kind or ("heads" if site.head_size else "neurons")
    writer = base.get_submodule(f"{layer}.{site.writer}")
    features, outputs = sizes(writer)
    hollow = bool(site.hollow) and isinstance(base.get_submodule(f"{layer}.{site.hollow}"), NoHeads)
    width = head_size = 1
    if kind == "heads" and not hollow:
        head_size = _number(base, f"{layer}.{site.head_size}")
        width = head_size * (_number(base, f"{layer}.{site.shared_by}") if site.shared_by else 1)
    count, rest = divmod(features, width)
    if rest:
        raise AttributeError(f"{layer}.{site.writer} reads {features} features, not {width} a head")
    present = [r for r in site.readers if not r.optional or has(base, f"{layer}.{r.path}")]
    readers = []
    weights = products = features * outputs
    for reader in () if hollow else present:
        path = f"{layer}.{reader.path}"
        rows, numbers, products_here = _measure(find(base, path))
        readers.append(Rows(path, _widths(reader, rows, count, width, head_size, path)))
        weights += numbers
        products += products_here
    return Block(
        shape=BlockShape(
            name=f"{layer}.{site.name}",
            kind=kind,
            count=count,
            width=width,
            weights_per_group=weights // count if count else 0,
            products_per_group=products // count if count else 0,
            repeats=stack.repeats(base) if stack.repeats else 1,
            least=_least(site),
        ),
        layer=layer,
        layer_index=index,
        stage=stage,
        stack=stack.layers,
        tokens=stack.tokens,
        readers=tuple(readers),
        writer=f"{layer}.{site.writer}",
        residual=_below(layer, site.residual),
        beside=_below(layer, site.beside),
        scale=_below(layer, site.scale),
        site=site,
    )


def _least(site: Site) -> int:
    if site.least is not None:
        return site.least
    return int(bool(site.head_size) and not site.hollow and site.settle is None)


def _number(base: nn.Module, path: str) -> int:
    return int(cast(int, find(base, path)))


def _measure(reader: nn.Module | Tensor) -> tuple[int, int, int]:
    """Output features, weights and biases, and multiply-adds of a reader."""
    if isinstance(reader, Tensor):
        matrix = reader.numel() if reader.ndim > 1 else 0
        return len(reader), reader.numel(), matrix
    inputs, rows = sizes(reader)
    return rows, sum(p.numel() for p in reader.parameters(recurse=False)), inputs * rows


def _widths(
    reader: Reader, rows: int, count: int, width: int, head_size: int, path: str
) -> tuple[int, ...]:
    if reader.shared_parts:
        widths = (width,) * reader.parts + (head_size,) * reader.shared_parts
    else:
        widths = (rows // (reader.parts * count) if count else 1,) * reader.parts
    if sum(widths) * count != rows:
        raise AttributeError(f"{path} has {rows} outputs, which {count} groups cannot share evenly")
    return widths
