"""A `head_mask` given to a native model of Transformers 5 is refused, not ignored.

Native models swallow what they do not know in `**kwargs`, and a mask with it. The guard stands in
`PreTrainedModel.__call__`, which only calls on an instance find: asked for by name, a class shows
what it showed before, and compiled models are traced as before. It costs a dictionary look-up a
call.
"""

from __future__ import annotations

import inspect
from types import MethodType
from typing import Any

from headsmith.compat.model import is_native

__all__ = ["HeadMaskGuard"]


class HeadMaskGuard:
    """A descriptor to be `__call__` of a base class.

    Args:
        call: the `__call__` that the base class inherits.
    """

    def __init__(self, call: Any) -> None:
        def guarded(model: Any, *args: Any, **kwargs: Any) -> Any:
            if "head_mask" in kwargs:
                check(model, kwargs["head_mask"])
            return call(model, *args, **kwargs)

        self._call = call
        self._guarded = guarded

    def __get__(self, model: Any, cls: type) -> Any:
        return self._call if model is None else MethodType(self._guarded, model)


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
