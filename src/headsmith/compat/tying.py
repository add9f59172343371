"""Weights that are one weight under several names, found and kept as Transformers 4 did.

Transformers 4 tied by doing: the output embeddings are given the input embeddings' weight, and
lists of keys only silenced warnings. Transformers 5 ties by a dict of names. Here the doing comes
first, and the dict is read off the model: what is one object under two names is tied.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "declared_for_saving",
    "settle_missing",
    "shared_parameters",
    "tie",
    "tie_encoder_to_decoder",
]


def tie(model: Any, output_embeddings: Callable[[], Any]) -> None:
    """Tie what Transformers 4 tied.

    That is the output embeddings, an encoder to its decoder where the configuration asks for
    it, and what modules with a `_tie_weights` tie. A key that the class lists as tied, and that
    none of these reached, is tied to the input embeddings if it has their shape and no
    checkpoint gave it other values.

    Args:
        model: a legacy model.
        output_embeddings: gives its output embeddings, or None.
    """
    if getattr(model.config, "tie_word_embeddings", True):
        output = output_embeddings()
        if output is not None:
            model._tie_or_clone_weights(output, model.get_input_embeddings())
        _tie_listed(model)
    if getattr(model.config, "is_encoder_decoder", False) and getattr(
        model.config, "tie_encoder_decoder", False
    ):
        base = model.base_model
        tie_encoder_to_decoder(base.encoder, base.decoder)
    for module in model.modules():
        if hasattr(module, "_tie_weights"):
            module._tie_weights()


def _tie_listed(model: Any) -> None:
    listed = listed_keys(type(model))
    if not listed or getattr(model.config, "torchscript", False):
        return
    try:
        source = model.get_input_embeddings().weight
    except (AttributeError, NotImplementedError):
        return
    shared = set(shared_parameters(model))
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        wanted = any(re.search(pattern, name) for pattern in listed)
        if not wanted or name in shared or parameter is source:
            continue
        if parameter.shape != source.shape:
            continue
        read = getattr(parameter, "_is_hf_initialized", False)
        if not read or torch.equal(parameter, source):
            owner, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(owner), attribute, source)


def listed_keys(cls: type) -> list[str]:
    """The keys a class declares as tied in the form of Transformers 4, a list."""
    for klass in cls.__mro__:
        keys = vars(klass).get("_tied_weights_keys")
        if keys is not None:
            return [] if isinstance(keys, Mapping) else list(keys)
    return []


def tie_encoder_to_decoder(encoder: nn.Module, decoder: nn.Module) -> None:
    """Give an encoder's modules the weights of the decoder's modules of the same name.

    Where the decoder's list of layers is longer, for it has cross-attention among them, layers
    of another class are passed over.
    """
    weight = getattr(decoder, "weight", None)
    if isinstance(weight, nn.Parameter):
        encoder.weight = weight
        if isinstance(getattr(decoder, "bias", None), nn.Parameter):
            encoder.bias = decoder.bias
        return
    theirs = dict(encoder.named_children())
    uneven = len(theirs) != len(list(decoder.children()))
    skipped = 0
    for name, child in decoder.named_children():
        if name.isdigit():
            place = str(int(name) - skipped)
            if place not in theirs:
                continue
            if uneven and not isinstance(child, type(theirs[place])):
                skipped += 1
                continue
            tie_encoder_to_decoder(theirs[place], child)
        elif name in theirs:
            tie_encoder_to_decoder(theirs[name], child)


def shared_parameters(model: nn.Module) -> dict[str, str]:
    """Which parameters are another one under a second name.

    Args:
        model: any model.

    Returns:
        Name → the name it is saved under: the input embeddings' where they are among them, else
        the first in the order of the modules.

    Example:
        >>> from torch import nn
        >>> from headsmith.compat.tying import shared_parameters
        >>> both = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
        >>> both["b"].weight = both["a"].weight
        >>> shared_parameters(both)
        {'b.weight': 'a.weight'}
    """
    groups: dict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        groups[id(parameter)].append(name)
    try:
        first = id(model.get_input_embeddings().weight)  # type: ignore[operator]
    except (AttributeError, NotImplementedError, TypeError):
        first = 0
    found = {}
    for key, names in groups.items():
        source = names[0]
        if key == first:
            inputs = model.get_input_embeddings()  # type: ignore[operator]
            own = {n for n, m in model.named_modules(remove_duplicate=False) if m is inputs}
            source = next((n for n in names if n.rpartition(".")[0] in own), source)
        found.update({name: source for name in names if name != source})
    return found


def settle_missing(model: Any, pairs: Mapping[str, str], missing: set[str]) -> None:
    """Before tying: a weight that was read under one of its names is read under all of them.

    Which way `_tie_weights` of a module ties is not known: both names must hold what was read.

    Args:
        model: a model whose weights have been read, not yet tied again.
        pairs: name → the name of the weight it is tied to.
        missing: the names that the checkpoint did not have; sources that are settled are taken
            out.
    """
    for target, source in pairs.items():
        if source in missing and target not in missing:
            _put(model, source, model.get_parameter(target))
            missing.discard(source)
    for target, source in pairs.items():
        if target in missing and source not in missing:
            _put(model, target, model.get_parameter(source))


def _put(model: nn.Module, name: str, parameter: nn.Parameter) -> None:
    owner, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(owner), attribute, parameter)


@contextmanager
def declared_for_saving(model: Any, state: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Declare what is shared, in the form that `save_pretrained` of Transformers 5 reads.

    Args:
        model: the model to save.
        state: the state dict to save, or None for the model's own.

    Yields:
        The state dict, in which tensors that overlap without being the same are copies.
    """
    state = dict(model.state_dict() if state is None else state)
    groups: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    places: dict[tuple[Any, ...], set[tuple[Any, ...]]] = defaultdict(set)
    for name, tensor in state.items():
        if isinstance(tensor, Tensor) and tensor.device.type != "meta" and tensor.numel():
            storage = (tensor.device, tensor.untyped_storage().data_ptr())
            groups[storage].append(name)
            places[storage].add((tensor.data_ptr(), tensor.shape, tensor.stride()))
    known = shared_parameters(model)
    duplicates = []
    for storage, names in groups.items():
        if len(names) > 1 and len(places[storage]) > 1:
            for name in names:
                state[name] = state[name].clone()
        elif len(names) > 1:
            source = known.get(names[0], names[0])
            source = source if source in names else names[0]
            duplicates += [name for name in names if name != source]
    before = _listed_by_modules(model)
    try:
        for module in before:
            module._tied_weights_keys = {}
        model._tied_weights_keys = {f"^{re.escape(name)}$": "" for name in duplicates}
        yield state
    finally:
        vars(model).pop("_tied_weights_keys", None)
        for module, held in before.items():
            if held is None:
                vars(module).pop("_tied_weights_keys", None)
            else:
                module._tied_weights_keys = held


def _listed_by_modules(model: nn.Module) -> dict[Any, Any]:
    """Modules that declare tied keys, and what they hold of their own (None: their class does)."""
    declaring: Iterable[Any] = (
        m for m in model.modules() if getattr(m, "_tied_weights_keys", None) is not None
    )
    return {m: vars(m).get("_tied_weights_keys") for m in declaring}
