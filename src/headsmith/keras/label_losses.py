"""From logits and labels to one loss per label: what all sparse losses have in common.

Labels are checked here, ignored ones set aside, and 16-bit logits taken to float32.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from headsmith.keras.cross_entropy import cross_entropy_rows
from headsmith.keras.eager import may_read_values, values

__all__ = ["IGNORED", "as_integers", "check_range", "compute_dtype", "label_losses", "read_shape"]

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
    """Make an int32 tensor of labels; Keras hands them over as float32.

    Example:
        >>> from keras import ops
        >>> ops.convert_to_numpy(as_integers([1.0, -100.0])).tolist()
        [1, -100]
    """
    return ops.cast(ops.convert_to_tensor(labels), "int32")


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
        Losses (...) in float32, or float64 for float64, 0 where ignored; and a bool tensor
        (...), True where the label counts. Where values cannot be read, a label that is out of
        range gives NaN.

    Raises:
        ValueError: Shapes that do not fit, or, in eager mode, a label out of range.

    Example:
        >>> import numpy as np
        >>> from keras import ops
        >>> losses, counts = label_losses(np.zeros((1, 2, 4), "float32"), [[1, -100]])
        >>> f"{float(losses[0, 0]):.4f}", float(losses[0, 1])
        ('1.3863', 0.0)
        >>> ops.convert_to_numpy(counts).tolist()
        [[True, False]]
    """
    logits = ops.convert_to_tensor(logits)
    labels = as_integers(labels)
    shape, given = read_shape(logits), read_shape(labels)
    if len(given) == len(shape) and given[-1] == 1:
        labels, given = ops.squeeze(labels, -1), given[:-1]
    if len(given) != len(shape) - 1 or not all(
        a is None or b is None or a == b for a, b in zip(shape, given, strict=False)
    ):
        raise ValueError(
            "Expected labels with the shape of the logits less their last dimension. "
            f"Received: logits of shape {shape}, labels of shape {given}."
        )
    classes = shape[-1] if shape[-1] is not None else ops.shape(logits)[-1]
    if isinstance(classes, int) and may_read_values(labels):
        check_range(labels, classes, ignore_index)
    everything = ignore_index is None
    kept = ops.ones_like(labels, dtype="bool") if everything else labels != ignore_index
    inside = ops.logical_and(labels >= 0, labels < classes)
    target = ops.where(ops.logical_and(kept, inside), labels, 0)
    rows = ops.cast(logits, compute_dtype(logits))
    if len(shape) == 2:
        losses = cross_entropy_rows(rows, target, kept, label_smoothing=label_smoothing)
    else:
        flat = (
            ops.reshape(rows, (-1, classes)),
            ops.reshape(target, (-1,)),
            ops.reshape(kept, (-1,)),
        )
        losses = cross_entropy_rows(*flat, label_smoothing=label_smoothing)
        losses = ops.reshape(losses, ops.shape(labels))
    if not may_read_values(labels):
        losses = ops.where(ops.logical_or(inside, ops.logical_not(kept)), losses, float("nan"))
    return losses, kept


def check_range(labels: Any, classes: int, ignore_index: int | None) -> None:
    """Refuse labels that are neither a class nor ignored; only where values can be read.

    Raises:
        ValueError: As said.

    Example:
        >>> from keras import ops
        >>> check_range(ops.convert_to_tensor([0, 3]), 4, None)
    """
    numbers = values(labels)
    wrong = numbers[(numbers < 0) | (numbers >= classes)]
    if ignore_index is not None:
        wrong = wrong[wrong != ignore_index]
    if wrong.size:
        ignored = "" if ignore_index is None else f", or {ignore_index} for those to be ignored"
        raise ValueError(
            f"Expected labels from 0 to {classes - 1}{ignored}. "
            f"Received: {int(wrong.flat[0])}, one of {wrong.size} out of range."
        )
