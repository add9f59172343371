"""Activations by name, as `get_tf_activation` of Transformers 4.34 knew them, for Keras.

The names are those of `headsmith.torch.activations`, and "glu", which 4.34 had in TensorFlow
alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from keras import ops

__all__ = ["ACTIVATIONS", "get_activation"]


def _gelu_clipped(x: Any) -> Any:
    # For quantisation: https://arxiv.org/abs/2004.09602.
    return ops.clip(ops.gelu(x, approximate=False), -10.0, 10.0)


def _gelu_fast(x: Any) -> Any:
    return 0.5 * x * (1.0 + ops.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x)))


def _glu(x: Any) -> Any:
    # Gated linear units, https://arxiv.org/abs/1612.08083: half of the features gate the others.
    half, odd = divmod(x.shape[-1], 2)
    if odd:
        raise ValueError(
            f'The activation "glu" expects an even number of features. Received: {x.shape[-1]}.'
        )
    return x[..., :half] * ops.sigmoid(x[..., half:])


def _laplace(x: Any) -> Any:
    # MEGA's attention function, https://arxiv.org/abs/2209.10655.
    return 0.5 * (1.0 + ops.erf((x - 0.707107) / (0.282095 * math.sqrt(2.0))))


def _linear(x: Any) -> Any:
    return x


def _mish(x: Any) -> Any:
    return x * ops.tanh(ops.softplus(x))


def _quick_gelu(x: Any) -> Any:
    return x * ops.sigmoid(1.702 * x)


def _relu_squared(x: Any) -> Any:
    # Primer, https://arxiv.org/abs/2109.08668.
    return ops.square(ops.relu(x))


_gelu_erf = partial(ops.gelu, approximate=False)
_gelu_tanh = partial(ops.gelu, approximate=True)

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "gelu": _gelu_erf,
    "gelu_10": _gelu_clipped,
    "gelu_accurate": _gelu_tanh,
    "gelu_fast": _gelu_fast,
    "gelu_new": _gelu_tanh,
    "gelu_python": _gelu_erf,
    "gelu_pytorch_tanh": _gelu_tanh,
    "glu": _glu,
    "hardswish": ops.hard_silu,
    "laplace": _laplace,
    "leaky_relu": partial(ops.leaky_relu, negative_slope=0.01),
    "linear": _linear,
    "mish": _mish,
    "quick_gelu": _quick_gelu,
    "relu": ops.relu,
    "relu2": _relu_squared,
    "relu6": ops.relu6,
    "sigmoid": ops.sigmoid,
    "silu": ops.silu,
    "swish": ops.silu,
    "tanh": ops.tanh,
}
"""Name → function."""


def get_activation(name: str) -> Callable[[Any], Any]:
    """Give the function of that name.

    Args:
        name: A key of `ACTIVATIONS`.

    Returns:
        A function of a floating tensor, which keeps shape and dtype; "glu" halves the last
        dimension.

    Raises:
        KeyError: The name is unknown, as in 4.34.

    Example:
        >>> from keras import ops
        >>> [float(x) for x in get_activation("relu2")(ops.array([-1.0, 3.0]))]
        [0.0, 9.0]
    """
    if name not in ACTIVATIONS:
        raise KeyError(
            f"Expected the name of an activation, one of {', '.join(ACTIVATIONS)}. "
            f"Received: {name!r}."
        )
    return ACTIVATIONS[name]
