"""What may stand for a config: an object with attributes, or a dict of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

__all__ = ["as_config"]

_PLAIN = (bool, int, float, complex, str, bytes, list, tuple, set, frozenset)


def as_config(config: Any, reader: str) -> Any:
    """Give an object whose attributes are the config's fields.

    Args:
        config: A `PretrainedConfig`, dataclass, namespace or any other object with attributes,
            or a dict, such as `get_config` writes and a JSON file holds.
        reader: Who asks, for the error.

    Returns:
        The object itself, or a namespace of the dict's items.

    Raises:
        TypeError: It is a number, a string, a list, an array, a class or None.

    Example:
        >>> as_config({"hidden_size": 8}, "SQuADHead").hidden_size
        8
    """
    if isinstance(config, Mapping):
        return SimpleNamespace(**config)
    if config is None or isinstance(config, (type, *_PLAIN)) or hasattr(config, "shape"):
        raise TypeError(
            f"{reader} expects `config` to be an object with attributes, such as a "
            "`PretrainedConfig` or one of headsmith.spec.configs, or a dict. "
            f"Received: {config!r} (of type {type(config).__name__})."
        )
    return config
