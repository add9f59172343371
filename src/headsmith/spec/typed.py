"""Check plain data from a file against the annotations of the dataclass it is to fill."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

__all__ = ["check_fields"]


def check_fields(kind: type, data: Mapping[str, Any]) -> None:
    """Refuse data whose values are not what the fields of a dataclass are annotated with.

    Known are str, int, float (which takes an int), bool, None, Any, `Literal`, unions, `list`,
    `tuple` and `dict`, nested at will. Fields that are missing and names that are no fields are
    passed over; a dataclass as an annotation is left to its own reader.

    Args:
        kind: a dataclass.
        data: field → value, as JSON gave it.

    Raises:
        TypeError: a value is of another type; the message names the field.

    Example:
        >>> from headsmith.spec.run import Timing
        >>> check_fields(Timing, {"median_ms": 3, "rounds": "many"})
        Traceback (most recent call last):
        TypeError: rounds: expected int. Received 'many'
    """
    hints = get_type_hints(kind)
    for field in fields(kind):
        if field.name in data and not _fits(data[field.name], hints[field.name]):
            received = repr(data[field.name])
            received = received if len(received) <= 60 else received[:57] + "..."
            expected = hints[field.name]
            name = expected.__name__ if isinstance(expected, type) else str(expected)
            raise TypeError(f"{field.name}: expected {name}. Received {received}")


def _fits(value: object, hint: Any) -> bool:
    origin, inside = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    if origin in (Union, types.UnionType):
        return any(_fits(value, h) for h in inside)
    if origin is Literal:
        return value in inside
    if origin is list:
        return isinstance(value, list) and all(_fits(v, inside[0]) for v in value)
    if origin is tuple:
        return (
            isinstance(value, (list, tuple))
            and len(value) == len(inside)
            and all(_fits(v, h) for v, h in zip(value, inside, strict=True))
        )
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(k, inside[0]) and _fits(v, inside[1]) for k, v in value.items()
        )
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(hint, type) and hint in (str, bool, dict, list):
        return isinstance(value, hint)
    return True
