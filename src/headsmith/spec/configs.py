"""The fields each head reads from a config, whatever kind of object the config is.

A config is anything with the attributes: a `PretrainedConfig`, a dataclass, a namespace. For
those who have none, this module ships a small dataclass per head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

__all__ = [
    "SUMMARY_TYPES",
    "SquadHeadConfig",
    "SummaryConfig",
    "read_flag",
    "read_float",
    "read_int",
    "read_squad_config",
    "read_summary_config",
]

SUMMARY_TYPES = ("last", "first", "mean", "cls_index", "attn")
"""What `summary_type` may say."""

_MISSING = object()


@dataclass(frozen=True)
class SquadHeadConfig:
    """All that `SQuADHead` and its three poolers read.

    Args:
        hidden_size: Width of the hidden states.
        layer_norm_eps: Added to the variance in the LayerNorm of the end logits.
        start_n_top: How many starts the beam search keeps.
        end_n_top: How many ends it keeps for each start.

    Example:
        >>> SquadHeadConfig(hidden_size=384).start_n_top
        5
    """

    hidden_size: int
    layer_norm_eps: float = 1e-12
    start_n_top: int = 5
    end_n_top: int = 5


@dataclass(frozen=True)
class SummaryConfig:
    """All that `SequenceSummary` reads; the defaults are what it assumes of a missing field.

    Args:
        hidden_size: Width of the hidden states. Needed with a projection and for "attn".
        summary_type: One of "last", "first", "mean", "cls_index", "attn".
        summary_use_proj: Whether a linear layer follows.
        summary_proj_to_labels: Whether that layer maps to `num_labels`, if there are any,
            and not to `hidden_size`.
        num_labels: Number of labels.
        summary_activation: Name of an activation, None or "" for none.
        summary_first_dropout: Probability of the dropout before the projection, in [0, 1].
        summary_last_dropout: Probability of the dropout after the activation, in [0, 1].
        summary_num_heads: Number of heads of "attn"; `num_attention_heads` is read if this is
            None or missing, and 1 taken if that is missing too.

    Example:
        >>> SummaryConfig(summary_type="mean").summary_use_proj
        False
    """

    hidden_size: int | None = None
    summary_type: str = "last"
    summary_use_proj: bool = False
    summary_proj_to_labels: bool = False
    num_labels: int = 0
    summary_activation: str | None = None
    summary_first_dropout: float = 0.0
    summary_last_dropout: float = 0.0
    summary_num_heads: int | None = None


def _read(config: Any, name: str, default: Any, reader: str) -> Any:
    value = getattr(config, name, default)
    if value is _MISSING:
        raise AttributeError(
            f"{reader} reads `{name}` from its config. Received: a {type(config).__name__} "
            f"without it. Set `config.{name}`, or use a config of headsmith.spec.configs."
        )
    return value


def read_int(
    config: Any, name: str, reader: str, *, default: Any = _MISSING, minimum: int = 1
) -> int:
    """Read a whole number.

    Args:
        config: Any object with attributes.
        name: The attribute.
        reader: Who asks, for the error.
        default: Taken if the attribute is missing; without a default that is an error.
        minimum: The smallest number allowed.

    Returns:
        The number as an int.

    Raises:
        AttributeError: The attribute is missing and there is no default.
        TypeError: It is not a whole number.
        ValueError: It is below `minimum`.

    Example:
        >>> read_int(SquadHeadConfig(hidden_size=8), "hidden_size", "SQuADHead")
        8
    """
    value = _read(config, name, default, reader)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(
            f"{reader} expects `config.{name}` to be a whole number. Received: {value!r}."
        )
    if (number := int(value)) < minimum:
        raise ValueError(
            f"{reader} expects `config.{name}` to be {minimum} or more. Received: {number}."
        )
    return number


def read_float(
    config: Any,
    name: str,
    reader: str,
    *,
    default: Any = _MISSING,
    minimum: float = 0.0,
    maximum: float = math.inf,
) -> float:
    """Read a number.

    Args:
        config: Any object with attributes.
        name: The attribute.
        reader: Who asks, for the error.
        default: Taken if the attribute is missing; without a default that is an error.
        minimum: The smallest number allowed.
        maximum: The largest number allowed.

    Returns:
        The number as a float. Where there is a default, None means the default: configs write
        None for "no dropout".

    Raises:
        AttributeError: The attribute is missing and there is no default.
        TypeError: It is not a number.
        ValueError: It is not between `minimum` and `maximum`, or NaN.

    Example:
        >>> read_float(SquadHeadConfig(hidden_size=8), "layer_norm_eps", "SQuADHead")
        1e-12
    """
    value = _read(config, name, default, reader)
    if value is None and default is not _MISSING:
        value = default
    if isinstance(value, str) or not hasattr(value, "__float__"):
        raise TypeError(f"{reader} expects `config.{name}` to be a number. Received: {value!r}.")
    number = float(value)
    if not minimum <= number <= maximum:
        raise ValueError(
            f"{reader} expects `config.{name}` to be between {minimum} and {maximum}. "
            f"Received: {number}."
        )
    return number


def read_flag(config: Any, name: str) -> bool:
    """Read a switch that is off when it is missing or None.

    Example:
        >>> read_flag(object(), "summary_use_proj")
        False
    """
    return bool(getattr(config, name, False))


def read_squad_config(config: Any) -> SquadHeadConfig:
    """Read and check what `SQuADHead` needs.

    Args:
        config: Any object with `hidden_size`, `layer_norm_eps`, `start_n_top`, `end_n_top`.

    Returns:
        The checked fields.

    Raises:
        AttributeError: A field is missing; the message names it.
        TypeError: A field is not a number.
        ValueError: A field is out of its range.

    Example:
        >>> read_squad_config(SquadHeadConfig(hidden_size=8)).end_n_top
        5
    """
    reader = "SQuADHead"
    return SquadHeadConfig(
        hidden_size=read_int(config, "hidden_size", reader),
        layer_norm_eps=read_float(config, "layer_norm_eps", reader),
        start_n_top=read_int(config, "start_n_top", reader),
        end_n_top=read_int(config, "end_n_top", reader),
    )


def read_summary_config(config: Any) -> SummaryConfig:
    """Read and check what `SequenceSummary` needs; every field may be missing as in 4.34.

    Args:
        config: Any object; see `SummaryConfig` for the fields.

    Returns:
        The checked fields. `hidden_size` is None when nothing needs it, and
        `summary_num_heads` is a number only for "attn".

    Raises:
        AttributeError: `hidden_size` or `num_labels` is needed and missing.
        TypeError: A field is of the wrong type.
        ValueError: An unknown `summary_type`, a dropout outside [0, 1], or a number of heads
            that does not divide `hidden_size`.

    Example:
        >>> read_summary_config(object()).summary_type
        'last'
    """
    reader = "SequenceSummary"
    summary_type = getattr(config, "summary_type", "last")
    if summary_type not in SUMMARY_TYPES:
        raise ValueError(
            f"{reader} expects `config.summary_type` to be one of "
            f"{', '.join(map(repr, SUMMARY_TYPES))}. Received: {summary_type!r}."
        )
    use_proj = read_flag(config, "summary_use_proj")
    to_labels = read_flag(config, "summary_proj_to_labels")
    num_labels = 0
    if use_proj and to_labels:
        num_labels = max(read_int(config, "num_labels", reader, minimum=-(2**31)), 0)
    hidden_size = None
    if use_proj or summary_type == "attn":
        hidden_size = read_int(config, "hidden_size", reader)
    heads = None
    if summary_type == "attn" and hidden_size is not None:
        asked = getattr(config, "summary_num_heads", None) is not None
        name = "summary_num_heads" if asked else "num_attention_heads"
        heads = read_int(config, name, reader, default=1)
        if hidden_size % heads:
            raise ValueError(
                f"{reader} expects `config.{name}` to divide `hidden_size`. "
                f"Received: {heads} and {hidden_size}."
            )
    activation = getattr(config, "summary_activation", None)
    if activation is not None and not isinstance(activation, str):
        raise TypeError(
            f"{reader} expects `config.summary_activation` to be a name or None. "
            f"Received: {activation!r}."
        )
    dropout = {
        name: read_float(config, name, reader, default=0.0, maximum=1.0)
        for name in ("summary_first_dropout", "summary_last_dropout")
    }
    return SummaryConfig(
        hidden_size=hidden_size,
        summary_type=summary_type,
        summary_use_proj=use_proj,
        summary_proj_to_labels=to_labels,
        num_labels=num_labels,
        summary_activation=activation,
        summary_num_heads=heads,
        **dropout,
    )
