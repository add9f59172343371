"""The six losses of task heads, as functions on any Keras backend.

| Function | Logits | Labels |
|---|---|---|
| `causal_language_modeling_loss` | (batch, seq, vocab) | (batch, seq), shifted here |
| `masked_language_modeling_loss` | (batch, seq, vocab) | (batch, seq) |
| `token_classification_loss` | (batch, seq, labels) | (batch, seq) |
| `sequence_classification_loss` | (batch, labels) | (batch,) or (batch, labels) |
| `multiple_choice_loss` | (batch, choices) | (batch,) |
| `question_answering_loss` | twice (batch, seq) | twice (batch,) |

Arguments and values are those of `headsmith.torch.losses`. Common to all: labels of -100 are
ignored, whatever the logits there hold; if nothing is left the loss is 0 and not NaN; 16-bit
logits are computed in float32, and the loss is float32 (float64 for float64). All of it compiles
with `tf.function(jit_compile=True)` and `jax.jit`. A label out of range is an error where its
value can be read, and gives NaN in a compiled graph.

For `model.compile` see `headsmith.keras.loss_classes`, for 4.34's mixins
`headsmith.keras.loss_mixins`, for losses that never build the logits
`headsmith.keras.linear_losses`.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from headsmith.keras.label_losses import (
    IGNORED,
    as_integers,
    at_least_one,
    compute_dtype,
    count_of,
    label_losses,
    read_shape,
    summed_label_losses,
)
from headsmith.spec.losses import ProblemType, Reduction, check_label_smoothing, check_reduction

__all__ = [
    "ProblemType",
    "Reduction",
    "causal_language_modeling_loss",
    "cell_losses",
    "masked_language_modeling_loss",
    "multiple_choice_loss",
    "problem_type_of",
    "question_answering_loss",
    "sequence_classification_loss",
    "shift_left",
    "token_classification_loss",
]


def shift_left(labels: Any, ignore_index: int = IGNORED) -> Any:
    """Move labels one place to the left, so that each token predicts the next.

    Args:
        labels: Integer tensor (..., seq).
        ignore_index: What the last place is filled with.

    Returns:
        int32 (..., seq).

    Example:
        >>> from headsmith.keras.eager import values
        >>> values(shift_left([[5, 6, 7]])).tolist()
        [[6, 7, -100]]
    """
    labels = as_integers(labels)
    return ops.concatenate([labels[..., 1:], ops.full_like(labels[..., :1], ignore_index)], axis=-1)


def _reduced(losses: Any, kept: Any, reduction: Reduction, num_items_in_batch: Any) -> Any:
    if reduction == "none":
        return losses
    total = ops.sum(losses)
    if reduction == "sum":
        return total
    if num_items_in_batch is None:
        num_items_in_batch = at_least_one(count_of(kept))
    return total / ops.cast(num_items_in_batch, total.dtype)


def _cross_entropy(
    logits: Any,
    labels: Any,
    *,
    ignore_index: int,
    label_smoothing: float,
    reduction: Reduction,
    num_items_in_batch: Any,
    strict: bool = True,
) -> Any:
    check_reduction(reduction, num_items_in_batch)
    check_label_smoothing(label_smoothing)
    if reduction == "none":
        losses, _ = label_losses(
            logits,
            labels,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            strict=strict,
        )
        return losses
    return summed_label_losses(
        logits,
        labels,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        mean=reduction == "mean",
        num_items_in_batch=num_items_in_batch,
        strict=strict,
    )


def causal_language_modeling_loss(
    logits: Any,
    labels: Any = None,
    *,
    shift_labels: Any = None,
    num_items_in_batch: Any = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Any:
    """Score each token's prediction of the next one.

    4.34 left the shift to the model and gave the value in shape (1,). Mended: all labels ignored
    gives 0, where 4.34 gave NaN; what the logits hold at ignored places reaches neither loss
    nor gradient.

    Args:
        logits: Floating tensor (batch, seq, vocab), or any leading dimensions.
        labels: Integer tensor (batch, seq): the tokens themselves, shifted here.
        shift_labels: Labels that are shifted already; win over `labels`.
        num_items_in_batch: Divides the sum in place of the number of labels that count.
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1]; the share of the target spread over all classes.
        reduction: "mean" (default), "sum", or "none".

    Returns:
        Scalar, or (batch, seq) with "none": at t the loss of predicting t + 1, 0 at the last
        place and wherever the label is ignored. float32, or float64 for float64.

    Raises:
        ValueError: No labels, shapes that do not fit, an unknown reduction, or, in eager mode,
            a label out of range.

    Example:
        >>> import numpy as np
        >>> loss = causal_language_modeling_loss(np.zeros((1, 3, 4), "float32"), [[0, 1, 2]])
        >>> f"{float(loss):.4f}"
        '1.3863'
    """
    if shift_labels is None:
        if labels is None:
            raise ValueError("Expected `labels` or `shift_labels`. Received: neither.")
        shift_labels = shift_left(labels, ignore_index)
    return _cross_entropy(
        logits,
        shift_labels,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
        num_items_in_batch=num_items_in_batch,
    )


def masked_language_modeling_loss(
    logits: Any,
    labels: Any,
    *,
    num_items_in_batch: Any = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Any:
    """Score the prediction of masked-out tokens.

    Mended as in `causal_language_modeling_loss`.

    Args:
        logits: Floating tensor (batch, seq, vocab), or any leading dimensions.
        labels: Integer tensor (batch, seq); -100 where the token was not masked out.
        num_items_in_batch: Divides the sum in place of the number of labels that count.
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1].
        reduction: "mean" (default), "sum", or "none".

    Returns:
        Scalar, or (batch, seq) with "none". float32, or float64 for float64.

    Raises:
        ValueError: Shapes that do not fit, an unknown reduction, or, in eager mode, a label out
            of range.

    Example:
        >>> import numpy as np
        >>> loss = masked_language_modeling_loss(np.zeros((1, 2, 4), "float32"), [[-100, -100]])
        >>> float(loss)
        0.0
    """
    return _cross_entropy(
        logits,
        labels,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
        num_items_in_batch=num_items_in_batch,
    )


def token_classification_loss(
    logits: Any,
    labels: Any,
    *,
    num_items_in_batch: Any = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Any:
    """Score a label for each token.

    Mended as in `causal_language_modeling_loss`. 4.34 ignored every negative label; its mixin
    still does, here only `ignore_index` is.

    Args:
        logits: Floating tensor (batch, seq, labels), or any leading dimensions.
        labels: Integer tensor (batch, seq); -100 where there is none, as for padding.
        num_items_in_batch: Divides the sum in place of the number of labels that count.
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1].
        reduction: "mean" (default), "sum", or "none".

    Returns:
        Scalar, or (batch, seq) with "none". float32, or float64 for float64.

    Raises:
        ValueError: Shapes that do not fit, an unknown reduction, or, in eager mode, a label out
            of range.

    Example:
        >>> import numpy as np
        >>> loss = token_classification_loss(np.zeros((1, 2, 2), "float32"), [[1, -100]])
        >>> f"{float(loss):.4f}"
        '0.6931'
    """
    return _cross_entropy(
        logits,
        labels,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
        num_items_in_batch=num_items_in_batch,
    )


def multiple_choice_loss(
    logits: Any,
    labels: Any,
    *,
    num_items_in_batch: Any = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Any:
    """Score which of several choices is right.

    Mended: a label of -100 is ignored, where 4.34 raised, or gave NaN when compiled.

    Args:
        logits: Floating tensor (batch, choices).
        labels: Integer tensor (batch,) or (batch, 1).
        num_items_in_batch: Divides the sum in place of the number of labels that count.
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1].
        reduction: "mean" (default), "sum", or "none".

    Returns:
        Scalar, or (batch,) with "none". float32, or float64 for float64.

    Raises:
        ValueError: Shapes that do not fit, an unknown reduction, or, in eager mode, a label out
            of range.

    Example:
        >>> import numpy as np
        >>> f"{float(multiple_choice_loss(np.zeros((2, 4), 'float32'), [0, 3])):.4f}"
        '1.3863'
    """
    return _cross_entropy(
        logits,
        labels,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
        num_items_in_batch=num_items_in_batch,
    )


def question_answering_loss(
    start_logits: Any,
    end_logits: Any,
    start_positions: Any,
    end_positions: Any,
    *,
    num_items_in_batch: Any = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Any:
    """Score where an answer starts and ends: the mean of two cross-entropies.

    Mended: a position outside the window, negative or beyond its end, is ignored, where 4.34
    raised, or gave NaN when compiled.

    Args:
        start_logits: Floating tensor (batch, seq).
        end_logits: Floating tensor (batch, seq).
        start_positions: Integer tensor (batch,) or (batch, 1). Outside [0, seq) = ignored.
        end_positions: The same for the ends.
        num_items_in_batch: Divides both sums in place of the numbers of positions that count.
        label_smoothing: In [0, 1].
        reduction: "mean" (default), "sum", or "none".

    Returns:
        Scalar, or (batch,) with "none". float32, or float64 for float64.

    Raises:
        ValueError: Shapes that do not fit, or an unknown reduction.

    Example:
        >>> import numpy as np
        >>> logits = np.zeros((2, 8), "float32")
        >>> f"{float(question_answering_loss(logits, logits, [3, -100], [5, 512])):.4f}"
        '2.0794'
    """
    start, end = (
        _cross_entropy(
            logits,
            positions,
            ignore_index=IGNORED,
            label_smoothing=label_smoothing,
            reduction=reduction,
            num_items_in_batch=num_items_in_batch,
            strict=False,
        )
        for logits, positions in ((start_logits, start_positions), (end_logits, end_positions))
    )
    return (start + end) * 0.5  # the gradient of a division takes twice the steps


def problem_type_of(logits: Any, labels: Any) -> ProblemType:
    """Read the problem type off the shapes.

    Returns:
        "regression" if `logits` has one column, "multi_label_classification" if the labels
        are floats in the shape of the logits, else "single_label_classification".

    Example:
        >>> import numpy as np
        >>> problem_type_of(np.zeros((2, 3)), np.array([0, 2]))
        'single_label_classification'
    """
    shape, given = read_shape(logits), read_shape(labels)
    if len(shape) == 1 or shape[-1] == 1:
        return "regression"
    floating = "float" in keras.backend.standardize_dtype(labels.dtype)
    if floating and len(given) == len(shape) and given[-1] != 1:
        return "multi_label_classification"
    return "single_label_classification"


def cell_losses(
    logits: Any, labels: Any, problem_type: ProblemType, ignore_index: int = IGNORED
) -> tuple[Any, Any]:
    """Give the loss of every cell of a regression or multi-label problem, and which count.

    Args:
        logits: Floating tensor (batch, labels).
        labels: Tensor (batch, labels), or (batch,) for a regression with one column.
        problem_type: "regression" or "multi_label_classification".
        ignore_index: The label of a multi-label cell that takes no part.

    Returns:
        Losses (batch, labels) in float32, or float64 for float64; and a bool tensor alike.

    Raises:
        ValueError: Shapes that do not fit, or another problem type.

    Example:
        >>> import numpy as np
        >>> losses, _ = cell_losses(np.array([[1.0], [3.0]]), np.array([1, 1]), "regression")
        >>> [float(loss) for loss in losses[:, 0]]
        [0.0, 4.0]
    """
    if problem_type not in ("regression", "multi_label_classification"):
        raise ValueError(
            'Expected `problem_type` to be "regression", "single_label_classification" or '
            f'"multi_label_classification". Received: {problem_type!r}.'
        )
    logits, labels = ops.convert_to_tensor(logits), ops.convert_to_tensor(labels)
    scores = ops.cast(logits, compute_dtype(logits))
    shape, given = read_shape(scores), read_shape(labels)
    if problem_type == "regression" and len(given) < len(shape) and shape[-1] == 1:
        labels = ops.expand_dims(labels, -1)
        given = read_shape(labels)
    if len(given) != len(shape) or not all(
        a is None or b is None or a == b for a, b in zip(shape, given, strict=True)
    ):
        raise ValueError(
            "Expected labels of the shape of the logits. "
            f"Received: logits of shape {shape}, labels of shape {given}."
        )
    target = ops.cast(labels, scores.dtype)
    if problem_type == "regression":
        return ops.square(scores - target), ops.ones_like(target, dtype="bool")
    kept = ops.not_equal(target, ignore_index)
    # Before the arithmetic, so that neither loss nor gradient sees what is ignored.
    scores, target = ops.where(kept, scores, 0.0), ops.where(kept, target, 0.0)
    losses = ops.maximum(scores, 0.0) - scores * target + ops.log1p(ops.exp(-ops.abs(scores)))
    return ops.where(kept, losses, 0.0), kept


def sequence_classification_loss(
    logits: Any,
    labels: Any,
    *,
    problem_type: ProblemType | None = None,
    num_items_in_batch: Any = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Any:
    """Score labels of whole sequences: one of several, several of several, or a number.

    4.34 knew regression (one column) and one of several. Mended: a label of -100 is ignored in
    classification, where 4.34 raised.

    Args:
        logits: Floating tensor (batch, labels).
        labels: One of several: integer tensor (batch,) or (batch, 1). Several of several:
            tensor (batch, labels), 0 to 1. A regression: tensor (batch,) or (batch, labels).
        problem_type: "single_label_classification" (cross-entropy),
            "multi_label_classification" (binary cross-entropy) or "regression" (mean squared
            error). None reads it off, see `problem_type_of`.
        num_items_in_batch: Divides the sum in place of the number of labels that count.
        ignore_index: The label that takes no part, also in a cell of a multi-label matrix.
            Default: -100. In a regression every number is a target, -100 too.
        label_smoothing: In [0, 1], for single-label problems.
        reduction: "mean" (default), "sum", or "none".

    Returns:
        Scalar; with "none" (batch,) for single-label problems and (batch, labels) otherwise.
        float32, or float64 for float64.

    Raises:
        ValueError: An unknown problem type or reduction, smoothing where there is nothing to
            smooth, shapes that do not fit, or, in eager mode, a label out of range.

    Example:
        >>> import numpy as np
        >>> float(sequence_classification_loss(np.array([[1.0], [3.0]]), np.array([1, 1])))
        2.0
    """
    check_reduction(reduction, num_items_in_batch)
    logits = ops.convert_to_tensor(logits)
    if not isinstance(labels, np.ndarray):  # JAX would cut int64 short
        labels = ops.convert_to_tensor(labels)
    problem_type = problem_type or problem_type_of(logits, labels)
    if problem_type == "single_label_classification":
        return _cross_entropy(
            logits,
            labels,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction=reduction,
            num_items_in_batch=num_items_in_batch,
        )
    if label_smoothing:
        raise ValueError(
            "Expected `label_smoothing` only with single-label problems. Received: "
            f"{label_smoothing} with {problem_type!r}."
        )
    losses, kept = cell_losses(logits, labels, problem_type, ignore_index)
    return _reduced(losses, kept, reduction, num_items_in_batch)
