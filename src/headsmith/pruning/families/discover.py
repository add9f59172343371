"""Find heads and neurons in a model that no family describes, where its structure is plain.

Looked for are lists of like layers in which the projections have usual names and their sizes
fit each other. What is found is a `Family` like any other; where there are two ways to read
a layer, or none, that is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from headsmith.pruning.families.multihead import OpenAttention
from headsmith.pruning.families.stack import Family, LayerStack, Reader, Site, Tokens
from headsmith.pruning.projections import sizes

__all__ = ["discover"]

_ATTENTION = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("query_proj", "key_proj", "value_proj"),
    ("q_lin", "k_lin", "v_lin"),
    ("to_q", "to_k", "to_v"),
    ("wq", "wk", "wv"),
    ("q", "k", "v"),
)
_FUSED = ("qkv", "qkv_proj", "in_proj", "Wqkv", "to_qkv", "c_attn")
_OUTPUTS = ("o_proj", "out_proj", "out_lin", "to_out", "wo", "o", "out", "proj", "c_proj", "dense")
_FEED_FORWARD = (
    (("gate_proj", "up_proj"), "down_proj"),
    (("w1", "w3"), "w2"),
    (("up_proj",), "down_proj"),
    (("fc1",), "fc2"),
    (("lin1",), "lin2"),
    (("linear1",), "linear2"),
    (("fc_in",), "fc_out"),
    (("c_fc",), "c_proj"),
    (("up",), "down"),
    (("wi",), "wo"),
    (("w1",), "w2"),
    (("0",), "2"),
)
_HEAD_SIZES = ("head_dim", "head_size", "attention_head_size", "d_head", "dim_head", "d_kv", "d_k")
_COUNTS = ("num_heads", "n_heads", "num_attention_heads", "n_head", "nheads", "heads", "h")
_SHARED_COUNTS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads", "kv_heads")
_SHARED_BY = ("num_key_value_groups", "n_rep", "num_queries_per_kv")
_FEATURES = ("all_head_size", "inner_dim", "qkv_dim", "split_size")


def discover(base: nn.Module, model_type: str) -> Family:
    """Describe a model by its structure.

    Args:
        base: the base model.
        model_type: what to call the family.

    Raises:
        AttributeError: nothing was found, or more than one reading fits; the message says which.
    """
    stacks = []
    for path, layers in _lists(base):
        sites = _sites(path, layers)
        if sites:
            stacks.append(LayerStack(path, sites, _tokens(path)))
    if not stacks:
        raise AttributeError("no list of like layers with projections of usual names was found")
    return Family((model_type,), tuple(stacks))


def _lists(base: nn.Module) -> Iterator[tuple[str, list[nn.Module]]]:
    for path, module in base.named_modules():
        if isinstance(module, nn.ModuleList | nn.Sequential) and path:
            layers = list(module.children())
            if layers and len({type(layer) for layer in layers}) == 1:
                yield path, layers


def _tokens(path: str) -> Tokens:
    return "decoder" if path.startswith("decoder.") else "encoder"


def _sites(path: str, layers: Sequence[nn.Module]) -> tuple[Site, ...]:
    """The sites of a list of layers; none where they are no transformer layers."""
    if not any(True for _ in layers[0].children()):
        return ()
    found = [_attentions(layer) + _feed_forwards(layer) for layer in layers]
    for number, sites in enumerate(found):
        if [s.name for s in sites] != [s.name for s in found[0]]:
            raise AttributeError(f"{path}.{number} has other blocks than {path}.0")
    sites = found[0]
    if sum(bool(s.head_size) for s in sites) == 1:
        # Whether a layer normalises before or after, what it reads first is the stream.
        sites = [replace(s, residual=".") if s.head_size else s for s in sites]
    kinds = [bool(s.head_size) for s in sites]
    if not any(kinds):
        return ()
    if kinds.count(False) > 1:
        names = ", ".join(s.name for s in sites if not s.head_size)
        raise AttributeError(f"more than one feed-forward block fits in {path}.0 ({names})")
    return tuple(sites)


@dataclass(frozen=True)
class _Linears:
    """The linear layers directly below one module, by name."""

    path: str
    module: nn.Module
    found: Mapping[str, tuple[int, int]]


def _owners(layer: nn.Module) -> Iterator[_Linears]:
    for path, module in layer.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            continue
        linears = {}
        for name, child in module.named_children():
            if _is_linear(child):
                linears[name] = sizes(child)
        if linears:
            yield _Linears(path, module, linears)


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _attentions(layer: nn.Module) -> list[Site]:
    sites = []
    for path, module in layer.named_modules():
        if isinstance(module, OpenAttention):
            sites.append(_open(path))
        elif isinstance(module, nn.MultiheadAttention):
            raise AttributeError(
                f"{path} is an nn.MultiheadAttention, which computes in one piece; call "
                "headsmith.pruning.open_attention(model) first"
            )
    for owner in _owners(layer):
        site = _attention(owner)
        if site is not None:
            sites.append(site)
    return sites


def _open(path: str) -> Site:
    return Site(
        name=path,
        readers=(
            Reader(f"{path}.in_proj_weight", parts=3),
            Reader(f"{path}.in_proj_bias", parts=3, optional=True),
        ),
        writer=f"{path}.out_proj",
        residual="",
        attributes={f"{path}.num_heads": "count"},
        head_size=f"{path}.head_dim",
        least=0,
    )


def _attention(owner: _Linears) -> Site | None:
    found = owner.found
    below = f"{owner.path}." if owner.path else ""
    separate = [names for names in _ATTENTION if all(n in found for n in names)]
    fused = [name for name in _FUSED if name in found]
    if not separate and not fused:
        return None
    if len(separate) + len(fused) > 1:
        raise AttributeError(f"more than one query projection fits in {owner.path}")
    features = found[separate[0][0]][1] if separate else found[fused[0]][1] // 3
    outputs = [name for name in _OUTPUTS if name in found and found[name][0] == features]
    outputs = [name for name in outputs if not separate or name not in separate[0]]
    if len(outputs) != 1:
        raise AttributeError(
            f"{owner.path or 'the layer'} has queries, keys and values, but "
            f"{len(outputs) or 'no'} output projections that read {features} features"
        )
    size, shared = _head_size(owner.module, features, _keys(found, separate))
    readers = (
        tuple(Reader(f"{below}{name}") for name in separate[0])
        if separate
        else (Reader(f"{below}{fused[0]}", parts=3),)
    )
    attributes = {f"{below}{n}": "heads" for n in _COUNTS if hasattr(owner.module, n)}
    attributes |= {f"{below}{n}": "count" for n in _SHARED_COUNTS if hasattr(owner.module, n)}
    attributes |= {
        f"{below}{n}": "features" for n in _FEATURES if getattr(owner.module, n, None) == features
    }
    return Site(
        name=owner.path or "attention",
        readers=readers,
        writer=f"{below}{outputs[0]}",
        residual="",
        attributes=attributes,
        head_size=f"{below}{size}",
        shared_by=f"{below}{shared}" if shared else "",
    )


def _keys(found: Mapping[str, tuple[int, int]], separate: Sequence[Sequence[str]]) -> int | None:
    return found[separate[0][1]][1] if separate else None


def _head_size(attention: nn.Module, features: int, keys: int | None) -> tuple[str, str]:
    """Names of the attributes that hold the head size, and the sharing of keys if there is any."""
    known: Mapping[str, Any] = vars(attention)
    counts = {known[n] for n in _COUNTS if isinstance(known.get(n), int)}
    size = next((n for n in _HEAD_SIZES if isinstance(known.get(n), int)), None)
    if size is None:
        raise AttributeError(
            f"{type(attention).__name__} does not tell the size of a head; expected one of the "
            f"attributes {', '.join(_HEAD_SIZES)}"
        )
    heads, rest = divmod(features, max(1, known[size]))
    if rest or (counts and counts != {heads}):
        raise AttributeError(
            f"{type(attention).__name__} has {features} features, which {sorted(counts)} heads "
            f"of {known[size]} do not make up"
        )
    if keys is None or keys == features:
        return size, ""
    shared = next((n for n in _SHARED_BY if known.get(n) == features / keys), None)
    if shared is None:
        raise AttributeError(
            f"{type(attention).__name__} shares keys among query heads; expected an attribute "
            f"{' or '.join(_SHARED_BY)} that tells how many"
        )
    return size, shared


def _feed_forwards(layer: nn.Module) -> list[Site]:
    sites = []
    for owner in _owners(layer):
        below = f"{owner.path}." if owner.path else ""
        for ups, down in _FEED_FORWARD:
            names = (*ups, down)
            if not all(n in owner.found for n in names):
                continue
            into, hidden = owner.found[ups[0]]
            if owner.found[down] != (hidden, into) or any(
                owner.found[up] != (into, hidden) for up in ups
            ):
                continue
            sites.append(
                Site(
                    name=owner.path or ups[0],
                    readers=tuple(Reader(below + up) for up in ups),
                    writer=below + down,
                    residual="",
                )
            )
            break
    return sites
