"""`model.vision_model` and `model.text_model` of CLIP's kind, where there is no model within.

`CLIPVisionModel` of Transformers 4 held another model, which did everything. Transformers 5 does
without: to old code that asks for the one within, the model itself is it. To all others there is
none, as before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from headsmith.compat.legacy import is_old_module
from headsmith.compat.name_rules import CLIP_MODELS

__all__ = ["inner_models_of"]


def inner_models_of(module: ModuleType) -> Iterator[tuple[type, str, object]]:
    """The models of a module that held another, with its name and what answers for it.

    Args:
        module: any; those of `CLIP_MODELS` have some.
    """
    stem = CLIP_MODELS.get(module.__name__)
    for kind in ("text", "vision"):
        model: Any = vars(module).get(f"{stem}{kind.title()}Model")
        name = f"{kind}_model"
        if model is not None and not hasattr(model, name):
            yield model, name, _Within(name)


class _Within:
    """An attribute that is the model itself, for old code, unless the model holds one."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, model: Any, cls: type) -> Any:
        if model is not None:
            held = vars(model).get("_modules", {}).get(self._name)
            if held is not None:
                return held
            if is_old_module(sys._getframe(1).f_globals.get("__name__", "")):
                return model
        raise AttributeError(f"type object {cls.__name__!r} has no attribute {self._name!r}")
