"""From logits and labels to one loss per label: what all sparse losses have in common.

Labels are checked here, ignored ones set aside, and 16-bit logits taken to float32.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from headsmith.keras.cross_entropy import cross_entropy_rows
from headsmith.keras.eager import may_read_values, values

__all__ = [
    "IGNORED",
    "as_integers",
    "check_range",
    "compute_dtype",
    "label_losses",
    "library_of",
    "read_shape",
]

IGNORED = -100
"""The label that takes no part."""


def compute_dtype(tensor: Any) -> str:
    """Name the dtype a loss of `tensor` is computed in: float32, or float64 for float64.

    Example:
        >>> from keras import ops
        >>> compute_dtype(ops.ones(1, "float16"))
        'float32'
    """
    return "float64" if keras.backend.standardize_dtype(tensor.dtype) == "float64" else "float32"


def read_shape(tensor: Any) -> tuple[int | None, ...]:
    """Give the static shape, None where a dimension is unknown.

    Example:
        >>> import keras
        >>> read_shape(keras.KerasTensor((None, 3)))
        (None, 3)
    """
    return tuple(tensor.shape)


def as_integers(labels: Any) -> Any:
    """Make int32 of labels: a NumPy array where their values can be read, else a tensor.

    Looking after labels takes a dozen steps, each of them slow in eager mode on a framework.
    Keras hands labels over as float32.

    Example:
        >>> as_integers([1.0, -100.0]).tolist()
        [1, -100]
    """
    if not isinstance(labels, np.ndarray):
        labels = ops.convert_to_tensor(labels)
        if not may_read_values(labels):
            return ops.cast(labels, "int32")
        labels = values(labels)
    return labels.astype("int32", copy=False)


def library_of(labels: Any) -> Any:
    """Give what computes with labels: NumPy or `keras.ops`, whose names are the same.

    Example:
        >>> library_of(as_integers([1])).__name__
        'numpy'
    """
    return np if isinstance(labels, np.ndarray) else ops


def label_losses(
    logits: Any, labels: Any, *, ignore_index: int | None = IGNORED, label_smoothing: float = 0.0
) -> tuple[Any, Any]:
    """Give the cross-entropy of each label, and which labels count.

    Args:
        logits: Floating tensor (..., classes).
        labels: Tensor (...), or (..., 1).
        ignore_index: The label that takes no part; None for no such label.
        label_smoothing: In [0, 1].

    Returns:
        Losses (...) in float32, or float64 for float64, 0 where ignored; and bools (...),
        True where the label counts, a NumPy array where values can be read. Where they cannot,
        a label out of range gives NaN.

    Raises:
        ValueError: Shapes that do not fit, or, in eager mode, a label out of range.

    Example:
        >>> import numpy as np
        >>> from keras import ops
        >>> losses, counts = label_losses(np.zeros((1, 2, 4), "float32"), [[1, -100]])
        >>> f"{float(losses[0, 0]):.4f}", float(losses[0, 1])
        ('1.3863', 0.0)
        >>> counts.tolist()
        [[True, False]]
    """
    logits = ops.convert_to_tensor(logits)
    labels = as_integers(labels)
    xp = library_of(labels)
    shape, given = read_shape(logits), read_shape(labels)
    if len(given) == len(shape) and given[-1] == 1:
        labels, given = xp.squeeze(labels, -1), given[:-1]
    if len(given) != len(shape) - 1 or not all(
        a is None or b is None or a == b for a, b in zip(shape, given, strict=False)
    ):
        raise ValueError(
            "Expected labels with the shape of the logits less their last dimension. "
            f"Received: logits of shape {shape}, labels of shape {given}."
        )
    classes = shape[-1] if shape[-1] is not None else ops.shape(logits)[-1]
    readable = xp is np and isinstance(classes, int)
    if readable:
        check_range(labels, classes, ignore_index)
    everything = ignore_index is None
    kept = xp.ones_like(labels, dtype="bool") if everything else labels != ignore_index
    wrong = None if readable else xp.logical_and(kept, (labels < 0) | (labels >= classes))
    used = kept if wrong is None else xp.logical_and(kept, xp.logical_not(wrong))
    target = xp.where(used, labels, xp.zeros_like(labels))
    rows = ops.cast(logits, compute_dtype(logits))
    counts = None if readable and kept.all() else ops.convert_to_tensor(kept)
    target = ops.convert_to_tensor(target)
    if len(shape) == 2:
        losses = cross_entropy_rows(rows, target, counts, label_smoothing=label_smoothing)
    else:
        losses = cross_entropy_rows(
            ops.reshape(rows, (-1, classes)),
            ops.reshape(target, (-1,)),
            None if counts is None else ops.reshape(counts, (-1,)),
            label_smoothing=label_smoothing,
        )
        losses = ops.reshape(losses, ops.shape(target))
    if wrong is not None:
        losses = ops.where(wrong, float("nan"), losses)
    return losses, kept


def check_range(labels: np.ndarray[Any, Any], classes: int, ignore_index: int | None) -> None:
    """Refuse labels that are neither a class nor ignored.

    Raises:
        ValueError: As said.

    Example:
        >>> import numpy as np
        >>> check_range(np.array([0, 3]), 4, None)
    """
    wrong = labels[(labels < 0) | (labels >= classes)]
    if ignore_index is not None:
        wrong = wrong[wrong != ignore_index]
    if wrong.size:
        ignored = "" if ignore_index is None else f", or {ignore_index} for those to be ignored"
        raise ValueError(
            f"Expected labels from 0 to {classes - 1}{ignored}. "
            f"Received: {int(wrong.flat[0])}, one of {wrong.size} out of range."
        )
