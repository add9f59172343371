"""The losses of the SQuAD head, and the soft start that trains its answer class."""

from __future__ import annotations

from typing import Any

from keras import ops

from headsmith.keras.linear import compute_dtype, named_dtype
from headsmith.keras.p_mask import is_masked, without_masked

__all__ = ["answer_loss", "position_loss", "soft_start_state"]


def soft_start_state(hidden_states: Any, start_probs: Any, p_mask: Any = None) -> Any:
    """Average the states by the probability that the answer starts there.

    Args:
        hidden_states: Floating tensor (batch, seq, H).
        start_probs: Tensor (batch, seq), rows that sum to 1.
        p_mask: As in `PoolerStartLogits`. The states of masked positions are left out, so that
            an infinity or NaN there does not spread. In an example that is masked throughout,
            all states count.

    Returns:
        Tensor (batch, H) in the dtype of `hidden_states`.

    Example:
        >>> from keras import ops
        >>> h = ops.array([[[1.0], [3.0], [float("inf")]]])
        >>> state = soft_start_state(h, ops.array([[0.5, 0.5, 0.0]]), ops.array([[0, 0, 1]]))
        >>> float(state[0, 0])
        2.0
    """
    own = named_dtype(hidden_states)
    if p_mask is not None:
        masked = is_masked(p_mask)
        alone = ops.logical_not(ops.all(masked, axis=1, keepdims=True))
        hidden_states = without_masked(hidden_states, ops.logical_and(masked, alone))
    dtype = compute_dtype(own)
    states = ops.cast(hidden_states, dtype)
    return ops.cast(ops.einsum("bl,blh->bh", ops.cast(start_probs, dtype), states), own)


def position_loss(logits: Any, positions: Any) -> Any:
    """Give the mean cross-entropy of positions; those outside [0, seq) are ignored.

    Args:
        logits: Floating tensor (batch, seq).
        positions: Integer tensor (batch,).

    Returns:
        Scalar, float32 or float64; 0 if every position is ignored.

    Example:
        >>> from keras import ops
        >>> f"{float(position_loss(ops.zeros((2, 4)), ops.array([1, -100]))):.4f}"
        '1.3863'
    """
    logits = ops.cast(logits, compute_dtype(named_dtype(logits)))
    length = ops.shape(logits)[1]
    positions = ops.cast(positions, "int32")
    known = ops.logical_and(positions >= 0, positions < length)
    at = ops.equal(ops.arange(length, dtype="int32"), ops.expand_dims(positions, -1))
    zero = ops.zeros((), dtype=logits.dtype)
    picked = ops.sum(ops.where(at, logits, zero), axis=-1)
    each = ops.where(known, ops.logsumexp(logits, axis=(-1,)) - picked, zero)
    return ops.sum(each) / ops.maximum(ops.sum(ops.cast(known, logits.dtype)), 1)


def answer_loss(logits: Any, is_impossible: Any, known: Any) -> Any:
    """Give the mean binary cross-entropy over the examples that are known.

    Args:
        logits: Floating tensor (batch,).
        is_impossible: Tensor (batch,), 1 = there is no answer.
        known: Bool tensor (batch,): the examples that count.

    Returns:
        Scalar, float32 or float64; 0 if none counts.

    Example:
        >>> from keras import ops
        >>> loss = answer_loss(ops.zeros(2), ops.array([1, 0]), ops.array([True, True]))
        >>> f"{float(loss):.4f}"
        '0.6931'
    """
    logits = ops.cast(logits, compute_dtype(named_dtype(logits)))
    target = ops.cast(is_impossible, logits.dtype)
    each = ops.softplus(logits) - target * logits
    each = ops.where(known, each, ops.zeros((), dtype=logits.dtype))
    return ops.sum(each) / ops.maximum(ops.sum(ops.cast(known, logits.dtype)), 1)
