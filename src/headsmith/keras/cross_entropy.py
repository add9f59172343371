"""Sparse cross-entropy, row by row, in the fastest form of each Keras backend.

One contract for all: logits (..., classes), labels in range, and a mask of the rows that count.
Labels and mask may be NumPy arrays, which spares eager mode some steps. A row that does not count
gives a loss of 0 and a gradient of 0, whatever its logits hold: the plain gradient `softmax * 0`
would be NaN where a logit is infinite.

`keras.ops.sparse_categorical_crossentropy` makes one-hot targets on JAX and PyTorch and was
two to nine times slower there; it knows no such mask.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from headsmith.keras.eager import may_read_values

__all__ = ["cross_entropy_rows", "cross_entropy_sum"]


def cross_entropy_rows(logits: Any, labels: Any, kept: Any, *, label_smoothing: float = 0.0) -> Any:
    """Give the cross-entropy of each row.

    Args:
        logits: float32 or float64 tensor (..., classes).
        labels: Integer tensor (...), in [0, classes) everywhere, also where a row does not count.
        kept: Bool tensor (...): the rows that count; None for all.
        label_smoothing: In [0, 1]; the share of the target spread over all classes.

    Returns:
        Tensor (...) of the dtype of the logits; exactly 0, with gradient 0, where a row does not
        count.

    Example:
        >>> import numpy as np
        >>> from keras import ops
        >>> logits = ops.convert_to_tensor(np.array([[0.0, 0.0], [np.inf, 0.0]], "float32"))
        >>> labels = ops.convert_to_tensor(np.array([1, 0], "int32"))
        >>> rows = cross_entropy_rows(logits, labels, ops.equal(labels, 1))
        >>> f"{float(rows[0]):.4f}", float(rows[1])
        ('0.6931', 0.0)
    """
    symbolic = any(isinstance(x, keras.KerasTensor) for x in (logits, labels))
    if not symbolic and not label_smoothing:
        backend = keras.config.backend()
        if backend == "tensorflow":
            from headsmith.keras import cross_entropy_tensorflow

            return cross_entropy_tensorflow.rows(logits, labels, kept)
        if backend == "jax":
            from headsmith.keras import cross_entropy_jax

            return cross_entropy_jax.rows(logits, labels, kept)
        if backend == "torch":
            from headsmith.keras import cross_entropy_torch

            return cross_entropy_torch.rows(logits, labels, kept)
    return _portable(logits, labels, kept, label_smoothing)


def cross_entropy_sum(
    logits: Any, labels: Any, kept: Any, divisor: Any = 1, *, label_smoothing: float = 0.0
) -> Any:
    """Give the sum of `cross_entropy_rows`, divided by a number.

    Args:
        logits: As in `cross_entropy_rows`.
        labels: As in `cross_entropy_rows`.
        kept: As in `cross_entropy_rows`.
        divisor: A number, or a scalar tensor. Default: 1.
        label_smoothing: In [0, 1].

    Returns:
        Scalar of the dtype of the logits.

    Example:
        >>> import numpy as np
        >>> from keras import ops
        >>> f"{float(cross_entropy_sum(ops.zeros((2, 2)), np.array([0, 1], 'int32'), None, 2)):.4f}"
        '0.6931'
    """
    if (
        not label_smoothing
        and isinstance(labels, np.ndarray)
        and isinstance(divisor, int)
        and divisor > 0
        and keras.config.backend() == "tensorflow"
        and may_read_values(logits)
    ):
        from headsmith.keras import cross_entropy_tensorflow

        return cross_entropy_tensorflow.eager_sum(logits, labels, kept, divisor)
    losses = cross_entropy_rows(logits, labels, kept, label_smoothing=label_smoothing)
    total = ops.sum(losses)
    return total / (divisor if isinstance(divisor, int) else ops.cast(divisor, total.dtype))


def _portable(logits: Any, labels: Any, kept: Any, label_smoothing: float) -> Any:
    """Say it in keras.ops alone."""
    labels = ops.convert_to_tensor(labels)
    if kept is not None:
        logits = ops.where(ops.expand_dims(kept, -1), logits, 0.0)
    picked = ops.take_along_axis(logits, ops.expand_dims(labels, -1), axis=-1)
    target = ops.squeeze(picked, -1)
    if label_smoothing:
        # Not ops.mean, which is float32 inside for float64 on JAX and PyTorch.
        mean = ops.sum(logits, axis=-1) / ops.cast(ops.shape(logits)[-1], logits.dtype)
        target = (1.0 - label_smoothing) * target + label_smoothing * mean
    losses = ops.logsumexp(logits, axis=(-1,)) - target  # Keras 3.10 takes no number here
    return losses if kept is None else ops.where(kept, losses, 0.0)
