"""Blocks of CLIP and its kin, called as in Transformers 4.

They took a `causal_attention_mask` besides the other one. Those of Transformers 5 swallow it with
whatever else they do not know, and what is called so is not causal any more; layers give a tensor
where they gave a tuple, and encoders no hidden states of their layers. An old call gets what it
got then. Any other call, and what Transformers does itself, is as before.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from headsmith.compat.head_mask_guard import is_capturing
from headsmith.compat.legacy import is_old_module
from headsmith.compat.name_rules import CLIP_BLOCKS

__all__ = ["blocks_of"]

_MASK = "causal_attention_mask"


def blocks_of(module: ModuleType) -> Iterator[tuple[type, object]]:
    """The blocks of a module that have lost the argument, each with what answers calls of it.

    Args:
        module: any; those of `CLIP_BLOCKS` have some.

    Yields:
        The class, and a descriptor to be its `__call__`.
    """
    stem = CLIP_BLOCKS.get(module.__name__)
    for ending, call in (
        ("Attention", _call_attention),
        ("EncoderLayer", _call_layer),
        ("Encoder", _call_encoder),
        ("TextEncoder", _call_encoder),
    ):
        block: Any = vars(module).get(f"{stem}{ending}")
        taken = () if block is None else inspect.signature(block.forward).parameters
        if "attention_mask" in taken and _MASK not in taken:
            yield block, _Answered(block.__call__, call)


class _Answered:
    """A `__call__` that only calls on an instance find, and calls in graphs being captured.

    What calls is a plain function: torch.compile cannot guard a closure behind a descriptor.
    """

    def __init__(self, before: Callable[..., Any], call: Callable[..., Any]) -> None:
        self._before = before
        self._call = call

    def __get__(self, block: Any, cls: type) -> Any:
        if block is not None:
            return MethodType(self._call, block)
        return self._call if is_capturing() else self._before


def _call_attention(block: Any, *args: Any, **kwargs: Any) -> Any:
    if _is_old(block, args, kwargs):
        return _attention(block, *args, **kwargs)
    return nn.Module.__call__(block, *args, **kwargs)


def _call_layer(block: Any, *args: Any, **kwargs: Any) -> Any:
    if _is_old(block, args, kwargs):
        return _layer(block, *args, **kwargs)
    return GradientCheckpointingLayer.__call__(block, *args, **kwargs)


def _call_encoder(block: Any, *args: Any, **kwargs: Any) -> Any:
    if _is_old(block, args, kwargs):
        return _encoder(block, *args, **kwargs)
    return nn.Module.__call__(block, *args, **kwargs)


def _is_old(block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call is one of Transformers 4: by its arguments, or by the module it is made in."""
    if _MASK not in kwargs and len(args) < 3:
        if torch.compiler.is_compiling():
            return False
        if not is_old_module(sys._getframe(2).f_globals.get("__name__", "")):
            return False
    return _is_as_it_was(type(block))


def _is_as_it_was(cls: Any) -> bool:
    """Whether a block runs Transformers' own code: a subclass may have the argument."""
    forward = inspect.unwrap(cls.forward)
    return isinstance(forward, FunctionType) and forward.__module__.startswith("transformers.")


def _arguments(
    hidden_states: Any,
    attention_mask: Any = None,
    causal_attention_mask: Any = None,
    output_attentions: bool | None = False,
) -> tuple[Any, Any, bool | None]:
    """What an attention or a layer was given: states, one mask of both, whether to give weights."""
    return hidden_states, _sum(attention_mask, causal_attention_mask), output_attentions


def _attention(block: Any, *args: Any, **kwargs: Any) -> Any:
    states, mask, wanted = _arguments(*args, **kwargs)
    with _eager([block] if wanted else []):
        found = nn.Module.__call__(block, states, attention_mask=mask)
    return found[0], found[1] if wanted else None


def _layer(block: Any, *args: Any, **kwargs: Any) -> Any:
    states, mask, wanted = _arguments(*args, **kwargs)
    with _weights_of([block.self_attn] if wanted else []) as weights:
        found = GradientCheckpointingLayer.__call__(block, states, mask)
    return (found[0] if isinstance(found, tuple) else found, *weights)


def _encoder(
    block: Any,
    inputs_embeds: Any,
    attention_mask: Any = None,
    causal_attention_mask: Any = None,
    output_attentions: bool | None = None,
    output_hidden_states: bool | None = None,
    return_dict: bool | None = None,
) -> Any:
    from transformers.modeling_outputs import BaseModelOutput

    config = block.config
    attentions = config.output_attentions if output_attentions is None else output_attentions
    states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
    mask = _sum(attention_mask, causal_attention_mask)
    seen: list[Any] = []
    with ExitStack() as stack:
        weights = stack.enter_context(
            _weights_of([layer.self_attn for layer in block.layers] if attentions else [])
        )
        for layer in block.layers:
            keep = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
            stack.callback(keep.remove)
        last = nn.Module.__call__(block, inputs_embeds, attention_mask=mask)[0]
    output = BaseModelOutput(
        last_hidden_state=last,
        hidden_states=(*seen, last) if states else None,
        attentions=tuple(weights) if attentions else None,
    )
    wanted = config.return_dict if return_dict is None else return_dict
    return output if wanted else output.to_tuple()


def _sum(mask: Any, causal: Any) -> Any:
    if mask is None or causal is None:
        return causal if mask is None else mask
    return mask + causal


@contextmanager
def _weights_of(attentions: list[Any]) -> Iterator[list[Any]]:
    """What these blocks attend to, in the order they run."""
    weights: list[Any] = []
    with _eager(attentions), ExitStack() as stack:
        for block in attentions:
            keep = block.register_forward_hook(lambda _, __, found: weights.append(found[1]))
            stack.callback(keep.remove)
        yield weights


@contextmanager
def _eager(attentions: list[nn.Module]) -> Iterator[None]:
    """Let these blocks compute their weights: faster kinds of attention do not have them."""
    configs: list[Any] = [block.config for block in attentions]
    try:
        for block, config in zip(attentions, configs, strict=True):
            plain = copy.copy(config)
            plain._attn_implementation = "eager"
            block.config = plain
        yield
    finally:
        for block, config in zip(attentions, configs, strict=True):
            block.config = config
