"""Activations by name, as `get_activation` of Transformers 4.34 knew them.

Only arithmetic that torch lacks is written here; the sources are named beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["ACTIVATIONS", "Activation", "get_activation"]


def _gelu_erf(x: Tensor) -> Tensor:
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def _gelu_tanh(x: Tensor) -> Tensor:
    # Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415, as OpenAI's GPT writes it.
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x.pow(3))))


def _gelu_fast(x: Tensor) -> Tensor:
    return 0.5 * x * (1.0 + torch.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x)))


def _gelu_clipped(x: Tensor) -> Tensor:
    # For quantisation: https://arxiv.org/abs/2004.09602.
    return F.gelu(x).clamp(-10.0, 10.0)


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def _laplace(x: Tensor) -> Tensor:
    # MEGA's attention function, https://arxiv.org/abs/2209.10655.
    return 0.5 * (1.0 + torch.erf((x - 0.707107) / (0.282095 * math.sqrt(2.0))))


def _relu_squared(x: Tensor) -> Tensor:
    # Primer, https://arxiv.org/abs/2109.08668.
    return torch.relu(x).square()


def _linear(x: Tensor) -> Tensor:
    return x


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_10": _gelu_clipped,
    "gelu_fast": _gelu_fast,
    "gelu_new": _gelu_tanh,
    "gelu_python": _gelu_erf,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "gelu_accurate": _gelu_tanh,
    "hardswish": F.hardswish,
    "laplace": _laplace,
    "leaky_relu": F.leaky_relu,
    "linear": _linear,
    "mish": F.mish,
    "quick_gelu": _quick_gelu,
    "relu": torch.relu,
    "relu2": _relu_squared,
    "relu6": F.relu6,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
}
"""Name → function: the names of 4.34, and those that later versions added without parameters."""


class Activation(nn.Module):
    """A named activation as a module without parameters.

    Args:
        name: A key of `ACTIVATIONS`.

    Raises:
        KeyError: The name is unknown.

    Example:
        >>> import torch
        >>> Activation("relu2")(torch.tensor([-1.0, 3.0])).tolist()
        [0.0, 9.0]
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in ACTIVATIONS:
            raise KeyError(
                f"Expected the name of an activation, one of {', '.join(ACTIVATIONS)}. "
                f"Received: {name!r}."
            )
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """Map each number; any shape, the dtype of `x`."""
        return ACTIVATIONS[self.name](x)

    def extra_repr(self) -> str:
        """Say the name, for `print`."""
        return repr(self.name)


def get_activation(name: str) -> Activation:
    """Make the activation of that name.

    Args:
        name: A key of `ACTIVATIONS`.

    Returns:
        A new module.

    Raises:
        KeyError: The name is unknown, as in 4.34.

    Example:
        >>> get_activation("gelu_new")
        Activation('gelu_new')
    """
    return Activation(name)
