"""What code of Transformers 4 is answered when it asks a configuration for what is gone.

`__getattr__` of the base class is asked only for what a configuration does not have, and answers
only code of that time: a module with a legacy model class, or the configuration's own class. To
everyone else, Transformers itself included, the attribute is absent as before.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

from headsmith.compat.config_defaults import defaults_of
from headsmith.compat.native import is_native

__all__ = ["GENERATION", "answering", "handed_on", "needed_in"]

GENERATION: dict[str, Any] = {
    "bad_words_ids": None,
    "begin_suppress_tokens": None,
    "diversity_penalty": 0.0,
    "do_sample": False,
    "early_stopping": False,
    "encoder_no_repeat_ngram_size": 0,
    "exponential_decay_length_penalty": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "is_composition": False,
    "length_penalty": 1.0,
    "max_length": 20,
    "min_length": 0,
    "no_repeat_ngram_size": 0,
    "num_beam_groups": 1,
    "num_beams": 1,
    "num_return_sequences": 1,
    "output_scores": False,
    "remove_invalid_values": False,
    "repetition_penalty": 1.0,
    "return_dict_in_generate": False,
    "suppress_tokens": None,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "typical_p": 1.0,
    "use_cache": True,
}
"""Settings of generation that every configuration of 4.34 had."""


def needed_in(configuration_utils: ModuleType) -> type | None:
    """The base class of configurations, if it lacks what that of 4.34 had.

    Args:
        configuration_utils: `transformers.configuration_utils`.
    """
    base: type = getattr(
        configuration_utils, "PreTrainedConfig", configuration_utils.PretrainedConfig
    )
    return None if hasattr(base, "__getattr__") or hasattr(base(), "is_decoder") else base


def answering(is_old: Callable[[str], bool]) -> Callable[[Any, str], Any]:
    """A `__getattr__` for the base class of configurations.

    Args:
        is_old: whether the module of this name is of Transformers 4.
    """

    def __getattr__(self: Any, name: str) -> Any:  # noqa: N807
        if name in GENERATION or name in defaults_of(None):
            asking = str(sys._getframe(1).f_globals.get("__name__", ""))
            own = any(cls.__module__ == asking for cls in type(self).__mro__ if not is_native(cls))
            if own or is_old(asking):
                return copy.copy({**GENERATION, **handed_on(self), **defaults_of(self)}[name])
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self
        )

    return __getattr__


def handed_on(config: Any) -> dict[str, Any]:
    """Settings of generation that a configuration class of one's own has among its arguments.

    Such a class, like BART's of 4.34, hands them to the base class, which drops them in
    Transformers 5. What is left to be known is their default: a value given at construction, or
    read from a file, is lost.

    Args:
        config: any configuration; one of Transformers' own hands nothing on.

    Returns:
        Name → default, of those that the configuration does not have and whose default differs
        from that of all.
    """
    declared = _declared(type(config))  # type: ignore[arg-type]
    return {name: value for name, value in declared.items() if name not in vars(config)}


@cache
def _declared(config_class: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for cls in config_class.__mro__:
        init = vars(cls).get("__init__")
        if is_native(cls) or not isinstance(init, FunctionType):
            continue
        for name, parameter in inspect.signature(init).parameters.items():
            if name in GENERATION:
                found.setdefault(name, parameter.default)
    plain = (inspect.Parameter.empty, None)
    return {n: v for n, v in found.items() if v not in plain and v != GENERATION[n]}
