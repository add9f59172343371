"""The truth the wings are tested against: NumPy, float64, slow, plain.

Each function follows the definition and not the way to it: concatenations are made, loops are
loops. Parameters are dicts with the state-dict names of 4.34. Not for use outside tests and
benchmarks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headsmith.spec.masks import first_valid, last_valid, masked_scores

__all__ = [
    "SquadPrediction",
    "answer_class",
    "attention_pool",
    "binary_cross_entropy",
    "causal_language_modeling_loss",
    "cross_entropy",
    "end_logits",
    "log_softmax",
    "question_answering_loss",
    "sequence_classification_loss",
    "squad_loss",
    "squad_predict",
    "start_logits",
    "summarize",
]

Array = npt.NDArray[np.float64]
Weights = Mapping[str, npt.ArrayLike]

IGNORED = -100


def _f(x: npt.ArrayLike) -> Array:
    return np.asarray(x, np.float64)


def _linear(x: Array, weights: Weights, name: str) -> Array:
    """Apply the `nn.Linear` called `name`, whose weight is (out, in)."""
    y = x @ _f(weights[f"{name}.weight"]).T
    bias = weights.get(f"{name}.bias")
    return y if bias is None else y + _f(bias)


def _part(weights: Weights, prefix: str) -> dict[str, npt.ArrayLike]:
    start = prefix + "."
    return {k.removeprefix(start): v for k, v in weights.items() if k.startswith(start)}


def log_softmax(x: npt.ArrayLike, axis: int = -1) -> Array:
    """Give the logarithms of the softmax.

    Example:
        >>> log_softmax([0.0, 0.0]).round(4).tolist()
        [-0.6931, -0.6931]
    """
    y = _f(x) - np.max(_f(x), axis=axis, keepdims=True)
    return np.asarray(y - np.log(np.exp(y).sum(axis=axis, keepdims=True)))


def start_logits(
    hidden: npt.ArrayLike, weights: Weights, p_mask: npt.ArrayLike | None = None
) -> Array:
    """Score starts: (batch, seq, H) to (batch, seq), with `dense`.

    Example:
        >>> start_logits([[[1.0, 2.0]]], {"dense.weight": [[1, 1]], "dense.bias": [0.5]}).tolist()
        [[3.5]]
    """
    scores = _linear(_f(hidden), weights, "dense")[..., 0]
    return scores if p_mask is None else masked_scores(scores, p_mask)


def end_logits(
    hidden: npt.ArrayLike,
    starts: npt.ArrayLike,
    weights: Weights,
    eps: float,
    p_mask: npt.ArrayLike | None = None,
) -> Array:
    """Score ends with `dense_0`, `LayerNorm` and `dense_1`.

    Args:
        hidden: (..., H), broadcast against `starts`.
        starts: (..., H), the state of the start.
        weights: State dict of `PoolerEndLogits`.
        eps: Of the LayerNorm.
        p_mask: Broadcast against the result.

    Returns:
        float64 array (...).

    Example:
        >>> w = {"dense_0.weight": np.eye(2, 4), "dense_0.bias": [0, 0], "LayerNorm.weight": [1, 1],
        ...      "LayerNorm.bias": [0, 0], "dense_1.weight": [[1, 0]], "dense_1.bias": [0]}
        >>> end_logits([[[1.0, 2.0]]], [[[0.0, 0.0]]], w, 0.0).round(3).tolist()
        [[-1.0]]
    """
    h, s = np.broadcast_arrays(_f(hidden), _f(starts))
    with np.errstate(invalid="ignore"):
        x = np.tanh(_linear(np.concatenate([h, s], axis=-1), weights, "dense_0"))
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
        x = x * _f(weights["LayerNorm.weight"]) + _f(weights["LayerNorm.bias"])
        scores = _linear(x, weights, "dense_1")[..., 0]
    return scores if p_mask is None else masked_scores(scores, p_mask)


def answer_class(
    hidden: npt.ArrayLike,
    start: npt.ArrayLike,
    weights: Weights,
    cls_index: npt.ArrayLike | None = None,
) -> Array:
    """Score unanswerability from a start state (batch, H) and the CLS state.

    Example:
        >>> w = {"dense_0.weight": np.zeros((2, 4)), "dense_0.bias": [0, 0],
        ...      "dense_1.weight": [[1, 0]]}
        >>> answer_class(np.ones((1, 3, 2)), np.ones((1, 2)), w).tolist()
        [0.0]
    """
    h = _f(hidden)
    index = np.full(len(h), h.shape[1] - 1) if cls_index is None else np.asarray(cls_index)
    cls = h[np.arange(len(h)), index.reshape(-1)]
    x = np.tanh(_linear(np.concatenate([_f(start), cls], axis=-1), weights, "dense_0"))
    return np.asarray(_linear(x, weights, "dense_1")[..., 0])


class SquadPrediction(NamedTuple):
    """A beam search of the SQuAD head, as probabilities.

    Attributes:
        start_probs: (batch, S).
        start_index: int64 (batch, S).
        end_probs: (batch, E * S), flattened from (E, S).
        end_index: int64 (batch, E * S).
        cls_logits: (batch,).
    """

    start_probs: Array
    start_index: npt.NDArray[np.int64]
    end_probs: Array
    end_index: npt.NDArray[np.int64]
    cls_logits: Array


def _top(x: Array, number: int, axis: int) -> npt.NDArray[np.int64]:
    order = np.argsort(-x, axis=axis, kind="stable")
    return np.asarray(np.take(order, np.arange(min(number, x.shape[axis])), axis=axis), np.int64)


def _soft_state(hidden: Array, scores: Array, p_mask: npt.ArrayLike | None) -> Array:
    probs = np.exp(log_softmax(scores))
    if p_mask is not None:
        masked = np.broadcast_to(np.asarray(p_mask) == 1, scores.shape)
        hidden = np.where((masked & ~masked.all(1, keepdims=True))[..., None], 0.0, hidden)
    return np.asarray(np.einsum("bl,blh->bh", probs, hidden))


def squad_predict(
    hidden: npt.ArrayLike,
    weights: Weights,
    *,
    eps: float,
    start_n_top: int,
    end_n_top: int,
    cls_index: npt.ArrayLike | None = None,
    p_mask: npt.ArrayLike | None = None,
) -> SquadPrediction:
    """Search for spans: the best starts, the best ends of each, and the answer class.

    Args:
        hidden: (batch, seq, H).
        weights: State dict of `SQuADHead`.
        eps: Of the LayerNorm.
        start_n_top: Starts to keep, at most seq.
        end_n_top: Ends to keep for each, at most seq.
        cls_index: (batch,); the last position if None.
        p_mask: (batch, seq).

    Returns:
        `SquadPrediction`; equal scores keep the order of their positions.

    Example:
        >>> squad_predict.__name__
        'squad_predict'
    """
    h = _f(hidden)
    rows = np.arange(len(h))[:, None]
    scores = start_logits(h, _part(weights, "start_logits"), p_mask)
    probs = np.exp(log_softmax(scores))
    start = _top(probs, start_n_top, 1)
    mask = None if p_mask is None else np.asarray(p_mask)[..., None]
    ends = end_logits(
        h[:, :, None], h[rows, start][:, None], _part(weights, "end_logits"), eps, mask
    )
    end_probs = np.exp(log_softmax(ends, 1))
    end = _top(end_probs, end_n_top, 1)
    return SquadPrediction(
        probs[rows, start],
        start,
        np.take_along_axis(end_probs, end, 1).reshape(len(h), -1),
        end.reshape(len(h), -1),
        answer_class(h, _soft_state(h, scores, p_mask), _part(weights, "answer_class"), cls_index),
    )


def squad_loss(
    hidden: npt.ArrayLike,
    weights: Weights,
    start_positions: npt.ArrayLike,
    end_positions: npt.ArrayLike,
    *,
    eps: float,
    cls_index: npt.ArrayLike | None = None,
    is_impossible: npt.ArrayLike | None = None,
    p_mask: npt.ArrayLike | None = None,
    soft_start: bool = False,
) -> float:
    """Give the training loss of the SQuAD head.

    Args:
        hidden: (batch, seq, H).
        weights: State dict of `SQuADHead`.
        start_positions: (batch,); outside [0, seq) = the example's span is ignored.
        end_positions: (batch,); outside [0, seq) = ignored.
        eps: Of the LayerNorm.
        cls_index: (batch,).
        is_impossible: (batch,), 0 to 1; with `cls_index`, adds half the answer class's loss.
        p_mask: (batch, seq).
        soft_start: Whether the answer class sees the soft start and not the gold one.

    Returns:
        The loss.

    Example:
        >>> squad_loss.__name__
        'squad_loss'
    """
    h = _f(hidden)
    begin, end = np.asarray(start_positions).reshape(-1), np.asarray(end_positions).reshape(-1)
    known = (begin >= 0) & (begin < h.shape[1])
    state = h[np.arange(len(h)), np.where(known, begin, 0)]
    starts = start_logits(h, _part(weights, "start_logits"), p_mask)
    ends = end_logits(h, state[:, None], _part(weights, "end_logits"), eps, p_mask)
    loss = question_answering_loss(starts, ends, begin, np.where(known, end, IGNORED))
    if cls_index is None or is_impossible is None:
        return loss
    if soft_start:
        state, known = _soft_state(h, starts, p_mask), np.ones_like(known)
    logits = answer_class(h, state, _part(weights, "answer_class"), cls_index)
    each = binary_cross_entropy(logits, _f(is_impossible).reshape(-1))
    return loss + 0.5 * float(np.where(known, each, 0.0).sum() / max(known.sum(), 1))


def summarize(
    hidden: npt.ArrayLike,
    summary_type: str,
    *,
    cls_index: npt.ArrayLike | None = None,
    attention_mask: npt.ArrayLike | None = None,
) -> Array:
    """Reduce (batch, seq, H) to (batch, H), by "last", "first", "mean" or "cls_index".

    Example:
        >>> summarize([[[1.0], [3.0]]], "mean").tolist()
        [[2.0]]
    """
    h = _f(hidden)
    mask = np.ones(h.shape[:2], bool) if attention_mask is None else np.asarray(attention_mask) != 0
    out = np.zeros((h.shape[0], h.shape[2]))
    for i in range(len(h)):
        if summary_type == "mean":
            out[i] = h[i][mask[i]].mean(0) if mask[i].any() else 0.0
        elif summary_type == "first":
            out[i] = h[i, first_valid(mask[i])]
        elif summary_type == "cls_index" and cls_index is not None:
            out[i] = h[i, np.asarray(cls_index).reshape(-1)[i]]
        else:
            out[i] = h[i, last_valid(mask[i])]
    return out


def attention_pool(
    hidden: npt.ArrayLike, weights: Weights, attention_mask: npt.ArrayLike | None = None
) -> Array:
    """Pool (batch, seq, H) with the state dict of `AttentionPooling`, keys and values made.

    States of padding are zeros, which matters only where there is nothing but padding.

    Example:
        >>> w = {"query": [[0.0]], "key.weight": [[1.0]], "value.weight": [[1.0]],
        ...      "value.bias": [0.0], "output.weight": [[1.0]], "output.bias": [0.0]}
        >>> attention_pool([[[1.0], [3.0]]], w).tolist()
        [[2.0]]
    """
    h, query = _f(hidden), _f(weights["query"])
    heads, size = query.shape
    if attention_mask is not None:
        h = np.where((np.asarray(attention_mask) == 0)[..., None], 0.0, h)
    keys = _linear(h, weights, "key").reshape(*h.shape[:2], heads, size)
    values = _linear(h, weights, "value").reshape(*h.shape[:2], heads, size)
    scores = np.einsum("nd,blnd->bnl", query, keys) / math.sqrt(size)
    if attention_mask is not None:
        scores = np.where((np.asarray(attention_mask) == 0)[:, None], -1e30, scores)
    pooled = np.einsum("bnl,blnd->bnd", np.exp(log_softmax(scores)), values)
    return _linear(pooled.reshape(len(h), -1), weights, "output")


def cross_entropy(
    logits: npt.ArrayLike, labels: npt.ArrayLike, *, label_smoothing: float = 0.0
) -> Array:
    """Give the loss of each label; 0 where the label is -100, whatever the logits hold.

    Args:
        logits: (..., classes).
        labels: Integers (...).
        label_smoothing: The share of the target spread over all classes.

    Returns:
        float64 array (...).

    Example:
        >>> cross_entropy([[0.0, 0.0], [np.nan, 0.0]], [1, -100]).round(4).tolist()
        [0.6931, 0.0]
    """
    y = np.asarray(labels)
    out = np.zeros(y.shape)
    for place in np.ndindex(y.shape):
        if y[place] != IGNORED:
            log_probs = log_softmax(_f(logits)[place])
            out[place] = -(1 - label_smoothing) * log_probs[y[place]]
            out[place] -= label_smoothing * log_probs.mean()
    return out


def binary_cross_entropy(logits: npt.ArrayLike, target: npt.ArrayLike) -> Array:
    """Give the loss of each logit against a probability.

    Example:
        >>> binary_cross_entropy([0.0], [1.0]).round(4).tolist()
        [0.6931]
    """
    x, t = _f(logits), _f(target)
    return np.asarray(np.logaddexp(0.0, x) - t * x)


def _mean(losses: Array, labels: npt.ArrayLike, num_items: float | None = None) -> float:
    count = (np.asarray(labels) != IGNORED).sum() if num_items is None else num_items
    return float(losses.sum() / (count or 1))


def causal_language_modeling_loss(
    logits: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    label_smoothing: float = 0.0,
    num_items: float | None = None,
) -> float:
    """Give the mean loss of predicting labels[:, t + 1] from logits[:, t].

    Example:
        >>> round(causal_language_modeling_loss(np.zeros((1, 3, 4)), [[0, 1, 2]]), 4)
        1.3863
    """
    y = np.asarray(labels)[..., 1:]
    losses = cross_entropy(_f(logits)[..., :-1, :], y, label_smoothing=label_smoothing)
    return _mean(losses, y, num_items)


def question_answering_loss(
    starts: npt.ArrayLike,
    ends: npt.ArrayLike,
    start_positions: npt.ArrayLike,
    end_positions: npt.ArrayLike,
) -> float:
    """Give the mean of the two losses; positions outside [0, seq) are ignored.

    Example:
        >>> round(question_answering_loss(np.zeros((1, 4)), np.zeros((1, 4)), [0], [9]), 4)
        0.6931
    """
    total = 0.0
    for logits, positions in ((starts, start_positions), (ends, end_positions)):
        at = np.asarray(positions).reshape(-1)
        at = np.where((at >= 0) & (at < _f(logits).shape[1]), at, IGNORED)
        total += _mean(cross_entropy(logits, at), at)
    return total / 2


def sequence_classification_loss(
    logits: npt.ArrayLike, labels: npt.ArrayLike, problem_type: str
) -> float:
    """Give the mean loss of a problem type of Transformers.

    Example:
        >>> sequence_classification_loss([[1.0], [3.0]], [1, 1], "regression")
        2.0
    """
    if problem_type == "single_label_classification":
        y = np.asarray(labels).reshape(-1)
        return _mean(cross_entropy(logits, y), y)
    target = _f(labels).reshape(_f(logits).shape)
    if problem_type == "regression":
        return float(((_f(logits) - target) ** 2).mean())
    each = binary_cross_entropy(np.where(target == IGNORED, 0.0, _f(logits)), target)
    return _mean(np.where(target == IGNORED, 0.0, each), target)
