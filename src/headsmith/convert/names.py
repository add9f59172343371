"""One weight, two names: what PyTorch calls `dense.weight` Keras calls `dense/kernel`.

| PyTorch | Keras | |
|---|---|---|
| `nn.Linear`: `weight` (out, in) | `Dense`: `kernel` (in, out) | transposed |
| `nn.LayerNorm`: `weight`, `bias` | `LayerNormalization`: `gamma`, `beta` | |
| `nn.Embedding`: `weight` | `Embedding`: `embeddings` | |
| `Conv1D`: `weight` (nx, nf), `bias` (nf,) | `weight` (nx, nf), `bias` (1, nf) | as in 4.34 |
| a parameter of its own, such as `query` | the same | |

NumPy and the standard library alone.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

__all__ = ["as_keras", "as_state", "state_name", "state_shape", "tensorflow_name"]

Array = npt.NDArray[np.generic]

_RENAMED = {"kernel": "weight", "gamma": "weight", "embeddings": "weight", "beta": "bias"}


def state_name(path: str) -> str:
    """Give PyTorch's name of a Keras weight.

    Args:
        path: Parts joined by "/", without the name of the layer they belong to.

    Returns:
        Parts joined by ".".

    Example:
        >>> state_name("end_logits/LayerNorm/gamma")
        'end_logits.LayerNorm.weight'
    """
    *lead, last = path.split("/")
    return ".".join((*lead, _RENAMED.get(last, last)))


def state_shape(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Give the shape PyTorch gives a Keras weight.

    Example:
        >>> state_shape("dense/kernel", (2, 3)), state_shape("bias", (1, 6))
        ((3, 2), (6,))
    """
    last = path.rpartition("/")[2]
    if last == "kernel" and len(shape) == 2:
        return shape[::-1]
    return shape[1:] if last == "bias" and len(shape) == 2 and shape[0] == 1 else shape


def as_state(path: str, value: Array) -> Array:
    """Turn the values of a Keras weight as PyTorch keeps them.

    Example:
        >>> as_state("dense/kernel", np.zeros((2, 3))).shape
        (3, 2)
    """
    shape = state_shape(path, value.shape)
    if path.rpartition("/")[2] == "kernel" and value.ndim == 2:
        value = value.T
    return np.ascontiguousarray(value.reshape(shape))


def as_keras(path: str, value: Array, shape: tuple[int, ...]) -> Array:
    """Turn the values of a PyTorch weight as Keras keeps them; the inverse of `as_state`.

    Example:
        >>> as_keras("bias", np.zeros(6), (1, 6)).shape
        (1, 6)
    """
    if path.rpartition("/")[2] == "kernel" and value.ndim == 2:
        value = value.T
    return value.reshape(shape)


def tensorflow_name(name: str, *, with_model: bool = True) -> str:
    """Give the path of a weight of a TensorFlow model of Transformers 4.

    `h_._0` stands for two levels, `h` and `0`; of `scope___name` the name counts; what is
    behind the colon is TensorFlow's.

    Args:
        name: As TensorFlow names it.
        with_model: Whether the first level is the model's own name, and dropped.

    Returns:
        Parts joined by "/".

    Example:
        >>> tensorflow_name("tfgpt2_model/transformer/h_._0/attn/c_attn/weight:0")
        'transformer/h/0/attn/c_attn/weight'
    """
    name = name.partition(":")[0]
    name = re.sub(r"(^|/)[^/]*___([^/]*)/", r"\1\2/", name)
    parts = [part for part in name.replace("_._", "/").split("/") if part]
    return "/".join(parts[1:] if with_model and len(parts) > 1 else parts)
