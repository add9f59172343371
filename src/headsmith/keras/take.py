"""One token's state out of each sequence."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from headsmith.keras.eager import may_read_values, values
from headsmith.keras.linear import named_dtype

__all__ = ["last_token", "state_at", "take_tokens"]


def take_tokens(hidden_states: Any, index: Any, reader: str = "take_tokens") -> Any:
    """Take hidden_states[..., index, :].

    Args:
        hidden_states: Floating tensor (..., seq, H).
        index: Integer tensor (...) or (..., n), in [0, seq).
        reader: Who asks, for the error.

    Returns:
        Tensor (..., H) or (..., n, H).

    Raises:
        ValueError: An index is out of range and values can be read: in eager mode on a CPU.
            A compiled graph does what its backend does then: an error, NaN or another state.

    Example:
        >>> from keras import ops
        >>> h = ops.reshape(ops.arange(6, dtype="float32"), (1, 3, 2))
        >>> [float(x) for x in take_tokens(h, ops.array([2]))[0]]
        [4.0, 5.0]
    """
    *lead, length, size = ops.shape(hidden_states)
    if named_dtype(index) not in ("int32", "int64"):
        index = ops.cast(index, "int32")
    checked = isinstance(length, int) and may_read_values(index)
    if checked:
        at = values(index)
        if ((at < 0) | (at >= length)).any():
            raise ValueError(
                f"{reader} expects positions in [0, {length}). Received: {at.tolist()}."
            )
    symbolic = any(isinstance(x, keras.KerasTensor) for x in (hidden_states, index))
    if keras.config.backend() == "tensorflow" and not symbolic:
        import tensorflow as tf

        return tf.gather(hidden_states, index, batch_dims=len(lead))
    index = ops.cast(index, "int32")
    several = len(index.shape) > len(lead)
    batch = 1
    for dimension in lead:
        batch = batch * dimension
    # All examples as one long sequence: a gather of rows.
    rows = ops.reshape(ops.arange(batch, dtype="int32"), (*lead, *([1] if several else [])))
    rows = rows * length + index
    if not checked:  # an index out of range must not be found in the next example
        inside = ops.logical_and(index >= 0, index < length)
        rows = ops.where(inside, rows, batch * length)
    flat = ops.reshape(hidden_states, (batch * length, size))
    taken = ops.take(flat, ops.reshape(rows, (-1,)), axis=0)
    return ops.reshape(taken, (*ops.shape(index), size))


def state_at(hidden_states: Any, index: Any, reader: str = "state_at") -> Any:
    """Take one token's state from each example.

    Args:
        hidden_states: Floating tensor (batch, seq, H).
        index: Integer tensor (batch,) or (batch, 1) in [0, seq).
        reader: Who asks, for the error.

    Returns:
        Tensor (batch, H).

    Raises:
        ValueError: As in `take_tokens`.

    Example:
        >>> from keras import ops
        >>> tuple(state_at(ops.ones((2, 3, 4)), ops.array([[2], [0]])).shape)
        (2, 4)
    """
    if len(index.shape) > 1:
        index = ops.squeeze(index, -1)
    return take_tokens(hidden_states, index, reader)


def last_token(attention_mask: Any) -> Any:
    """Give the index of the last token, per row, wherever the padding is.

    Args:
        attention_mask: Tensor (..., seq), non-zero = a token.

    Returns:
        int32 tensor (...,); seq - 1 in a row without tokens.

    Example:
        >>> from keras import ops
        >>> [int(i) for i in last_token(ops.array([[1, 1, 0], [0, 1, 1], [0, 0, 0]]))]
        [1, 2, 2]
    """
    length = ops.shape(attention_mask)[-1]
    backwards = ops.flip(ops.cast(ops.not_equal(attention_mask, 0), "int32"), axis=-1)
    return length - 1 - ops.cast(ops.argmax(backwards, axis=-1), "int32")
