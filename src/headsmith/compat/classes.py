"""What is added to Transformers' base classes while `restore` is on, and taken off again.

Only attributes that are absent are added, and none that is there is replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from headsmith.compat.legacy import LegacyClasses, is_old_module

__all__ = ["BaseClasses"]


class BaseClasses:
    """Additions to the classes of `transformers.modeling_utils` and of `cache_utils`."""

    def __init__(self) -> None:
        self._added: list[tuple[type, str]] = []
        self._legacy: LegacyClasses | None = None
        self._takers: list[str] = []
        self._undo_compiled: Callable[[], None] | None = None

    def took(self, module: str) -> None:
        """Note that a module imported a restored name."""
        self._takers.append(module)
        if self._legacy is not None:
            self._legacy.took(module)

    def install(self, modeling_utils: ModuleType) -> None:
        """Add what is absent; called when `transformers.modeling_utils` has been imported."""
        from headsmith.compat.head_mask_guard import HeadMaskGuard, guard_compiled
        from headsmith.compat.methods import MODULE_METHODS, PRETRAINED_METHODS

        if self._legacy is not None:
            return
        base = modeling_utils.PreTrainedModel
        mixin = modeling_utils.ModuleUtilsMixin
        gone = [m for m in (*MODULE_METHODS, *PRETRAINED_METHODS) if not hasattr(base, m)]
        for home, methods in ((mixin, MODULE_METHODS), (base, PRETRAINED_METHODS)):
            for name in set(methods).intersection(gone):
                self._add(home, name, methods[name])
        if "get_head_mask" in gone:
            self._add(base, "__call__", HeadMaskGuard())
            self._undo_compiled = guard_compiled()
        legacy = LegacyClasses(
            frozenset(gone) - {"prune_heads"},
            changed_in_5=hasattr(base, "get_expanded_tied_weights_keys"),
            all_generate=hasattr(base, "generate"),
        )
        for module in self._takers:
            legacy.took(module)
        self._add(mixin, "__init_subclass__", _telling(mixin, legacy))
        self._legacy = legacy
        legacy.install(base)

    def install_configs(self, configuration_utils: ModuleType) -> None:
        """Add what is absent; called when `transformers.configuration_utils` has been imported."""
        from headsmith.compat.config_attributes import answering, needed_in

        base = needed_in(configuration_utils)
        if base is not None:
            self._add(base, "__getattr__", answering(is_old_module))

    def install_caches(self, cache_utils: ModuleType) -> None:
        """Add what is absent; called when `transformers.cache_utils` has been imported."""
        from headsmith.compat.caches import methods_of

        for cls, name, value in list(methods_of(cache_utils)):
            self._add(cls, name, value)

    def install_clip(self, module: ModuleType) -> None:
        """Add what is absent; called when a module of CLIP or its kin has been imported."""
        from headsmith.compat.clip_calls import blocks_of
        from headsmith.compat.clip_models import inner_models_of

        for block, call in list(blocks_of(module)):
            self._add(block, "__call__", call)
        for model, name, inner in list(inner_models_of(module)):
            self._add(model, name, inner)

    def remove(self) -> None:
        """Take everything off again."""
        if self._legacy is not None:
            self._legacy.remove()
            self._legacy = None
        if self._undo_compiled is not None:
            self._undo_compiled()
            self._undo_compiled = None
        for home, name in reversed(self._added):
            delattr(home, name)
        self._added.clear()

    def _add(self, home: type, name: str, value: Any) -> None:
        if name not in vars(home):
            setattr(home, name, value)
            self._added.append((home, name))


def _telling(mixin: Any, legacy: LegacyClasses) -> Any:
    def tell(cls: type, **kwargs: Any) -> None:
        super(mixin, cls).__init_subclass__(**kwargs)
        legacy.consider(cls)

    return classmethod(tell)  # type: ignore[arg-type]
