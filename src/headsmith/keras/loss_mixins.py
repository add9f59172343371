"""Transformers 4.34's loss mixins: `hf_compute_loss(labels, logits)` beside a `keras.Model`.

- Language models and token classification give shape (1,), or, in the legacy form, one loss for
  each kept token.
- Sequence classification, multiple choice and question answering give one loss per example.

Values, shapes and dtypes are those of 4.34; what was mended is told in each docstring. A mixin
reads `self.config.tf_legacy_loss`; without a config, or without that field, the loss is not of
the legacy form (4.34 raised `AttributeError`). Nothing is shifted: as in 4.34, that is the model's
business.
"""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from headsmith.keras.label_losses import (
    IGNORED,
    as_integers,
    compute_dtype,
    label_losses,
    library_of,
    read_shape,
    summed_label_losses,
)
from headsmith.keras.loss_functions import question_answering_loss

__all__ = [
    "TFCausalLanguageModelingLoss",
    "TFMaskedLanguageModelingLoss",
    "TFMultipleChoiceLoss",
    "TFQuestionAnsweringLoss",
    "TFSequenceClassificationLoss",
    "TFTokenClassificationLoss",
]


def _mean_of_kept(labels: Any, logits: Any) -> Any:
    """Give Σ loss / Σ kept in shape (1,) and the dtype of the logits."""
    return _as_dtype(ops.reshape(summed_label_losses(logits, labels), (1,)), logits)


def _as_dtype(losses: Any, logits: Any) -> Any:
    """Give losses in the dtype of the logits; where they are, without a step."""
    return losses if losses.dtype == logits.dtype else ops.cast(losses, logits.dtype)


def _one_per_kept(labels: Any, logits: Any, active: Any) -> Any:
    """Give the losses of the active labels, a vector as long as there are such labels."""
    flat = ops.reshape(logits, (-1, read_shape(logits)[-1] or ops.shape(logits)[-1]))
    xp = library_of(labels)
    labels, active = xp.reshape(labels, (-1,)), xp.reshape(active, (-1,))
    rows, given = read_shape(flat)[0], read_shape(labels)[0]
    if rows is not None and given is not None and rows != given:
        raise ValueError(
            f"Expected one label per row of logits. Received: {rows} rows and {given} labels."
        )
    if xp is np:
        chosen = np.flatnonzero(active).astype("int32")
        flat, labels = ops.take(flat, chosen, axis=0), labels[chosen]
    elif keras.config.backend() == "tensorflow":
        import tensorflow as tf

        flat, labels = tf.boolean_mask(flat, active), tf.boolean_mask(labels, active)
    else:
        raise ValueError(
            "Expected `config.tf_legacy_loss` only where values can be read: the shape of its "
            "result depends on the labels. Received: labels inside a compiled function. Set "
            "`config.tf_legacy_loss = False`."
        )
    # -100 is a label like any other here: 4.34 refused it where -1 is what is ignored.
    losses, _ = label_losses(flat, labels, ignore_index=None)
    return _as_dtype(losses, logits)


class _LossMixin:
    config: Any

    def _is_legacy(self) -> bool:
        return bool(getattr(getattr(self, "config", None), "tf_legacy_loss", False))


class TFCausalLanguageModelingLoss(_LossMixin):
    """The language-model loss of 4.34, where the model has shifted logits or labels.

    Labels of -100 are ignored; other negative labels count as class 0, as in 4.34. Mended: all
    ignored gives 0 and not NaN, and what the logits hold at ignored places reaches neither loss
    nor gradient.

    Example:
        >>> import numpy as np
        >>> loss = TFCausalLanguageModelingLoss().hf_compute_loss(
        ...     np.array([[1, -100]]), np.zeros((1, 2, 4), "float32"))
        >>> f"{float(loss[0]):.4f}"
        '1.3863'
    """

    def hf_compute_loss(self, labels: Any, logits: Any) -> Any:
        """Give the loss.

        Args:
            labels: Integer tensor (batch, seq).
            logits: Floating tensor (batch, seq, vocab).

        Returns:
            Tensor (1,) of the dtype of the logits. In the legacy form (n,), one loss for each
            label that is not -100; on JAX and PyTorch that form does not compile.

        Raises:
            ValueError: Shapes that do not fit, or, in eager mode, a label out of range.

        Example:
            >>> import numpy as np
            >>> from types import SimpleNamespace
            >>> mixin = TFCausalLanguageModelingLoss()
            >>> mixin.config = SimpleNamespace(tf_legacy_loss=True)
            >>> loss = mixin.hf_compute_loss(np.array([[1, -100]]), np.zeros((1, 2, 4), "float32"))
            >>> len(loss)
            1
        """
        labels, logits = as_integers(labels), ops.convert_to_tensor(logits)
        xp = library_of(labels)
        active = labels != IGNORED
        if self._is_legacy():
            return _one_per_kept(labels, logits, active)
        return _mean_of_kept(xp.where(active, xp.maximum(labels, 0), labels), logits)


class TFMaskedLanguageModelingLoss(TFCausalLanguageModelingLoss):
    """The masked-language-model loss of 4.34: the same arithmetic.

    Example:
        >>> import numpy as np
        >>> float(TFMaskedLanguageModelingLoss().hf_compute_loss(
        ...     np.array([[-100, -100]]), np.zeros((1, 2, 4), "float32"))[0])
        0.0
    """


class TFTokenClassificationLoss(_LossMixin):
    """The token-classification loss of 4.34.

    Every negative label is ignored. In the legacy form -1 is, if there is any, and -100
    otherwise. Mended as `TFCausalLanguageModelingLoss`.

    Example:
        >>> import numpy as np
        >>> loss = TFTokenClassificationLoss().hf_compute_loss(
        ...     np.array([[1, -100]]), np.zeros((1, 2, 2), "float32"))
        >>> f"{float(loss[0]):.4f}"
        '0.6931'
    """

    def hf_compute_loss(self, labels: Any, logits: Any) -> Any:
        """Give the loss.

        Args:
            labels: Integer tensor (batch, seq).
            logits: Floating tensor (batch, seq, labels).

        Returns:
            Tensor (1,) of the dtype of the logits; in the legacy form (n,), one loss for each
            label that counts.

        Raises:
            ValueError: Shapes that do not fit, or, in eager mode, a label out of range.

        Warns:
            DeprecationWarning: A label of -1, in eager mode.

        Example:
            >>> import numpy as np
            >>> loss = TFTokenClassificationLoss().hf_compute_loss(
            ...     np.array([[-100, -100]]), np.zeros((1, 2, 2), "float32"))
            >>> float(loss[0])
            0.0
        """
        labels, logits = as_integers(labels), ops.convert_to_tensor(logits)
        xp, old = library_of(labels), labels == -1
        if xp is np and old.any():
            warnings.warn(
                "Ignoring tokens by the label -1 is deprecated. Use -100 instead.",
                DeprecationWarning,
                stacklevel=2,
            )
        if self._is_legacy():
            active = xp.where(xp.any(old), xp.logical_not(old), labels != IGNORED)
            return _one_per_kept(labels, logits, active)
        return _mean_of_kept(xp.where(labels < 0, IGNORED, labels), logits)


def _per_example(labels: Any, logits: Any) -> Any:
    """Give one cross-entropy per row of logits, in their dtype and leading dimensions."""
    labels, shape = as_integers(labels), read_shape(logits)
    if len(read_shape(labels)) != len(shape) - 1:
        # As in 4.34: labels are read in order, whatever their shape.
        flat = ops.reshape(logits, (-1, shape[-1] or ops.shape(logits)[-1]))
        losses, _ = label_losses(flat, library_of(labels).reshape(labels, (-1,)))
        if len(shape) > 2:
            losses = ops.reshape(losses, ops.shape(logits)[:-1])
    else:
        losses, _ = label_losses(logits, labels)
    return _as_dtype(losses, logits)


class TFMultipleChoiceLoss:
    """The multiple-choice loss of 4.34.

    Mended: a label of -100 is ignored and gives 0, where 4.34 raised.

    Example:
        >>> import numpy as np
        >>> TFMultipleChoiceLoss().hf_compute_loss(
        ...     np.array([0, 1]), np.zeros((2, 4), "float32")).shape[0]
        2
    """

    def hf_compute_loss(self, labels: Any, logits: Any) -> Any:
        """Give the loss of each example.

        Args:
            labels: Integer tensor (batch,) or (batch, 1).
            logits: Floating tensor (batch, choices).

        Returns:
            Tensor (batch,) of the dtype of the logits.

        Raises:
            ValueError: Shapes that do not fit, or, in eager mode, a label out of range.

        Example:
            >>> import numpy as np
            >>> loss = TFMultipleChoiceLoss().hf_compute_loss(
            ...     np.array([0, -100]), np.zeros((2, 4), "float32"))
            >>> float(loss[1])
            0.0
        """
        return _per_example(labels, ops.convert_to_tensor(logits))


class TFSequenceClassificationLoss:
    """The sequence-classification loss of 4.34: a regression where there is one column.

    Mended: a class label of -100 is ignored and gives 0, where 4.34 raised. In a regression -100
    is a number like any other.

    Example:
        >>> import numpy as np
        >>> loss = TFSequenceClassificationLoss().hf_compute_loss(
        ...     np.array([1.0, 1.0]), np.array([[1.0], [3.0]], "float32"))
        >>> [float(number) for number in loss]
        [0.0, 4.0]
    """

    def hf_compute_loss(self, labels: Any, logits: Any) -> Any:
        """Give the loss of each example.

        Args:
            labels: Integer tensor (batch,) or (batch, 1); numbers for a regression.
            logits: Floating tensor (batch, labels). With one column, squared errors.

        Returns:
            Tensor (batch,) of the dtype of the logits.

        Raises:
            ValueError: Shapes that do not fit, or, in eager mode, a label out of range.

        Example:
            >>> import numpy as np
            >>> loss = TFSequenceClassificationLoss().hf_compute_loss(
            ...     np.array([0, -100]), np.zeros((2, 4), "float32"))
            >>> float(loss[1])
            0.0
        """
        logits = ops.convert_to_tensor(logits)
        shape = read_shape(logits)
        if len(shape) > 1 and shape[1] != 1:
            return _per_example(labels, logits)
        scores = ops.cast(logits, compute_dtype(logits))
        target = ops.cast(ops.convert_to_tensor(labels), scores.dtype)
        if len(read_shape(target)) == 1:
            target = ops.expand_dims(target, -1)
        # The rules by which Keras 2 made the ranks equal: a last dimension of 1 goes.
        more = len(shape) - len(read_shape(target))
        if more == 1 and shape[-1] == 1:
            scores = ops.squeeze(scores, -1)
        elif more == -1 and read_shape(target)[-1] == 1:
            target = ops.squeeze(target, -1)
        squares = ops.square(scores - target)
        # Not ops.mean, which is float32 inside for float64 on JAX and PyTorch.
        count = ops.cast(ops.shape(squares)[-1], squares.dtype)
        return ops.cast(ops.sum(squares, axis=-1) / count, logits.dtype)


class TFQuestionAnsweringLoss:
    """The question-answering loss of 4.34: the mean of the losses of start and end.

    Mended: a position outside the window is ignored and gives 0, where 4.34 raised.

    Example:
        >>> import numpy as np
        >>> labels = {"start_position": np.array([1]), "end_position": np.array([2])}
        >>> logits = np.zeros((1, 4), "float32")
        >>> loss = TFQuestionAnsweringLoss().hf_compute_loss(labels, (logits, logits))
        >>> f"{float(loss[0]):.4f}"
        '1.3863'
    """

    def hf_compute_loss(self, labels: Any, logits: Any) -> Any:
        """Give the loss of each example.

        Args:
            labels: Dict with `start_position` and `end_position`, integer tensors (batch,) or
                (batch, 1).
            logits: Start and end logits, two tensors (batch, seq), or one (2, batch, seq).

        Returns:
            Tensor (batch,) of the dtype of the logits.

        Raises:
            KeyError: A position is missing.
            ValueError: Shapes that do not fit.

        Example:
            >>> import numpy as np
            >>> labels = {"start_position": np.array([9]), "end_position": np.array([-100])}
            >>> loss = TFQuestionAnsweringLoss().hf_compute_loss(labels, np.zeros((2, 1, 4)))
            >>> float(loss[0])
            0.0
        """
        start, end = (ops.convert_to_tensor(logits[at]) for at in (0, 1))
        loss = question_answering_loss(
            start, end, labels["start_position"], labels["end_position"], reduction="none"
        )
        return _as_dtype(loss, start)
