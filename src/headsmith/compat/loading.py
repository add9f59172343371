"""Reading weights into a legacy model: built on the CPU, so that what it sets up is kept.

Transformers 5 builds models on the meta device and gives whatever a checkpoint does not hold
uninitialised memory, trusting `_init_weights` to fill it. Models of Transformers 4 fill buffers
in `__init__`, and read garbage.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["building", "kept_while_initialising", "on_cpu", "place_missing", "while_building"]

_state = threading.local()


def building() -> bool:
    """Whether a model is being built to read weights into: initial weights are then wasted."""
    return getattr(_state, "depth", 0) > 0


@contextmanager
def while_building() -> Iterator[None]:
    """Let `building` say so."""
    _state.depth = getattr(_state, "depth", 0) + 1
    try:
        yield
    finally:
        _state.depth -= 1


def on_cpu(contexts: Iterable[Any]) -> list[Any]:
    """The contexts a model is built under, without the meta device.

    Args:
        contexts: what `PreTrainedModel.get_init_context` gives.
    """
    return [*(c for c in contexts if not _is_meta(c)), while_building()]


def _is_meta(context: Any) -> bool:
    """Whether a context builds on the meta device: the device itself, or accelerate's in 4.x."""
    if isinstance(context, torch.device):
        return context.type == "meta"
    return getattr(getattr(context, "func", None), "__name__", "") == "init_empty_weights"


def place_missing(model: Any, missing: Iterable[str], device_of: Any) -> None:
    """Put what the checkpoint did not hold on its device, with the values it was built with.

    Args:
        model: the model, its weights read.
        missing: names of the parameters and persistent buffers that were not read.
        device_of: gives the device for a name.
    """
    names = [*missing, *(name for name, _ in model.named_non_persistent_buffers())]
    for name in names:
        tensor: Any = model.get_parameter_or_buffer(name)
        if not isinstance(tensor, Tensor):
            continue
        owner, _, attribute = name.rpartition(".")
        module = model.get_submodule(owner)
        device = torch.device(device_of(name))
        if tensor.device.type == "meta":
            moved = torch.empty_like(tensor, device=device)
        elif tensor.device != device:
            moved = tensor.detach().to(device)
        else:
            continue
        if isinstance(tensor, nn.Parameter):
            moved = nn.Parameter(moved, requires_grad=tensor.requires_grad)
        setattr(module, attribute, moved)


@contextmanager
def kept_while_initialising(model: nn.Module) -> Iterator[None]:
    """Initialise what was not read and keep what was, though `_init_weights` writes both.

    As in Transformers 4, a module is initialised unless all in it, to any depth, has been read.
    The `_init_weights` of that time writes whole modules, and modules below them.
    """
    unread = {
        name
        for name, tensor in model.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor) and not getattr(tensor, "_is_hf_initialized", False)
    }
    incomplete = {name[:end] for name in unread for end in _ends(name)}
    for path, module in model.named_modules():
        if path not in incomplete:
            module._is_hf_initialized = True
    read: dict[Tensor, Tensor] = {}
    if unread:
        tensors = (*model.parameters(), *model.buffers())
        read = {t: t.detach().clone() for t in tensors if getattr(t, "_is_hf_initialized", False)}
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in read.items():
                tensor.copy_(value)


def _ends(name: str) -> list[int]:
    """Where the paths of the modules around a weight end in its name, the whole model's too."""
    return [0, *(place for place, letter in enumerate(name) if letter == ".")]
