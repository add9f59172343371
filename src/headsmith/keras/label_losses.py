"""From logits and labels to one loss per label: what all sparse losses have in common.

Labels are checked here, ignored ones set aside, and 16-bit logits taken to float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from headsmith.keras.cross_entropy import cross_entropy_rows, cross_entropy_sum
from headsmith.keras.eager import may_read_values, values

__all__ = [
    "IGNORED",
    "as_integers",
    "at_least_one",
    "check_range",
    "compute_dtype",
    "count_of",
    "label_losses",
    "library_of",
    "read_shape",
    "summed_label_losses",
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


def as_integers(labels: Any, *, strict: bool = True) -> Any:
    """Make int32 of labels: a NumPy array where their values can be read, else a tensor.

    Looking after labels takes a dozen steps, each of them slow in eager mode on a framework.
    Keras hands labels over as float32.

    Args:
        labels: Numbers that are whole, of any dtype.
        strict: Whether numbers beyond int32 are refused; else they become -100.

    Raises:
        ValueError: A number that is not whole, or beyond int32, where values can be read.

    Example:
        >>> as_integers([1.0, -100.0]).tolist()
        [1, -100]
    """
    if not isinstance(labels, np.ndarray):
        labels = ops.convert_to_tensor(labels)
        if not may_read_values(labels):
            return ops.cast(labels, "int32")
        labels = values(labels)
    if np.can_cast(labels.dtype, "int32"):
        return labels.astype("int32", copy=False)
    with np.errstate(invalid="ignore"):
        whole = labels.astype("int32")
    changed = whole != labels
    if not changed.any():
        return whole
    if not strict:
        beyond = (labels >= 2**31) | (labels < -(2**31))
        whole, changed = np.where(beyond, IGNORED, whole).astype("int32"), changed & ~beyond
    wrong = labels[changed]
    if wrong.size:
        raise ValueError(
            f"Expected whole numbers from {-(2**31)} to {2**31 - 1} as labels. "
            f"Received: {wrong.flat[0]}, one of {wrong.size} others."
        )
    return whole


def library_of(labels: Any) -> Any:
    """Give what computes with labels: NumPy or `keras.ops`, whose names are the same.

    Example:
        >>> library_of(as_integers([1])).__name__
        'numpy'
    """
    return np if isinstance(labels, np.ndarray) else ops


class _Checked(NamedTuple):
    """Logits and labels, ready for the arithmetic.

    Attributes:
        logits: float32 or float64 (..., classes).
        target: Labels (...), a class also where one does not count.
        kept: Bools (...): the labels that count.
        counts: `kept`; None if it is known that all count.
        wrong: Bools (...): the labels out of range; None if it is known that none is.

    Labels and bools are NumPy arrays where their values can be read.
    """

    logits: Any
    target: Any
    kept: Any
    counts: Any
    wrong: Any


def _check(logits: Any, labels: Any, ignore_index: int | None, strict: bool = True) -> _Checked:
    logits = ops.convert_to_tensor(logits)
    labels = as_integers(labels, strict=strict)
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
    own, dtype = keras.backend.standardize_dtype(logits.dtype), compute_dtype(logits)
    rows = logits if own == dtype else ops.cast(logits, dtype)
    classes = shape[-1] if shape[-1] is not None else ops.shape(logits)[-1]
    if xp is np and not isinstance(classes, int):  # NumPy cannot compare with a graph's number
        labels, xp = ops.convert_to_tensor(labels), ops
    if not strict:
        target = xp.clip(labels, 0, classes - 1)
        kept = xp.equal(target, labels)
        every = xp is np and bool(np.all(kept))
        return _Checked(rows, target, kept, None if every else kept, None)
    everything = ignore_index is None
    kept = xp.ones_like(labels, dtype="bool") if everything else labels != ignore_index
    if xp is np:
        check_range(labels, classes, ignore_index)
        if kept.all():
            return _Checked(rows, labels, kept, None, None)
        return _Checked(rows, np.where(kept, labels, 0).astype("int32"), kept, kept, None)
    target = xp.clip(labels, 0, classes - 1)
    wrong = xp.logical_and(kept, xp.not_equal(target, labels))
    return _Checked(rows, target, kept, kept, wrong)


def label_losses(
    logits: Any,
    labels: Any,
    *,
    ignore_index: int | None = IGNORED,
    label_smoothing: float = 0.0,
    strict: bool = True,
) -> tuple[Any, Any]:
    """Give the cross-entropy of each label, and which labels count.

    Args:
        logits: Floating tensor (..., classes).
        labels: Tensor (...), or (..., 1).
        ignore_index: The label that takes no part; None for no such label.
        label_smoothing: In [0, 1].
        strict: Whether a label out of range is wrong. With False it is ignored, and nothing else
            is, whatever `ignore_index` says.

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
    checked = _check(logits, labels, ignore_index, strict)
    losses = cross_entropy_rows(
        checked.logits, checked.target, checked.counts, label_smoothing=label_smoothing
    )
    if checked.wrong is not None:
        losses = ops.where(checked.wrong, float("nan"), losses)
    return losses, checked.kept


def summed_label_losses(
    logits: Any,
    labels: Any,
    *,
    ignore_index: int | None = IGNORED,
    label_smoothing: float = 0.0,
    mean: bool = True,
    num_items_in_batch: Any = None,
    strict: bool = True,
) -> Any:
    """Give the mean or the sum of `label_losses`: in eager TensorFlow in fewer steps.

    Args:
        logits: As in `label_losses`.
        labels: As in `label_losses`.
        ignore_index: As in `label_losses`.
        label_smoothing: In [0, 1].
        mean: Whether to divide by the number of labels that count; 0 if there are none.
        num_items_in_batch: Divides in place of that number.
        strict: As in `label_losses`.

    Returns:
        Scalar, float32 or float64. Where values cannot be read, a label out of range makes it NaN.

    Raises:
        ValueError: As `label_losses`.

    Example:
        >>> import numpy as np
        >>> loss = summed_label_losses(np.zeros((1, 2, 4), "float32"), [[1, -100]])
        >>> f"{float(loss):.4f}"
        '1.3863'
    """
    checked = _check(logits, labels, ignore_index, strict)
    divisor: Any = 1
    if mean:
        divisor = num_items_in_batch
        if divisor is None:
            divisor = at_least_one(count_of(checked.kept))
    total = cross_entropy_sum(
        checked.logits, checked.target, checked.counts, divisor, label_smoothing=label_smoothing
    )
    if checked.wrong is None:
        return total
    return ops.where(ops.any(checked.wrong), float("nan"), total)


def count_of(kept: Any) -> Any:
    """Count the labels that count: an int of a NumPy array, else a tensor.

    Example:
        >>> import numpy as np
        >>> count_of(np.array([True, False]))
        1
    """
    if isinstance(kept, np.ndarray):
        return int(kept.sum())
    return ops.sum(ops.cast(kept, "int32"))


def at_least_one(count: Any) -> Any:
    """Take 0 as 1: a sum over no labels is 0 and is not to become NaN.

    Example:
        >>> at_least_one(0)
        1
    """
    return max(count, 1) if isinstance(count, int) else ops.maximum(count, 1)


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
