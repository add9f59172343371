"""The linear layer of GPT and GPT-2, which keeps its weight transposed, for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from headsmith.keras.initializers import get_initializer
from headsmith.keras.linear import linear

__all__ = ["Conv1D", "TFConv1D", "conv1d"]


def conv1d(x: Any, weight: Any, bias: Any = None) -> Any:
    """Compute `x @ weight + bias`.

    Args:
        x: Floating tensor (..., nx), any rank of at least 1.
        weight: Tensor (nx, nf), in the dtype of `x`.
        bias: Tensor (nf,) or (1, nf). Default: none.

    Returns:
        Tensor (..., nf) in the dtype of `x`.

    Raises:
        ValueError: The last dimension of `x` is not nx.

    Example:
        >>> from keras import ops
        >>> tuple(conv1d(ops.ones((2, 5, 4)), ops.ones((4, 6)), ops.zeros((1, 6))).shape)
        (2, 5, 6)
    """
    _check(x.shape, weight.shape[0], "conv1d")
    if bias is not None and len(bias.shape) > 1:
        bias = ops.reshape(bias, (-1,))
    return linear(x, weight, bias)


def _check(shape: Any, nx: int, reader: str) -> None:
    if len(shape) == 0 or shape[-1] not in (None, nx):
        raise ValueError(
            f"{reader} expects an input of shape (..., nx={nx}). Received: {tuple(shape)}."
        )


@keras.saving.register_keras_serializable(package="headsmith")
class Conv1D(keras.layers.Layer):  # type: ignore[misc]
    """A linear layer with a weight of shape (nx, nf), as GPT-2 stores it.

    `TFConv1D` of Transformers 4.34: the order of the arguments, the names and shapes of the
    weights, and how they are drawn. Mended: inputs of any rank, 4.34 took three dimensions;
    `get_config`; Keras masks pass through.

    Args:
        nf: Number of output features.
        nx: Number of input features.
        initializer_range: Standard deviation of the weight's truncated normal. Default: 0.02.
        **kwargs: Those of `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Attributes:
        weight: (nx, nf).
        bias: (1, nf), at first zeros.

    Raises:
        ValueError: A size below 0.

    Example:
        >>> from keras import ops
        >>> tuple(Conv1D(6, 4)(ops.ones((2, 5, 4))).shape)
        (2, 5, 6)
    """

    def __init__(self, nf: int, nx: int, initializer_range: float = 0.02, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, size in (("nf", nf), ("nx", nx)):
            if isinstance(size, bool) or not hasattr(size, "__index__") or int(size) < 0:
                raise ValueError(
                    f"Conv1D expects `{name}` to be a whole number of at least 0. "
                    f"Received: {size!r}."
                )
        self.nf = int(nf)
        self.nx = int(nx)
        self.initializer_range = initializer_range
        self.supports_masking = True

    def build(self, input_shape: Any = None) -> None:
        """Make the weights; their sizes do not depend on the input."""
        if input_shape is not None:
            _check(input_shape, self.nx, type(self).__name__)
        self.weight = self.add_weight(
            name="weight",
            shape=(self.nx, self.nf),
            initializer=get_initializer(self.initializer_range),
        )
        self.bias = self.add_weight(name="bias", shape=(1, self.nf), initializer="zeros")

    def call(self, x: Any) -> Any:
        """Map (..., nx) to (..., nf); see `conv1d`."""
        return conv1d(x, ops.convert_to_tensor(self.weight), ops.convert_to_tensor(self.bias))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Give (..., nf)."""
        _check(input_shape, self.nx, type(self).__name__)
        return (*input_shape[:-1], self.nf)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments, for `from_config`."""
        own = {"nf": self.nf, "nx": self.nx, "initializer_range": self.initializer_range}
        return {**super().get_config(), **own}


TFConv1D = Conv1D
"""4.34's name of `Conv1D`."""
