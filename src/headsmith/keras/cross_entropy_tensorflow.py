"""Rows of sparse cross-entropy on TensorFlow."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

__all__ = ["rows"]


def rows(logits: Any, labels: Any, kept: Any) -> Any:
    """Give the loss of each row; see `headsmith.keras.cross_entropy`."""
    if kept is None:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    # Eager mode takes TensorFlow's one kernel, which needs the least memory. In a graph the
    # written-out form was faster: XLA makes one loop of it, and the gradient reads no more than
    # the logits.
    compute = _by_kernel if tf.executing_eagerly() else _written_out
    return compute(logits, labels, kept)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _by_kernel(logits: Any, labels: Any, kept: Any) -> Any:
    losses, gradient = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(
        features=logits, labels=labels
    )

    def backward(upstream: Any) -> Any:
        # 0 * NaN is 0 here; where a row does not count, upstream is 0.
        upstream = tf.where(kept, upstream, tf.zeros_like(upstream))
        return tf.math.multiply_no_nan(gradient, upstream[:, None]), None, None

    return tf.where(kept, losses, tf.zeros_like(losses)), backward


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _written_out(logits: Any, labels: Any, kept: Any) -> Any:
    highest = tf.reduce_max(logits, axis=1, keepdims=True)
    # A row that is all -inf but for its label is no reason for inf - inf.
    highest = tf.where(tf.math.is_finite(highest), highest, tf.zeros_like(highest))
    total = tf.reduce_sum(tf.exp(logits - highest), axis=1, keepdims=True)
    log_total = tf.math.log(total) + highest
    losses = log_total[:, 0] - tf.gather(logits, labels, axis=1, batch_dims=1)

    def backward(upstream: Any) -> Any:
        classes = tf.range(tf.shape(logits)[1], dtype=labels.dtype)
        hit = tf.cast(classes[None, :] == labels[:, None], logits.dtype)
        gradient = (tf.exp(logits - log_total) - hit) * upstream[:, None]
        return tf.where(kept[:, None], gradient, tf.zeros_like(gradient)), None, None

    return tf.where(kept, losses, tf.zeros_like(losses)), backward
