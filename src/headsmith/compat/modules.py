"""Names put back into modules, without importing a module for it.

A module gets its names when Python imports it, or at once where that has happened: a finder at
the head of `sys.meta_path` sees the import of the few modules of the table, and lets the module's
own loader do its work. The names are answered by a module-level `__getattr__`, so nothing is
imported before someone asks, and nothing but `__getattr__` and `__dir__` is added to a module.
A module that Transformers no longer has is made, empty but for those two.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import inspect
import opcode
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from types import FrameType, ModuleType
from typing import Any

from headsmith.compat.name_rules import FAST_TOKENIZERS, MODEL_FILE, by_rule
from headsmith.compat.names import GONE_MODULES, NAMES, names_of, reexports

__all__ = ["ModuleNames"]

_IMPORT_FROM = opcode.opmap["IMPORT_FROM"]
_ADDED = ("__getattr__", "__dir__")
_WIDER = {
    "transformers.pytorch_utils": {
        "softmax_backward_data": "headsmith.compat.shims:softmax_backward_data"
    },
}
"""Functions that are there and take fewer arguments than they did: others stand before them."""
_MAKES_ANOTHER = "transformers.processing_utils"
"""Runs `transformers/__init__.py` once more and puts the new module in the place of the old one."""
_KERAS_HOMES = ("transformers.modeling_tf_utils", "transformers.tf_utils",
                "transformers.activations_tf")  # fmt: skip


class ModuleNames(importlib.abc.MetaPathFinder):
    """The names of the table, answered for as long as this is installed.

    Args:
        after: module name → what to call with the module once it has been imported.
        took: called with the name of every module that imports one of the names.
    """

    def __init__(
        self,
        after: Mapping[str, Callable[[ModuleType], None]],
        took: Callable[[str], None],
    ) -> None:
        self._after = dict(after)
        self._took = took
        self._names = {m: names_of(m) for m in ({row.module for row in NAMES} | set(reexports()))}
        self._names = {module: names for module, names in self._names.items() if names}
        # Modules that answer, each with what was under the added names.
        self._answering: list[tuple[ModuleType, dict[str, Any]]] = []
        self._made: set[str] = set()

    def install(self) -> None:
        """Answer from now on, in modules imported before and later."""
        sys.meta_path.insert(0, self)
        for name, module in list(sys.modules.items()):
            if module is not None and self._concerns(name):
                self._imported(name, module)

    def remove(self) -> None:
        """Leave every module as it was."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for answering, before in self._answering:
            for added in _ADDED:
                vars(answering).pop(added, None)
            vars(answering).update(before)
        for name in self._made:
            module = sys.modules.pop(name, None)
            parent, _, child = name.rpartition(".")
            if module is not None and parent in sys.modules:
                held = vars(sys.modules[parent])
                if held.get(child) is module:
                    del held[child]
        self._answering.clear()
        self._made.clear()

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Let others find a module of the table, and be told when it has been imported."""
        if not self._concerns(fullname):
            return None
        for finder in sys.meta_path:
            search = getattr(finder, "find_spec", None)
            spec = search(fullname, path, target) if search and finder is not self else None
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self._imported)
                return spec  # type: ignore[no-any-return]
        if not self._can_make(fullname):
            return None
        self._made.add(fullname)
        is_package = any(other.startswith(fullname + ".") for other in self._names)
        return importlib.machinery.ModuleSpec(
            fullname,
            _Loader(None, self._imported),
            is_package=is_package,
            origin="headsmith.compat",
        )

    def _concerns(self, fullname: str) -> bool:
        if fullname in self._names or fullname in self._after or fullname == _MAKES_ANOTHER:
            return True
        return fullname.startswith("transformers.models.") and bool(
            MODEL_FILE.fullmatch(fullname) or FAST_TOKENIZERS.fullmatch(fullname)
        )

    @staticmethod
    def _can_make(fullname: str) -> bool:
        if fullname.startswith("transformers.models."):
            return FAST_TOKENIZERS.fullmatch(fullname) is not None or fullname in GONE_MODULES
        return fullname not in _KERAS_HOMES or find_spec("keras") is not None

    def _imported(self, name: str, module: ModuleType) -> None:
        if name == _MAKES_ANOTHER:
            name = "transformers"
        module = sys.modules.get(name, module)  # `transformers` puts another in its place
        answers = any(module is one for one, _ in self._answering)
        if not answers and (name in self._names or name not in self._after):
            self._answer(name, module, self._names.get(name, {}))
        if name in self._after:
            self._after[name](module)

    def _answer(self, name: str, module: ModuleType, names: Mapping[str, str]) -> None:
        held = vars(module)
        absent = {
            n: place
            for n, place in names.items()
            if n not in held and n not in getattr(module, "_class_to_module", ())
        }
        if not absent and not name.startswith("transformers.models."):
            return
        wider = {n: place for n, place in _WIDER.get(name, {}).items() if _is_narrow(held.get(n))}
        self._answering.append((module, {a: held[a] for a in (*_ADDED, *wider) if a in held}))
        for function in wider:
            del held[function]
        absent.update(wider)
        asked_before = held.get("__getattr__")
        listed_before = held.get("__dir__")

        def answer(attribute: str) -> Any:
            place = absent.get(attribute) or by_rule(name, attribute)
            if not place:
                if asked_before is not None:
                    return asked_before(attribute)
                raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
            importer = _importing_module(sys._getframe(1))
            if importer:
                self._took(importer)
            home, _, original = place.partition(":")
            return getattr(importlib.import_module(home), original)

        def listing() -> list[str]:
            listed = listed_before() if listed_before is not None else held
            return sorted({*listed, *absent})

        held["__getattr__"] = answer
        held["__dir__"] = listing


def _is_narrow(function: Any) -> bool:
    return callable(function) and len(inspect.signature(function).parameters) == 3


def _importing_module(frame: FrameType) -> str:
    """The module whose own `from … import …` is being run in `frame`; empty if none is.

    A mere look, such as `hasattr` in a test, takes nothing.
    """
    code = frame.f_code
    if code.co_name != "<module>" or code.co_code[frame.f_lasti] != _IMPORT_FROM:
        return ""
    return str(frame.f_globals.get("__name__", ""))


class _Loader(importlib.abc.Loader):
    """Loads as the real loader does, tells of it, and then steps out of sight."""

    def __init__(
        self,
        real: importlib.abc.Loader | None,
        done: Callable[[str, ModuleType], None],
    ) -> None:
        self._real = real
        self._done = done

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None if self._real is None else self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        if self._real is not None:
            spec = module.__spec__
            if spec is not None:
                spec.loader = self._real
            module.__loader__ = self._real
            self._real.exec_module(module)
        self._done(name, module)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self._real is None:
            raise AttributeError(name)
        return getattr(self._real, name)
