"""Language-model losses from hidden states and output weights: the logits never exist.

At 4096 tokens and 50257 words the logits alone are 785 MiB in float32, and training holds them
two or three times. Here a few hundred rows exist at a time, in a real loop. Rows with a label go
to the front, and the loop ends behind them: of a masked language model a seventh of the rows is
multiplied, though all shapes are static and the whole compiles.

Summed losses make their gradients on the way forward, where the logits are there anyway. With
`reduction="none"` the logits are made again on the way back.

The idea is that of Cut Cross-Entropy (Wijmans et al. 2024, https://arxiv.org/abs/2411.09009) and
of Liger-Kernel's fused linear cross-entropy. Each backend has its own way to tell a gradient:
`linear_tensorflow.py`, `linear_jax.py`, `linear_torch.py`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import keras
import numpy as np
from keras import ops

from headsmith.keras.label_losses import (
    IGNORED,
    as_integers,
    check_range,
    compute_dtype,
    read_shape,
)
from headsmith.keras.loss_functions import shift_left
from headsmith.spec.chunks import check_chunk_size
from headsmith.spec.losses import Reduction, check_label_smoothing, check_reduction

__all__ = [
    "causal_language_modeling_loss_from_hidden",
    "linear_cross_entropy",
    "masked_language_modeling_loss_from_hidden",
]

_CHUNK_BYTES = 1 << 26
"""Logits held at a time, in float32: 64 MiB."""


def linear_cross_entropy(
    hidden_states: Any,
    weight: Any,
    labels: Any,
    *,
    bias: Any = None,
    transposed: bool = False,
    num_items_in_batch: Any = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    chunk_size: int | None = None,
) -> Any:
    """Give the cross-entropy of `hidden_states @ weight.T + bias` against labels.

    Args:
        hidden_states: Floating tensor (..., hidden). Its dtype is the one multiplied in;
            `weight` and `bias` are taken to it.
        weight: Floating tensor or variable (vocab, hidden), as an `Embedding` keeps it.
        labels: Integer tensor (...).
        bias: Floating tensor (vocab,). Default: none.
        transposed: Whether `weight` is (hidden, vocab), as a `Dense` layer keeps its kernel.
        num_items_in_batch: Divides the sum in place of the number of labels that count.
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1]; the share of the target spread over all classes.
        reduction: "mean" (default), "sum", or "none".
        chunk_size: Rows of logits held at a time. Default: as many as make 64 MiB.

    Returns:
        Scalar, or (...) with "none". float32, or float64 for float64. In a compiled graph a
        label out of range makes it NaN. On PyTorch a scalar has one backward pass: no
        `retain_graph=True`, no second derivatives.

    Raises:
        ValueError: Shapes that do not fit, an unknown reduction, a chunk below one row, or, in
            eager mode, a label out of range.

    Example:
        >>> import numpy as np
        >>> loss = linear_cross_entropy(
        ...     np.ones((2, 3), "float32"), np.zeros((4, 3), "float32"), [0, 1])
        >>> f"{float(loss):.4f}"
        '1.3863'
    """
    check_reduction(reduction, num_items_in_batch)
    check_label_smoothing(label_smoothing)
    hidden = ops.convert_to_tensor(hidden_states)
    weight = ops.cast(ops.convert_to_tensor(weight), hidden.dtype)
    bias = None if bias is None else ops.cast(ops.convert_to_tensor(bias), hidden.dtype)
    labels = as_integers(labels)
    classes = _check_shapes(hidden, weight, bias, labels, transposed)
    check_chunk_size(chunk_size, "linear_cross_entropy")
    if isinstance(labels, np.ndarray):
        check_range(labels, classes, ignore_index)
    flat = ops.reshape(ops.convert_to_tensor(labels), (-1,))
    kept = ops.not_equal(flat, ignore_index)
    inside = ops.logical_and(flat >= 0, flat < classes)
    dtype = compute_dtype(hidden)
    if 0 in read_shape(labels):
        return _of_nothing(hidden, weight, bias, None if reduction != "none" else labels)
    rows = ops.reshape(hidden, (-1, read_shape(hidden)[-1]))
    backend = _backend()
    settings = (transposed, label_smoothing, _chunk(read_shape(rows)[0], classes, chunk_size))
    data = (rows, weight, bias, ops.where(ops.logical_and(kept, inside), flat, 0), kept)
    wrong = ops.logical_and(kept, ops.logical_not(inside))
    if reduction == "none":
        losses = backend.row_losses(*data, *settings)
        return ops.reshape(ops.where(wrong, float("nan"), losses), ops.shape(labels))
    scale = ops.cast(kept, dtype)
    if reduction == "mean":
        count = ops.sum(scale) if num_items_in_batch is None else num_items_in_batch
        count = ops.cast(count, dtype)
        scale = scale / (ops.maximum(count, 1) if num_items_in_batch is None else count)
    loss = backend.weighted_sum(*data, scale, *settings)
    return ops.where(ops.any(wrong), float("nan"), loss)


def _of_nothing(hidden: Any, weight: Any, bias: Any, labels: Any) -> Any:
    """Give the loss of no rows: 0, or (...) for labels, and gradients of 0."""
    dtype = compute_dtype(hidden)
    parts = [hidden, weight[:0]] if bias is None else [hidden, weight[:0], bias[:0]]
    total: Any = sum(ops.sum(ops.cast(part, dtype)) for part in parts)
    return total if labels is None else total + ops.zeros(ops.shape(labels), dtype=dtype)


def _backend() -> Any:
    name = keras.config.backend()
    if name not in ("tensorflow", "jax", "torch"):
        raise NotImplementedError(
            "Expected the Keras backend tensorflow, jax or torch for losses from hidden states. "
            f"Received: {name}. Set KERAS_BACKEND."
        )
    return import_module(f"headsmith.keras.linear_{name}")


def _check_shapes(hidden: Any, weight: Any, bias: Any, labels: Any, transposed: bool) -> int:
    """Refuse shapes that do not fit; give the number of words."""
    h, w, y = read_shape(hidden), read_shape(weight), read_shape(labels)
    known = len(w) == 2 and None not in w and h[-1] is not None
    width, classes = (w if transposed else w[::-1]) if known else (None, None)
    fits = (
        width == h[-1]
        and len(h) == len(y) + 1
        and all(a is None or b is None or a == b for a, b in zip(h, y, strict=False))
        and (bias is None or read_shape(bias) == (classes,))
    )
    if not fits or classes is None:
        order = "(hidden, vocab)" if transposed else "(vocab, hidden)"
        raise ValueError(
            f"Expected hidden states (..., hidden), weights {order}, labels (...) and a bias "
            f"(vocab,) if any, with hidden and vocab known. Received: {h}, {w}, {y} and "
            f"{None if bias is None else read_shape(bias)}."
        )
    return classes


def _chunk(number: int | None, classes: int, wanted: int | None) -> int:
    """Give the rows of a chunk: no more than wanted, and all chunks alike."""
    most = wanted or max(1, _CHUNK_BYTES // (4 * classes))
    if not number:
        return most
    return -(-number // -(-number // most))


def causal_language_modeling_loss_from_hidden(
    hidden_states: Any,
    weight: Any,
    labels: Any = None,
    *,
    bias: Any = None,
    transposed: bool = False,
    shift_labels: Any = None,
    num_items_in_batch: Any = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    chunk_size: int | None = None,
) -> Any:
    """Give `causal_language_modeling_loss(hidden_states @ weight.T + bias, labels)`.

    Args:
        hidden_states: Floating tensor (batch, seq, hidden).
        weight: Floating tensor (vocab, hidden): the output embeddings.
        labels: Integer tensor (batch, seq): the tokens themselves, shifted here.
        bias: Floating tensor (vocab,). Default: none.
        transposed: Whether `weight` is (hidden, vocab).
        shift_labels: Labels that are shifted already; win over `labels`.
        num_items_in_batch: Divides the sum in place of the number of labels that count.
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1].
        reduction: "mean" (default), "sum", or "none".
        chunk_size: As in `linear_cross_entropy`.

    Returns:
        As `causal_language_modeling_loss`.

    Raises:
        ValueError: No labels, and as `linear_cross_entropy`.

    Example:
        >>> import numpy as np
        >>> loss = causal_language_modeling_loss_from_hidden(
        ...     np.ones((1, 3, 8), "float32"), np.zeros((4, 8), "float32"), [[0, 1, 2]])
        >>> f"{float(loss):.4f}"
        '1.3863'
    """
    if shift_labels is None:
        if labels is None:
            raise ValueError("Expected `labels` or `shift_labels`. Received: neither.")
        shift_labels = shift_left(labels, ignore_index)
    return linear_cross_entropy(
        hidden_states,
        weight,
        shift_labels,
        bias=bias,
        transposed=transposed,
        num_items_in_batch=num_items_in_batch,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
        chunk_size=chunk_size,
    )


def masked_language_modeling_loss_from_hidden(
    hidden_states: Any,
    weight: Any,
    labels: Any,
    *,
    bias: Any = None,
    transposed: bool = False,
    num_items_in_batch: Any = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    chunk_size: int | None = None,
) -> Any:
    """Give `masked_language_modeling_loss(hidden_states @ weight.T + bias, labels)`.

    Args:
        hidden_states: Floating tensor (batch, seq, hidden), after the head's transform.
        weight: Floating tensor (vocab, hidden): the output embeddings.
        labels: Integer tensor (batch, seq); -100 where the token was not masked out.
        bias: Floating tensor (vocab,). Default: none.
        transposed: Whether `weight` is (hidden, vocab).
        num_items_in_batch: Divides the sum in place of the number of labels that count.
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1].
        reduction: "mean" (default), "sum", or "none".
        chunk_size: As in `linear_cross_entropy`.

    Returns:
        As `masked_language_modeling_loss`.

    Raises:
        ValueError: As `linear_cross_entropy`.

    Example:
        >>> import numpy as np
        >>> loss = masked_language_modeling_loss_from_hidden(
        ...     np.ones((1, 3, 8), "float32"), np.zeros((4, 8), "float32"), [[-100] * 3])
        >>> float(loss)
        0.0
    """
    return linear_cross_entropy(
        hidden_states,
        weight,
        labels,
        bias=bias,
        transposed=transposed,
        num_items_in_batch=num_items_in_batch,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
        chunk_size=chunk_size,
    )
