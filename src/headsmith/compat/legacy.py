"""Which model classes are of Transformers 4, and how they are made to work.

A class is legacy if it is not Transformers' own and

- it was marked so with `mark_legacy`, or inherits from a legacy class, or
- its module imported one of the names that `restore` put back, or holds one of the pruning
  helpers, wherever it has them from, or
- it does what only Transformers 4 allowed: calls `init_weights()` and no `post_init()`, or neither
  of them, lists its tied keys, prepares inputs for `generate` without `GenerationMixin`, switches
  checkpointing module by module, or its module uses a method that `restore` put back and does not
  define it itself, or the decorator `add_code_sample_docstrings`.

A class written for Transformers 5 does none of these, and is left alone. On late 4.x what that
version still has is no sign. Legacy classes get `LegacyModel`, or `LateModel` on late 4.x, before
their first base, and `LegacyGenerationMixin` after their last one if they prepare inputs for
`generate`.
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, TypeVar

from headsmith.compat.native import is_native

__all__ = ["LegacyClasses", "is_legacy", "is_old_module", "mark_legacy"]

_HELPERS = ("find_pruneable_heads_and_indices", "prune_conv1d_layer", "prune_layer")

_Marked = TypeVar("_Marked", type, ModuleType)

_marked: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()
_marked_modules: dict[str, bool] = {}
_active: LegacyClasses | None = None


def mark_legacy(what: _Marked, *, legacy: bool = True) -> _Marked:
    """Say that a model class, or every model class of a module, is of Transformers 4.

    Takes effect at once while `restore` is on, else when it is called.

    Args:
        what: a class that inherits from `PreTrainedModel`, or a module; can be a decorator.
        legacy: False to say that it is not, whatever it looks like.

    Returns:
        `what`.

    Raises:
        TypeError: it is neither a class nor a module.

    Example:
        >>> from transformers import BertConfig, PreTrainedModel
        >>> from headsmith.compat import is_legacy, mark_legacy
        >>> @mark_legacy
        ... class Old(PreTrainedModel):
        ...     config_class = BertConfig
        >>> is_legacy(Old)
        True
    """
    if isinstance(what, ModuleType):
        _marked_modules[what.__name__] = legacy
        classes: list[type] = [c for c in vars(what).values() if isinstance(c, type)]
        own = [c for c in classes if c.__module__ == what.__name__]
    elif isinstance(what, type):
        _marked[what] = legacy
        own = [what]
    else:
        raise TypeError(f"Expected a model class or a module. Received: {what!r}.")
    if _active is not None:
        for cls in own:
            _active.consider(cls)
    return what


def is_legacy(cls: type) -> bool:
    """Whether `cls` counts as a model class of Transformers 4.

    Args:
        cls: any class; only those that inherit from `PreTrainedModel` can be legacy.
    """
    if not _is_custom_model(cls):
        return False
    if cls in _marked:
        return _marked[cls]
    if cls.__module__ in _marked_modules:
        return _marked_modules[cls.__module__]
    return any(is_legacy(base) for base in cls.__bases__) or (
        _active is not None and _active.looks_legacy(cls)
    )


def is_old_module(name: str) -> bool:
    """Whether the module of this name has, or is known to have, a legacy model class."""
    return _marked_modules.get(name, _active is not None and _active.in_module(name))


def _is_custom_model(cls: type) -> bool:
    modeling = sys.modules.get("transformers.modeling_utils")
    base = getattr(modeling, "PreTrainedModel", None)
    return base is not None and issubclass(cls, base) and not is_native(cls)


class LegacyClasses:
    """The legacy classes while `restore` is on.

    Args:
        methods: names of the methods that were put back; using one tells a module's age.
        changed_in_5: whether construction, tying and loading are those of Transformers 5.
        all_generate: whether every model has `generate`, as before 4.50.
    """

    def __init__(
        self, methods: frozenset[str], *, changed_in_5: bool, all_generate: bool = False
    ) -> None:
        self._methods = methods
        self._changed = changed_in_5
        self._all_generate = all_generate
        self._takers: set[str] = set()
        self._evident: set[str] = set()
        self._homes: set[str] = set()
        self._adapted: weakref.WeakKeyDictionary[type, tuple[type, ...]] = (
            weakref.WeakKeyDictionary()
        )
        self._wrapped: weakref.WeakKeyDictionary[type, Any] = weakref.WeakKeyDictionary()

    def install(self, root: type) -> None:
        """Look at the classes there are, below `root`, and from now on at new ones."""
        global _active
        _active = self
        for cls in list(_below(root)):
            self.consider(cls)

    def remove(self) -> None:
        """Give every class its own bases and methods back."""
        global _active
        _active = None
        for cls, original in self._wrapped.items():
            cls.tie_weights = original  # type: ignore[attr-defined]
        # From the leaves up, or a base that still has the mixin would stand behind one without.
        adapted: list[type] = list(self._adapted)
        for cls in sorted(adapted, key=lambda c: -len(c.__mro__)):
            cls.__bases__ = self._adapted[cls]
        self._adapted = weakref.WeakKeyDictionary()
        self._wrapped = weakref.WeakKeyDictionary()

    def took(self, module: str) -> None:
        """Note that a module imported a name that was put back."""
        self._takers.add(module)

    def in_module(self, name: str) -> bool:
        """Whether a module has a class that was adapted, or did what tells its age."""
        return name in self._takers or name in self._evident or name in self._homes

    def consider(self, cls: type) -> None:
        """Adapt `cls` if it is legacy."""
        if _is_custom_model(cls) and is_legacy(cls):
            self._homes.add(cls.__module__)
            self._adapt(cls)

    def looks_legacy(self, cls: type) -> bool:
        """Whether a class, or its module, does what only Transformers 4 allowed."""
        module = cls.__module__
        if module in self._takers or module in self._evident or cls in self._adapted:
            return True
        if _holds_helpers(module) or self._uses_removed(cls):
            self._evident.add(module)
            return True
        if not self._all_generate and _prepares_for_nobody(cls):
            return True
        if not self._all_generate and _initialises_alone(cls):
            return True
        if not self._changed:
            return False
        if _switches_checkpointing(cls) or _shows_code_samples(module):
            self._evident.add(module)
            return True
        return _lists_tied_keys(cls) or _never_initialises(cls)

    def _uses_removed(self, cls: type) -> bool:
        codes = [f.f_code for f in _frames_of(cls.__module__)]
        codes += [f.__code__ for f in vars(cls).values() if isinstance(f, FunctionType)]
        used: set[str] = set()
        defined: set[str] = set()
        for code in codes:
            for inner in _codes_in(code):
                used.update(self._methods.intersection(inner.co_names))
                defined.add(inner.co_name)
        return bool(used - defined)

    def _adapt(self, cls: type) -> None:
        if self._all_generate:
            return
        from headsmith.compat.generation import LegacyGenerationMixin
        from headsmith.compat.late import LateModel
        from headsmith.compat.model import LegacyModel

        mends: type = LegacyModel if self._changed else LateModel
        if not issubclass(cls, mends):
            home = [c for c in cls.__mro__ if _is_custom_model(c) and _same_home(c, cls)]
            self._set_bases(home[-1], _with_legacy(home[-1].__bases__, mends))
        if self._changed:
            self._accept_arguments(cls)
        if issubclass(cls, LegacyGenerationMixin):
            return
        if _prepares_inputs(cls):
            from transformers.generation.utils import GenerationMixin

            others = tuple(b for b in cls.__bases__ if b is not GenerationMixin)
            self._set_bases(cls, (*others, LegacyGenerationMixin))

    def _set_bases(self, cls: type, bases: tuple[type, ...]) -> None:
        before = cls.__bases__
        try:
            cls.__bases__ = bases
        except TypeError as error:
            warnings.warn(
                f"{cls.__module__}.{cls.__qualname__} is a model class of Transformers 4 whose "
                f"bases cannot be changed ({error}): it runs without headsmith's help.",
                stacklevel=2,
            )
            return
        self._adapted.setdefault(cls, before)

    def _accept_arguments(self, cls: type) -> None:
        """Let a `tie_weights` without arguments be called with those of Transformers 5."""
        tie = vars(cls).get("tie_weights")
        if not isinstance(tie, FunctionType) or cls in self._wrapped:
            return
        if "missing_keys" in inspect.signature(tie).parameters:
            return
        self._wrapped[cls] = tie
        cls.tie_weights = _with_arguments(tie)  # type: ignore[attr-defined]


def _with_legacy(bases: tuple[type, ...], legacy: type) -> tuple[type, ...]:
    """The bases with `legacy` just before the first model class.

    Not before others: a class may call `__init__` of what comes behind a mixin of its own.
    """
    modeling = sys.modules["transformers.modeling_utils"]
    place = next(i for i, base in enumerate(bases) if issubclass(base, modeling.PreTrainedModel))
    return (*bases[:place], legacy, *bases[place:])


def _with_arguments(tie: Callable[[Any], Any]) -> Any:
    @functools.wraps(tie)
    def tie_weights(
        self: Any, missing_keys: set[str] | None = None, recompute_mapping: bool = True
    ) -> None:
        from headsmith.compat.model import tie_with

        tie_with(self, lambda: tie(self), missing_keys)

    return tie_weights


def _below(root: type) -> Iterator[type]:
    classes: list[type] = root.__subclasses__()
    for cls in classes:
        yield cls
        yield from _below(cls)


def _same_home(base: type, cls: type) -> bool:
    return base.__module__ == cls.__module__


def _prepares_inputs(cls: type) -> bool:
    """Whether classes that are not Transformers' own prepare inputs and run forward."""
    return all(
        any(name in vars(c) and _is_custom_model(c) for c in cls.__mro__)
        for name in ("prepare_inputs_for_generation", "forward")
    )


def _initialises_alone(cls: type) -> bool:
    init = vars(cls).get("__init__")
    if not isinstance(init, FunctionType):
        return False
    called = init.__code__.co_names
    return "init_weights" in called and "post_init" not in called


def _never_initialises(cls: type) -> bool:
    """Whether no `__init__` of a class ends as Transformers 5 asks, which then cannot read it.

    A part of another model need not; so where the file knows `post_init`, only a class counts
    that shares no base with others of the file.
    """
    inits = [f for c in cls.__mro__ if isinstance(f := vars(c).get("__init__"), FunctionType)]
    if "__init__" not in vars(cls) or any("post_init" in f.__code__.co_names for f in inits):
        return False
    alone = not any(_is_custom_model(c) and _same_home(c, cls) for c in cls.__mro__[1:])
    return alone or not any("post_init" in c.co_names for c in _codes_of(cls.__module__))


def _lists_tied_keys(cls: type) -> bool:
    return isinstance(vars(cls).get("_tied_weights_keys"), (list, tuple, set))


def _switches_checkpointing(cls: type) -> bool:
    """Whether a class sets checkpointing for one module at a time, as until 4.34."""
    switch = vars(cls).get("_set_gradient_checkpointing")
    return isinstance(switch, FunctionType) and "value" in inspect.signature(switch).parameters


def _shows_code_samples(module: str) -> bool:
    """Whether a module holds the decorator that no model of Transformers 5 has."""
    decorator = getattr(sys.modules.get(module), "add_code_sample_docstrings", None)
    return getattr(decorator, "__module__", "") == "transformers.utils.doc"


def _prepares_for_nobody(cls: type) -> bool:
    """Whether a class prepares inputs for a `generate` that it does not have since 4.50."""
    return "prepare_inputs_for_generation" in vars(cls) and not any(
        base.__name__ == "GenerationMixin" for base in cls.__mro__
    )


def _holds_helpers(module: str) -> bool:
    """Whether a module's globals hold a helper that only Transformers 4 had a use for."""
    ours = sys.modules.get("headsmith.torch")
    held = vars(sys.modules[module]) if module in sys.modules else {}
    return ours is not None and any(
        name in held and held[name] is getattr(ours, name) for name in _HELPERS
    )


def _frames_of(module: str) -> list[FrameType]:
    """The frames on the stack that run code of `module`, its top level among them."""
    found = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == module:
            found.append(frame)
        frame = frame.f_back
    return found


def _codes_of(module: str) -> Iterator[CodeType]:
    """The code of a module: all of it while it is run, later that of its classes' methods."""
    for frame in _frames_of(module):
        yield from _codes_in(frame.f_code)
    for cls in list(vars(sys.modules.get(module, sys)).values()):
        if isinstance(cls, type) and cls.__module__ == module:
            for method in vars(cls).values():
                if isinstance(method, FunctionType):
                    yield from _codes_in(method.__code__)


def _codes_in(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes_in(constant)
