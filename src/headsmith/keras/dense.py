"""Dense sublayers: whether their weights say all about them, and their call in eager mode."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from headsmith.keras.eager import may_read_values
from headsmith.keras.linear import named_dtype

__all__ = ["call_dense", "is_plain"]


def is_plain(dense: Any) -> bool:
    """Tell whether a layer is what this library makes: no subclass, quantised or with LoRA.

    Args:
        dense: Any layer.

    Returns:
        Whether its output is `x @ kernel + bias` and nothing else happens.

    Example:
        >>> import keras
        >>> is_plain(keras.layers.Dense(2)), is_plain(keras.layers.Dense(2, "relu"))
        (True, False)
    """
    return (
        type(dense) is keras.layers.Dense
        and getattr(dense, "quantization_mode", None) is None
        and not getattr(dense, "lora_enabled", False)
        and dense.activity_regularizer is None
        and dense.activation is keras.activations.linear
    )


def call_dense(dense: Any, x: Any) -> Any:
    """Call a Dense layer that is built; in eager TensorFlow in fewer steps.

    There Keras needs about half a millisecond for the call, several times the two operations.

    Args:
        dense: `keras.layers.Dense`, or what was put in its place.
        x: Floating tensor (..., in).

    Returns:
        Tensor (..., units), as `dense(x)`.

    Example:
        >>> import keras
        >>> dense = keras.layers.Dense(2, bias_initializer="ones", kernel_initializer="zeros")
        >>> dense.build((None, 3))
        >>> keras.ops.shape(call_dense(dense, keras.ops.ones((1, 3))))
        (1, 2)
    """
    if (
        keras.config.backend() != "tensorflow"
        or not may_read_values(x)
        or len(x.shape) != 2
        or not is_plain(dense)
        or named_dtype(x) != dense.compute_dtype
    ):
        return dense(x)
    import tensorflow as tf

    product = tf.linalg.matmul(x, ops.convert_to_tensor(dense.kernel, dtype=x.dtype))
    if dense.bias is None:
        return product
    return tf.nn.bias_add(product, ops.convert_to_tensor(dense.bias, dtype=x.dtype))
