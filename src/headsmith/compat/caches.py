"""What Cache objects of Transformers 4 had and those of 5 have not, put back where absent.

Code of 4.36 to 4.57 turns its tuples into a `DynamicCache` and back, and asks a cache for lengths
and tensors by names that are gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

__all__ = ["CACHE_METHODS", "methods_of"]


def get_usable_length(self: Any, new_seq_length: int, layer_idx: int | None = 0) -> int:
    """How many cached tokens stay when `new_seq_length` more come.

    Args:
        self: the cache.
        new_seq_length: how many tokens are to be added.
        layer_idx: the layer that is asked about.
    """
    held = int(self.get_seq_length(layer_idx or 0))
    most = _most(self)
    if most is not None and held + new_seq_length > most:
        return most - new_seq_length
    return held


def get_max_cache_shape(self: Any, layer_idx: int = 0) -> int | None:
    """How many tokens the cache can hold; None if it grows."""
    return _most(self)


def to_legacy_cache(self: Any) -> tuple[tuple[Any, ...], ...]:
    """The cache as Transformers 4 had it: for each layer its keys and values.

    Layers of an encoder-decoder's cache have those of cross-attention behind them.
    """
    if _is_double(self):
        own = to_legacy_cache(self.self_attention_cache)
        cross = to_legacy_cache(self.cross_attention_cache)
        if not cross:
            return own
        return tuple(a + b for a, b in zip(own, cross, strict=True))
    return tuple((layer.keys, layer.values) for layer in self.layers if layer.is_initialized)


def from_legacy_cache(cls: Any, past_key_values: Iterable[tuple[Any, ...]] | None = None) -> Any:
    """A cache that holds what tuples of Transformers 4 hold.

    Args:
        cls: the class of the cache.
        past_key_values: for each layer its keys and values, for an encoder-decoder those of
            cross-attention behind them; None for an empty cache.
    """
    from transformers.cache_utils import DynamicCache

    double = any(base.__name__ == "EncoderDecoderCache" for base in cls.__mro__)
    cache = cls(DynamicCache(), DynamicCache()) if double else cls()
    for i, layer in enumerate(past_key_values or ()):
        if not double:
            cache.update(layer[0], layer[1], i)
            continue
        cache.self_attention_cache.update(layer[0], layer[1], i)
        if len(layer) > 2:
            cache.cross_attention_cache.update(layer[2], layer[3], i)
            cache.is_updated[i] = True
    return cache


def _item(self: Any, layer_idx: int) -> tuple[Any, ...]:
    """The keys and values of a layer."""
    return to_legacy_cache(self)[layer_idx]


def _seen(self: Any) -> int:
    """How many tokens have been seen."""
    return int(self.get_seq_length())


def _keys(self: Any) -> list[Any]:
    """The keys of each layer."""
    return [layer[0] for layer in to_legacy_cache(self)]


def _values(self: Any) -> list[Any]:
    """The values of each layer."""
    return [layer[1] for layer in to_legacy_cache(self)]


def _is_double(cache: Any) -> bool:
    return hasattr(cache, "cross_attention_cache")


def _most(cache: Any) -> int | None:
    if not (getattr(cache, "layers", None) or _is_double(cache)):
        return None
    told = getattr(cache, "get_max_length", None) or cache.get_max_cache_shape  # 5.x, or 4.57
    most = told()
    return None if most is None or most < 0 else int(most)


CACHE_METHODS: dict[str, dict[str, Any]] = {
    "Cache": {
        "get_usable_length": get_usable_length,
        "get_max_cache_shape": get_max_cache_shape,
        "seen_tokens": property(_seen),
    },
    "DynamicCache": {
        "to_legacy_cache": to_legacy_cache,
        "from_legacy_cache": classmethod(from_legacy_cache),
        "key_cache": property(_keys),
        "value_cache": property(_values),
        "__getitem__": _item,
    },
    "EncoderDecoderCache": {
        "to_legacy_cache": to_legacy_cache,
        "from_legacy_cache": classmethod(from_legacy_cache),
        "__getitem__": _item,
    },
}
"""Class → what it had."""


def methods_of(cache_utils: ModuleType) -> Iterable[tuple[type, str, Any]]:
    """What is absent: (class, name, what to put there).

    Args:
        cache_utils: `transformers.cache_utils`.
    """
    if not hasattr(cache_utils, "DynamicLayer"):
        return  # before 4.54 caches kept lists, and have all of it
    for name, methods in CACHE_METHODS.items():
        cls = getattr(cache_utils, name, None)
        if cls is not None:
            for method, value in methods.items():
                if not hasattr(cls, method):
                    yield cls, method, value
