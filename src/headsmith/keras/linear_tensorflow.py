"""Cross-entropy of a product, chunk by chunk, on TensorFlow."""

from __future__ import annotations

from functools import cache
from typing import Any

import tensorflow as tf

__all__ = ["row_losses", "weighted_sum"]

Settings = tuple[bool, float, int]

try:
    from tensorflow.python.eager.record import could_possibly_record
except ImportError:  # it moved: then gradients are made whether anybody asks or not

    def could_possibly_record() -> bool:
        """Tell whether a gradient tape is open."""
        return True


def _to_front(kept: Any, chunk: int) -> tuple[Any, Any]:
    """Give an order with the kept rows first, padded to whole chunks, and how many they are."""
    order = tf.argsort(tf.cast(tf.logical_not(kept), tf.int32), stable=True)
    padding = -tf.shape(kept)[0] % chunk
    if kept.shape[0] is not None:
        padding = -kept.shape[0] % chunk  # XLA wants to know
    # What stands behind the end is never read for its own sake: any row will do.
    return tf.pad(order, [[0, padding]]), tf.reduce_sum(tf.cast(kept, tf.int32))


def _loop(
    settings: Settings,
    gradients: bool,
    hidden: Any,
    weight: Any,
    bias: Any,
    labels: Any,
    kept: Any,
    scale: Any,
) -> tuple[Any, list[Any]]:
    """Give losses (rows,) and, if asked for, the gradients of `sum(scale * losses)`."""
    transposed, smoothing, chunk = settings
    classes = weight.shape[1 if transposed else 0]
    dtype = scale.dtype
    order, count = _to_front(kept, chunk)

    def body(i: Any, losses: Any, *found: Any) -> Any:
        rows = tf.slice(order, [i * chunk], [chunk])
        live = i * chunk + tf.range(chunk) < count
        h = tf.gather(hidden, rows)
        h = tf.where(live[:, None], h, tf.zeros_like(h))
        y = tf.gather(labels, rows)
        out = tf.cast(tf.matmul(h, weight, transpose_b=not transposed), dtype)
        out = out if bias is None else out + tf.cast(bias, dtype)
        highest = tf.reduce_max(out, axis=1, keepdims=True)
        highest = tf.where(tf.math.is_finite(highest), highest, tf.zeros_like(highest))
        powers = tf.exp(out - highest)
        total = tf.reduce_sum(powers, axis=1, keepdims=True)
        log_total = tf.math.log(total) + highest
        target = tf.gather(out, y, axis=1, batch_dims=1)
        if smoothing:
            mean = tf.reduce_sum(out, axis=1) / classes
            target = (1 - smoothing) * target + smoothing * mean
        # Rows that are not live come after all that are, or are padding, and add nothing.
        new = tf.where(live, log_total[:, 0] - target, tf.zeros_like(target))
        losses = tf.tensor_scatter_nd_add(losses, rows[:, None], new)
        if not gradients:
            return i + 1, losses
        due = tf.where(live, tf.gather(scale, rows), tf.zeros_like(target))[:, None]
        hit = tf.cast(tf.range(classes, dtype=y.dtype)[None, :] == y[:, None], dtype)
        if smoothing:
            hit = (1 - smoothing) * hit + smoothing / classes
        d32 = powers * (due / total) - hit * due
        d = tf.cast(d32, h.dtype)
        of_hidden, of_weight, *of_bias = found
        step = tf.matmul(d, weight, transpose_b=transposed)
        of_hidden = tf.tensor_scatter_nd_add(of_hidden, rows[:, None], step)
        pair = (h, d) if transposed else (d, h)
        of_weight = of_weight + tf.cast(tf.matmul(*pair, transpose_a=True), dtype)
        of_bias = [b + tf.reduce_sum(d32, axis=0) for b in of_bias]
        return i + 1, losses, of_hidden, of_weight, *of_bias

    state = [tf.constant(0), tf.zeros_like(labels, dtype)]
    if gradients:
        state += [tf.zeros_like(hidden), tf.zeros_like(weight, dtype)]
        state += [] if bias is None else [tf.zeros_like(bias, dtype)]
    _, losses, *found = tf.while_loop(
        lambda i, *_: i * chunk < count, body, state, parallel_iterations=1
    )
    return losses, [
        tf.cast(g, x.dtype) for g, x in zip(found, (hidden, weight, bias), strict=False)
    ]


@cache
def _graph(settings: Settings, gradients: bool, with_bias: bool) -> Any:
    """Make the loop a graph, for eager mode: there it runs without a step of Python."""

    def run(hidden: Any, weight: Any, *rest: Any) -> Any:
        bias, others = (rest[0], rest[1:]) if with_bias else (None, rest)
        return _loop(settings, gradients, hidden, weight, bias, *others)

    return tf.function(run, autograph=False, reduce_retracing=True)


def _run(
    hidden: Any, weight: Any, bias: Any, *rest: Any, settings: Settings, gradients: bool
) -> tuple[Any, list[Any]]:
    given = (hidden, weight, *([] if bias is None else [bias]), *rest)
    losses, found = _graph(settings, gradients, bias is not None)(*given)
    return losses, found


def _gradient_of(compute: Any, hidden: Any, weight: Any, bias: Any) -> Any:
    """Call `compute(hidden, weight, bias)`, which gives a value and how to go back."""
    if bias is None:
        return tf.custom_gradient(lambda h, w: compute(h, w, None))(hidden, weight)
    return tf.custom_gradient(compute)(hidden, weight, bias)


def weighted_sum(
    hidden: Any,
    weight: Any,
    bias: Any,
    labels: Any,
    kept: Any,
    scale: Any,
    transposed: bool,
    smoothing: float,
    chunk: int,
) -> Any:
    """Give `sum(scale * losses)`; see `headsmith.keras.linear_losses`."""
    settings = (transposed, smoothing, chunk)
    # Without a tape there may still be a gradient, asked for later of the finished graph.
    at_once = could_possibly_record()

    def compute(hidden: Any, weight: Any, bias: Any) -> Any:
        data = (hidden, weight, bias, labels, kept)
        losses, found = _run(*data, scale, settings=settings, gradients=at_once)

        def backward(upstream: Any) -> Any:
            made = found
            if not at_once:
                _, made = _run(*data, scale, settings=settings, gradients=True)
            return [g * tf.cast(upstream, g.dtype) for g in made]

        return tf.reduce_sum(losses * scale), backward

    return _gradient_of(compute, hidden, weight, bias)


def row_losses(
    hidden: Any,
    weight: Any,
    bias: Any,
    labels: Any,
    kept: Any,
    transposed: bool,
    smoothing: float,
    chunk: int,
) -> Any:
    """Give the loss of each row, 0 where it does not count."""
    settings = (transposed, smoothing, chunk)
    dtype = tf.float64 if hidden.dtype == tf.float64 else tf.float32

    def compute(hidden: Any, weight: Any, bias: Any) -> Any:
        data = (hidden, weight, bias, labels, kept)
        ones = tf.ones_like(labels, dtype)
        losses, _ = _run(*data, ones, settings=settings, gradients=False)

        def backward(upstream: Any) -> Any:
            upstream = tf.convert_to_tensor(upstream)
            return _run(*data, upstream, settings=settings, gradients=True)[1]

        return losses, backward

    return _gradient_of(compute, hidden, weight, bias)
