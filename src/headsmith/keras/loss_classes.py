"""The six losses for `model.compile(loss=...)`: labels and weights as Keras hands them over.

Reductions, sample weights and masks are Keras's own. Labels of -100 are left out of the mean, as
`keras.losses.SparseCategoricalCrossentropy(ignore_class=-100)` does, and so are positions that a
Keras mask hides (`Masking`, `Embedding(mask_zero=True)`): what the logits hold there reaches
neither loss nor gradient.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops, tree

from headsmith.keras.keras_mask import get_keras_mask, set_keras_mask
from headsmith.keras.label_losses import IGNORED, label_losses, read_shape
from headsmith.keras.loss_functions import (
    ProblemType,
    cell_losses,
    shift_left,
)
from headsmith.spec.losses import check_label_smoothing
from headsmith.spec.masks import FILL

__all__ = [
    "CausalLanguageModelingLoss",
    "MaskedLanguageModelingLoss",
    "MultipleChoiceLoss",
    "QuestionAnsweringLoss",
    "SequenceClassificationLoss",
    "TokenClassificationLoss",
]


class _Loss(keras.losses.Loss):  # type: ignore[misc]
    """What the six have in common: settings that are saved, and a dtype that holds labels."""

    def __init__(
        self,
        *,
        ignore_index: int = IGNORED,
        label_smoothing: float = 0.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        check_label_smoothing(label_smoothing)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    @property
    def dtype(self) -> str:
        """The dtype of the loss: float32, or float64.

        Keras takes labels to this dtype, and 16 bits hold no label above a few thousand.
        """
        return "float64" if self._dtype == "float64" else "float32"

    def get_config(self) -> dict[str, Any]:
        """Give the settings, to make the loss again from.

        Example:
            >>> MultipleChoiceLoss(name="choice").get_config()["name"]
            'choice'
        """
        return {
            **super().get_config(),
            "ignore_index": self.ignore_index,
            "label_smoothing": self.label_smoothing,
            "dtype": self.dtype,
        }

    def _sparse(self, y_true: Any, y_pred: Any) -> Any:
        losses, kept = label_losses(
            y_pred,
            y_true,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )
        return _masked(losses, kept)


class _TokenLoss(_Loss):
    """A loss per token: a mask or weights of the tokens, or weights of whole examples."""

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Give the loss, reduced.

        Args:
            y_true: Labels (batch, seq), or (batch, seq, 1).
            y_pred: Logits (batch, seq, classes).
            sample_weight: (batch, seq), or (batch,), the same for all tokens of an example.

        Returns:
            Scalar, or (batch, seq) without a reduction.
        """
        y_true = ops.convert_to_tensor(y_true, dtype=self.dtype)
        shape = read_shape(y_pred)
        if len(read_shape(y_true)) == len(shape) and read_shape(y_true)[-1] == 1:
            y_true = ops.squeeze(y_true, -1)
        mask = get_keras_mask(y_pred)
        if mask is not None and len(read_shape(mask)) == len(read_shape(y_true)):
            # What is hidden has no label: then no NaN there gets through.
            y_true = ops.where(ops.cast(mask, "bool"), y_true, float(self.ignore_index))
        if sample_weight is not None:
            sample_weight = ops.convert_to_tensor(sample_weight, dtype=self.dtype)
            if len(read_shape(sample_weight)) == 1 and len(read_shape(y_true)) == 2:
                sample_weight = ops.expand_dims(sample_weight, -1) * ops.ones_like(y_true)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Give the loss of each token, 0 where the label is ignored."""
        return self._sparse(y_true, y_pred)


@keras.saving.register_keras_serializable("headsmith")
class MaskedLanguageModelingLoss(_TokenLoss):
    """The loss of predicting masked-out tokens.

    Args:
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1]; the share of the target spread over all classes.
        reduction: Keras's: "sum_over_batch_size" (default; the mean over the labels that
            count), "sum", "mean", "mean_with_sample_weight", or None.
        name: Name of the loss. Default: made from the class name.
        dtype: float32 or float64; 16-bit dtypes are taken as float32. Default: Keras's floatx.

    Call arguments: labels (batch, seq), logits (batch, seq, vocab), and weights (batch, seq) or
    (batch,).

    Example:
        >>> import numpy as np
        >>> loss = MaskedLanguageModelingLoss()
        >>> f"{float(loss(np.array([[1, -100]]), np.zeros((1, 2, 4), 'float32'))):.4f}"
        '1.3863'
    """


@keras.saving.register_keras_serializable("headsmith")
class TokenClassificationLoss(_TokenLoss):
    """The loss of a label for each token.

    Args:
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1]; the share of the target spread over all classes.
        reduction: As in `MaskedLanguageModelingLoss`.
        name: Name of the loss. Default: made from the class name.
        dtype: float32 or float64; 16-bit dtypes are taken as float32. Default: Keras's floatx.

    Call arguments: labels (batch, seq), logits (batch, seq, labels), and weights (batch, seq) or
    (batch,).

    Example:
        >>> import numpy as np
        >>> loss = TokenClassificationLoss()
        >>> f"{float(loss(np.array([[1, -100]]), np.zeros((1, 2, 2), 'float32'))):.4f}"
        '0.6931'
    """


@keras.saving.register_keras_serializable("headsmith")
class CausalLanguageModelingLoss(_TokenLoss):
    """The loss of predicting the next token.

    Args:
        shift: Whether labels are the tokens themselves, to be shifted here. Default: False,
            labels are shifted already, as 4.34's mixin and Keras's data pipelines have it.
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1]; the share of the target spread over all classes.
        reduction: As in `MaskedLanguageModelingLoss`.
        name: Name of the loss. Default: made from the class name.
        dtype: float32 or float64; 16-bit dtypes are taken as float32. Default: Keras's floatx.

    Call arguments: labels (batch, seq), logits (batch, seq, vocab), and weights (batch, seq) or
    (batch,). With `shift`, weights and a Keras mask are shifted with the labels: they tell of
    the token that is to be predicted.

    Example:
        >>> import numpy as np
        >>> loss = CausalLanguageModelingLoss(shift=True)
        >>> f"{float(loss(np.array([[1, 2]]), np.zeros((1, 2, 4), 'float32'))):.4f}"
        '1.3863'
    """

    def __init__(
        self,
        *,
        shift: bool = False,
        ignore_index: int = IGNORED,
        label_smoothing: float = 0.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )
        self.shift = shift

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Give the loss, reduced.

        Args:
            y_true: Labels (batch, seq).
            y_pred: Logits (batch, seq, vocab).
            sample_weight: (batch, seq) or (batch,).

        Returns:
            Scalar, or (batch, seq) without a reduction.
        """
        if self.shift:
            y_true = ops.convert_to_tensor(y_true, dtype=self.dtype)
            mask = get_keras_mask(y_pred)
            if mask is not None:
                y_true = ops.where(ops.cast(mask, "bool"), y_true, float(self.ignore_index))
            y_true = shift_left(y_true, self.ignore_index)
            if sample_weight is not None:
                sample_weight = ops.convert_to_tensor(sample_weight, dtype=self.dtype)
                if len(read_shape(sample_weight)) == 2:
                    sample_weight = ops.concatenate(
                        [sample_weight[:, 1:], ops.zeros_like(sample_weight[:, :1])], axis=1
                    )
        return super().__call__(y_true, y_pred, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Give the settings, to make the loss again from.

        Example:
            >>> CausalLanguageModelingLoss(shift=True).get_config()["shift"]
            True
        """
        return {**super().get_config(), "shift": self.shift}


@keras.saving.register_keras_serializable("headsmith")
class MultipleChoiceLoss(_Loss):
    """The loss of choosing one of several.

    Args:
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1]; the share of the target spread over all choices.
        reduction: As in `MaskedLanguageModelingLoss`.
        name: Name of the loss. Default: made from the class name.
        dtype: float32 or float64; 16-bit dtypes are taken as float32. Default: Keras's floatx.

    Call arguments: labels (batch,) or (batch, 1), logits (batch, choices), weights (batch,).

    Example:
        >>> import numpy as np
        >>> loss = MultipleChoiceLoss()
        >>> f"{float(loss(np.array([0, 3]), np.zeros((2, 4), 'float32'))):.4f}"
        '1.3863'
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Give the loss of each example, 0 where the label is ignored."""
        return self._sparse(y_true, y_pred)


@keras.saving.register_keras_serializable("headsmith")
class SequenceClassificationLoss(_Loss):
    """The loss of labels of whole sequences.

    Args:
        problem_type: "single_label_classification", "multi_label_classification" or
            "regression". None reads it off the shapes: a regression if there is one column of
            logits, multi-label if the labels have the shape of the logits, else single-label.
        ignore_index: The label that takes no part, also in a cell of a multi-label matrix.
            Default: -100. In a regression every number is a target.
        label_smoothing: In [0, 1], for single-label problems.
        reduction: As in `MaskedLanguageModelingLoss`.
        name: Name of the loss. Default: made from the class name.
        dtype: float32 or float64; 16-bit dtypes are taken as float32. Default: Keras's floatx.

    Call arguments: labels (batch,), (batch, 1) or (batch, labels), logits (batch, labels),
    weights (batch,). Cells of one example are averaged before examples are.

    Example:
        >>> import numpy as np
        >>> loss = SequenceClassificationLoss()
        >>> float(loss(np.array([1.0, 1.0]), np.array([[1.0], [3.0]])))
        2.0
    """

    def __init__(
        self,
        *,
        problem_type: ProblemType | None = None,
        ignore_index: int = IGNORED,
        label_smoothing: float = 0.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )
        kinds = ("regression", "single_label_classification", "multi_label_classification")
        if problem_type not in (None, *kinds):
            raise ValueError(
                f"Expected `problem_type` to be None or one of {kinds}. Received: {problem_type!r}."
            )
        if label_smoothing and problem_type in ("regression", "multi_label_classification"):
            raise ValueError(
                "Expected `label_smoothing` only with single-label problems. Received: "
                f"{label_smoothing} with {problem_type!r}."
            )
        self.problem_type = problem_type

    def get_config(self) -> dict[str, Any]:
        """Give the settings, to make the loss again from.

        Example:
            >>> SequenceClassificationLoss(problem_type="regression").get_config()["problem_type"]
            'regression'
        """
        return {**super().get_config(), "problem_type": self.problem_type}

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Give the loss of each example."""
        kind = self.problem_type
        if kind is None:
            shape, given = read_shape(y_pred), read_shape(y_true)
            alike = len(given) == len(shape) and given[-1] != 1
            kind = "multi_label_classification" if alike else "single_label_classification"
            if shape[-1] == 1:
                kind = "regression"
        if kind == "single_label_classification":
            return self._sparse(y_true, y_pred)
        losses, kept = cell_losses(y_pred, y_true, kind, self.ignore_index)
        count = ops.sum(ops.cast(kept, losses.dtype), axis=-1)
        losses = ops.sum(losses, axis=-1) / ops.maximum(count, 1)
        if kind == "multi_label_classification":
            return _masked(losses, count > 0)
        return losses


@keras.saving.register_keras_serializable("headsmith")
class QuestionAnsweringLoss(_Loss):
    """The loss of where an answer starts and ends: the mean of two cross-entropies.

    Args:
        label_smoothing: In [0, 1]; the share of the target spread over all positions.
        reduction: As in `MaskedLanguageModelingLoss`.
        name: Name of the loss. Default: made from the class name.
        dtype: float32 or float64; 16-bit dtypes are taken as float32. Default: Keras's floatx.

    Call arguments, one of:

    - a pair, or a dict with `start_position` and `end_position`, of positions (batch,) or
      (batch, 1); and a pair, or a dict, of logits (batch, seq), starts first;
    - positions (batch, 2) and logits (batch, seq, 2);
    - positions (batch,) and logits (batch, seq): one of the two. Keras calls the loss so for
      each output of a model with two, and adds up. The result is *half* of the cross-entropy,
      so that the sum is the mean.

    Weights are (batch,). A position outside the window is ignored; an example without any
    position is left out of the mean. A Keras mask on the logits hides positions that can be no
    answer.

    Example:
        >>> import numpy as np
        >>> loss, logits = QuestionAnsweringLoss(), np.zeros((1, 4), "float32")
        >>> f"{float(loss((np.array([1]), np.array([2])), (logits, logits))):.4f}"
        '1.3863'
    """

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            label_smoothing=label_smoothing, reduction=reduction, name=name, dtype=dtype
        )

    def get_config(self) -> dict[str, Any]:
        """Give the settings, to make the loss again from.

        Example:
            >>> "ignore_index" in QuestionAnsweringLoss().get_config()
            False
        """
        config = super().get_config()
        del config["ignore_index"]
        return config

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Give the loss, reduced.

        Args:
            y_true: Positions, see the class.
            y_pred: Logits, see the class.
            sample_weight: (batch,).

        Returns:
            Scalar, or (batch,) without a reduction.
        """
        return super().__call__(y_true, tree.map_structure(self._hidden, y_pred), sample_weight)

    def _hidden(self, logits: Any) -> Any:
        """Fill what a Keras mask hides; the result has no mask, which counts examples below."""
        mask = get_keras_mask(logits)
        logits = ops.convert_to_tensor(logits, dtype=self.dtype)
        if mask is None:
            return logits
        mask = ops.cast(mask, "bool")
        if len(read_shape(mask)) < len(read_shape(logits)):
            mask = ops.expand_dims(mask, -1)
        return ops.where(mask, logits, FILL)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Give the loss of each example."""
        labels, logits = _pair(y_true, "start_position", "end_position"), _pair(y_pred)
        if logits is None and len(read_shape(y_pred)) == 3:
            logits = (y_pred[..., 0], y_pred[..., 1])
            labels = (y_true[..., 0], y_true[..., 1]) if labels is None else labels
        if logits is None and labels is None:
            losses, kept = self._one(y_true, y_pred)
            return _masked(losses / 2, kept)
        if logits is None or labels is None:
            raise ValueError(
                "Expected positions and logits both in pairs, or neither. Received: "
                f"{tree.map_structure(read_shape, y_true)} and "
                f"{tree.map_structure(read_shape, y_pred)}."
            )
        start, end = (self._one(y, x) for y, x in zip(labels, logits, strict=True))
        return _masked((start[0] + end[0]) / 2, ops.logical_or(start[1], end[1]))

    def _one(self, positions: Any, logits: Any) -> tuple[Any, Any]:
        return label_losses(logits, positions, label_smoothing=self.label_smoothing, strict=False)


def _masked(losses: Any, kept: Any) -> Any:
    """Tell Keras which losses are to be left out of the mean."""
    set_keras_mask(losses, ops.convert_to_tensor(kept))
    return losses


def _pair(nest: Any, *keys: str) -> tuple[Any, Any] | None:
    """Take a pair out of a list, a tuple or a dict; None for a single tensor."""
    if isinstance(nest, dict):
        members = [nest[key] for key in keys] if keys and set(keys) <= set(nest) else nest.values()
        nest = list(members)
    if isinstance(nest, (list, tuple)):
        if len(nest) != 2:
            raise ValueError(f"Expected a pair, starts and ends. Received: {len(nest)} members.")
        return nest[0], nest[1]
    return None
