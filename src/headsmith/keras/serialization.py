"""`keras_serializable`: layers made from a config object, saved and loaded by Keras."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

import keras

__all__ = ["keras_serializable"]

_Layer = TypeVar("_Layer", bound=type)

_KEYS = ("config", "transformers_config")
"""Under which key the config is kept: what 4.34 wrote, and what its page says."""


def keras_serializable(cls: _Layer) -> _Layer:
    """Make a layer class whose `__init__` takes a config object one that Keras can save.

    The class gets a `get_config`, takes its config as an object or as a dict, and is registered
    with Keras: `keras.saving.load_model` needs no `custom_objects`.

    Kept from 4.34: `config_class`, the key `config` of a saved layer, `_keras_serializable`, the
    errors; a dict is taken as keyword alone; of the other arguments those given by keyword are
    saved, those given by place are not. Mended: `transformers_config`, the key that 4.34's
    documentation tells of, is read too; config classes do without `from_dict` and `to_dict`,
    such as dataclasses; Keras 3, which inspects `__init__`, finds a plain signature.

    Args:
        cls: A `keras.layers.Layer` subclass with the attribute `config_class`. Its `__init__`
            takes the config first, then whatever it likes.

    Returns:
        The same class.

    Raises:
        AttributeError: There is no `config_class`.
        TypeError: It is no layer class. A made class raises it too, for a dict whose keys the
            config class does not take.
        ValueError: (of the made class) No config was given, or something else in its place.

    Example:
        >>> import dataclasses, keras
        >>> @dataclasses.dataclass
        ... class Config:
        ...     width: int = 4
        >>> @keras_serializable
        ... class Scale(keras.layers.Layer):
        ...     config_class = Config
        ...     def __init__(self, config, **kwargs):
        ...         super().__init__(**kwargs)
        ...         self.width = config.width
        >>> layer = Scale(Config(width=8), name="scale")
        >>> Scale.from_config(layer.get_config()).width
        8
    """
    name = getattr(cls, "__name__", repr(cls))
    if not isinstance(cls, type) or not hasattr(cls, "get_config"):
        raise TypeError(
            "Only use @keras_serializable on keras.layers.Layer subclasses. "
            f"Received: {name}, which has no `get_config`."
        )
    config_class = getattr(cls, "config_class", None)
    if config_class is None:
        raise AttributeError(
            f"Must set `config_class` to use @keras_serializable. Received: {name} without it."
        )
    initializer = cls.__init__  # type: ignore[misc]
    inherited_get_config = cls.get_config

    @functools.wraps(initializer)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        config, args, kwargs = _separate(name, config_class, args, kwargs)
        initializer(self, config, *args, **kwargs)
        # A subclass of a decorated class comes here twice: the outer arguments are the ones.
        self._config = config
        self._kwargs = kwargs

    def get_config(self: Any) -> dict[str, Any]:
        told = inherited_get_config(self)
        return {**told, **self._kwargs, "config": _to_dict(self._config)}

    # Keras looks at the signature to record the arguments itself; a config is not for it.
    del __init__.__wrapped__
    __init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
            inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
        ]
    )
    made: Any = cls
    made.__init__ = __init__
    made.get_config = get_config
    made._keras_serializable = True
    registered: _Layer = keras.saving.register_keras_serializable()(cls)
    return registered


def _separate(
    name: str, config_class: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Find the config among the arguments, and make an object of a dict."""
    rest = dict(kwargs)
    given = [rest.pop(key) for key in _KEYS if rest.get(key) is not None]
    for key in _KEYS:
        rest.pop(key, None)
    if args and isinstance(args[0], config_class):
        if given:
            raise ValueError(
                f"{name} expects one config. Received: two, one by place and one by keyword."
            )
        return args[0], args[1:], rest
    if len(given) == 1 and isinstance(given[0], config_class):
        return given[0], args, rest
    if len(given) == 1 and isinstance(given[0], Mapping):
        return _from_dict(name, config_class, dict(given[0])), args, rest
    received = "two" if len(given) > 1 else "none"
    if len(given) == 1 or args:
        received = f"a {type(given[0] if given else args[0]).__name__}"
    raise ValueError(
        f"Must pass either `config` (PretrainedConfig) or `config` (dict): {name} expects a "
        f"{config_class.__name__}, or a dict as the keyword `config`. Received: {received}."
    )


def _from_dict(name: str, config_class: Any, fields: dict[str, Any]) -> Any:
    if hasattr(config_class, "from_dict"):
        return config_class.from_dict(fields)
    try:
        return config_class(**fields)
    except TypeError as error:
        raise TypeError(
            f"{name} expects a dict of what {config_class.__name__} takes. "
            f"Received: {sorted(fields)}. {error}"
        ) from error


def _to_dict(config: Any) -> dict[str, Any]:
    if hasattr(config, "to_dict"):
        return dict(config.to_dict())
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return dataclasses.asdict(config)
    return dict(vars(config))
