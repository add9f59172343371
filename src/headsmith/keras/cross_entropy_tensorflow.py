"""Rows of sparse cross-entropy on TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["eager_sum", "rows"]

_FEW = 1 << 13
"""Up to so many logits, a graph of fewer operations is faster than one of faster operations."""


def rows(logits: Any, labels: Any, kept: Any) -> Any:
    """Give the loss of each row; see `headsmith.keras.cross_entropy`."""
    # Eager mode takes TensorFlow's one kernel, which needs the least memory. In a graph the
    # written-out form was faster (XLA makes one loop of it), unless the operations themselves
    # take longer than their arithmetic.
    eager = tf.executing_eagerly()
    if kept is None:
        if eager and logits.shape.rank == 2:
            # The function around this kernel takes as long as the kernel does for a few rows.
            return tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=logits, labels=labels)[0]
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    labels, kept = tf.convert_to_tensor(labels), tf.convert_to_tensor(kept)
    few = (logits.shape.num_elements() or _FEW + 1) <= _FEW
    return (_by_kernel if eager or few else _written_out)(logits, labels, kept)


def eager_sum(
    logits: Any, labels: np.ndarray[Any, Any], kept: np.ndarray[Any, Any] | None, divisor: float
) -> Any:
    """Give the sum of the losses divided by a number, in eager mode.

    There each operation and its gradient cost a few dozen microseconds, more than the arithmetic
    of a small batch: here are as few as possible.
    """
    dtype = logits.dtype.as_numpy_dtype
    share = np.full(labels.size, 1.0 / divisor, dtype)
    if kept is not None:
        share *= kept.reshape(-1)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def compute(logits: Any) -> Any:
        flat = tf.reshape(logits, (-1, logits.shape[-1]))
        losses, gradient = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(
            features=flat, labels=labels.reshape(-1)
        )
        if kept is not None:  # 0 * NaN is 0 here
            losses = tf.raw_ops.MulNoNan(x=losses, y=share)

        def backward(upstream: Any) -> Any:
            due = upstream * share.reshape(-1, 1)
            multiply = tf.raw_ops.Mul if kept is None else tf.raw_ops.MulNoNan
            return tf.reshape(multiply(x=gradient, y=due), logits.shape)

        total = tf.reduce_sum(losses)
        return total / divisor if kept is None else total, backward

    return compute(logits)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _by_kernel(logits: Any, labels: Any, kept: Any) -> Any:
    flat = logits.shape.rank == 2
    losses, gradient = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(
        features=logits if flat else tf.reshape(logits, (-1, logits.shape[-1])),
        labels=labels if flat else tf.reshape(labels, (-1,)),
    )
    losses = losses if flat else tf.reshape(losses, tf.shape(labels))
    none = tf.zeros((), losses.dtype)

    def backward(upstream: Any) -> Any:
        # 0 * NaN is 0 here; where a row does not count, upstream is 0.
        due = tf.where(kept, upstream, none)
        due = tf.expand_dims(due, -1) if flat else tf.reshape(due, (-1, 1))
        product = tf.raw_ops.MulNoNan(x=gradient, y=due)
        return product if flat else tf.reshape(product, logits.shape), None, None

    return tf.where(kept, losses, none), backward


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _written_out(logits: Any, labels: Any, kept: Any) -> Any:
    highest = tf.reduce_max(logits, axis=-1, keepdims=True)
    # A row that is all -inf but for its label is no reason for inf - inf.
    highest = tf.where(tf.math.is_finite(highest), highest, tf.zeros_like(highest))
    powers = tf.exp(logits - highest)
    total = tf.reduce_sum(powers, axis=-1, keepdims=True)
    log_total = tf.squeeze(tf.math.log(total) + highest, -1)
    losses = log_total - tf.gather(logits, labels, axis=-1, batch_dims=labels.shape.rank)
    none = tf.zeros((), losses.dtype)

    def backward(upstream: Any) -> Any:
        # The exponentials are kept: they take the place that the gradient needs anyway, and
        # after this nobody asks for the logits.
        hit = tf.one_hot(labels, tf.shape(logits)[-1], dtype=logits.dtype)
        # 0 * NaN is 0 here; where a row does not count, upstream is 0.
        due = tf.expand_dims(tf.where(kept, upstream, none), -1)
        return tf.raw_ops.MulNoNan(x=powers / total - hit, y=due), None, None

    return tf.where(kept, losses, none), backward
