"""A `head_mask` given to a native model of Transformers 5 is refused, not ignored.

Native models swallow what they do not know in `**kwargs`, and a mask with it. The guard stands in
`PreTrainedModel.__call__`, which only calls on an instance find, and calls in graphs that are
being captured: asked for by name, a class shows what it showed before. It costs a dictionary
look-up a call.

What was compiled before the guard stood does not know of it: compiled modules get it too, and
graphs are forgotten, to be captured again at their next call.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import nn

from headsmith.compat.native import is_native

__all__ = ["HeadMaskGuard", "check", "guard_compiled", "is_capturing"]


class HeadMaskGuard:
    """A descriptor to be `__call__` of a base class that inherits it from `nn.Module`."""

    def __get__(self, model: Any, cls: type) -> Any:
        if model is not None:
            return MethodType(_guarded, model)
        return _guarded if is_capturing() else nn.Module.__call__


def _guarded(model: Any, *args: Any, **kwargs: Any) -> Any:
    if "head_mask" in kwargs:
        check(model, kwargs["head_mask"])
    return nn.Module.__call__(model, *args, **kwargs)


def is_capturing() -> bool:
    """Whether `torch.compile` is capturing a graph."""
    guards: Any = sys.modules.get("torch._guards")
    return guards is not None and guards.CompileContext.current_compile_id() is not None


def guard_compiled() -> Callable[[], None]:
    """Guard modules that `torch.compile` has wrapped, and forget captured graphs.

    Returns:
        What undoes it. Nothing is done where nothing can have been compiled yet.
    """
    frames: Any = sys.modules.get("torch._dynamo.eval_frame")
    if frames is None:
        return _nothing
    compiled = frames.OptimizedModule
    before = vars(compiled).get("__call__")

    def guarded(model: Any, *args: Any, **kwargs: Any) -> Any:
        if "head_mask" in kwargs:
            check(model._orig_mod, kwargs["head_mask"])
        call = before or nn.Module.__call__
        return call(model, *args, **kwargs)

    def undo() -> None:
        if vars(compiled).get("__call__") is guarded:
            if before is None:
                del compiled.__call__
            else:
                compiled.__call__ = before
        torch._dynamo.reset()

    compiled.__call__ = guarded
    torch._dynamo.reset()
    return undo


def _nothing() -> None:
    """Undo nothing."""


def check(model: Any, head_mask: Any) -> None:
    """Raise unless the mask is empty or the model has a use for it.

    Args:
        model: any model.
        head_mask: a mask, or None, or a list of None as `get_head_mask` gives for None.

    Raises:
        TypeError: the model is a native one that would ignore the mask.
    """
    if head_mask is None or not is_native(type(model)) or _takes_head_mask(type(model)):
        return
    if isinstance(head_mask, (list, tuple)) and all(part is None for part in head_mask):
        return
    raise TypeError(
        f"{type(model).__name__} of Transformers 5 does not take head_mask: it would be ignored, "
        "and no head masked. Use `with headsmith.pruning.head_mask(model, mask):` around the call."
    )


def _takes_head_mask(cls: Any) -> bool:
    return "head_mask" in inspect.signature(cls.forward).parameters
