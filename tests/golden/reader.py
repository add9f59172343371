"""Read recorded cases of Transformers 4.34.0: a list of cases in JSON, their arrays in .npz.

In the JSON an object with a key such as "$a" or "$set" stands for what JSON cannot say.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Array:
    """Values, and the dtype they had: NumPy has no bfloat16, which is stored as float32."""

    values: np.ndarray
    dtype: str
    transposed: bool = False  # hand it over as a non-contiguous view, dimensions 1 and 2 swapped


def read(group: str) -> list[dict[str, Any]]:
    """Give the cases of a group such as "torch_Conv1D"."""
    document = json.loads((FOLDER / f"{group}.json").read_text(encoding="utf-8"))
    with np.load(FOLDER / f"{group}.npz", allow_pickle=False) as arrays:
        return [_decoded(case, arrays) for case in document["cases"]]


_TAGS = {
    "$tuple": tuple,
    "$list": list,
    "$set": set,
    "$dict": dict,
    "$config": lambda fields: SimpleNamespace(**fields),
    "$nan": lambda _: math.nan,
    "$inf": lambda sign: sign * math.inf,
}


def _decoded(value: Any, arrays: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(member, arrays) for member in value]
    if not isinstance(value, dict):
        return value
    if "$a" in value:
        view = value.get("view")
        assert view in (None, "transpose12"), view
        return Array(arrays[value["$a"]], value["dtype"], transposed=view is not None)
    members = {key: _decoded(member, arrays) for key, member in value.items()}
    for tag, make in _TAGS.items():
        if tag in members:
            return make(members[tag])
    return members


def close(got: np.ndarray, expected: np.ndarray, *, atol: float, rtol: float) -> np.ndarray:
    """Tell entry by entry whether two float64 arrays agree; NaN agrees with NaN."""
    return np.isclose(got, expected, atol=atol, rtol=rtol, equal_nan=True)


def assert_close(
    got: np.ndarray,
    expected: np.ndarray,
    *,
    atol: float,
    rtol: float,
    oracle: np.ndarray | None = None,
) -> None:
    """Ask that `got` be near `expected`, or no farther from the oracle than `expected` is."""
    assert got.shape == expected.shape
    fine = close(got, expected, atol=atol, rtol=rtol)
    if oracle is not None:
        fine |= np.abs(got - oracle) <= np.abs(expected - oracle)
    wrong = ~fine
    assert fine.all(), (
        f"{wrong.sum()} of {wrong.size} entries differ: "
        f"got {got[wrong][:5]}, expected {expected[wrong][:5]}"
    )


def assert_raised(error: Exception, raises: dict[str, Any]) -> None:
    """Ask for the recorded type of error, or a subclass, where 4.34 raised it on purpose."""
    if raises["strict"]:
        assert raises["type"] in [cls.__name__ for cls in type(error).__mro__]
