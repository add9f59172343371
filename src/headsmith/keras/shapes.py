"""`shape_list`: the dimensions of a tensor, as far as they are known."""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["shape_list"]


def shape_list(tensor: Any) -> Any:
    """Give the shape: known dimensions as numbers, unknown ones as what will hold them.

    Kept from 4.34: NumPy arrays, TensorFlow tensors and variables, unknown dimensions, and
    unknown rank. New: Keras variables, and tensors of every Keras backend.

    Args:
        tensor: Anything with a `shape`: a tensor or variable of the Keras backend, a symbolic
            Keras tensor, or a NumPy array.

    Returns:
        List of ints. In its place an unknown dimension is a scalar tensor inside a
        `tf.function`, and None for a symbolic Keras tensor. Of a TensorFlow tensor of unknown
        rank not a list but `tf.shape(tensor)`, an integer vector.

    Raises:
        AttributeError: There is no `shape`.

    Example:
        >>> import keras, numpy as np
        >>> shape_list(np.zeros((2, 3)))
        [2, 3]
        >>> shape_list(keras.KerasTensor((None, 3)))
        [None, 3]
    """
    if not hasattr(tensor, "shape"):
        raise AttributeError(
            "shape_list expects a tensor or an array, something with a `shape`. "
            f"Received: a {type(tensor).__name__}. Make it one: `keras.ops.convert_to_tensor`."
        )
    shape = tensor.shape
    if getattr(shape, "rank", 0) is None:
        return _dynamic(tensor)
    static = [None if size is None else _number(size) for size in shape]
    if None not in static or isinstance(tensor, keras.KerasTensor):
        return static
    if keras.config.backend() != "tensorflow" and not type(shape).__module__.startswith(
        "tensorflow"
    ):
        return static
    dynamic = _dynamic(tensor)
    return [dynamic[i] if size is None else size for i, size in enumerate(static)]


def _number(size: Any) -> Any:
    """Make an int of a plain size; JAX and PyTorch have symbols for sizes, which stay."""
    return int(size) if isinstance(size, int) or type(size).__module__ == "numpy" else size


def _dynamic(tensor: Any) -> Any:
    import tensorflow as tf  # it is one of TensorFlow's: nothing is loaded that was not

    return tf.shape(tensor)
