"""Multi-head attention pooling with a learned query, for Keras: `summary_type="attn"`."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from headsmith.keras.initializers import get_initializer
from headsmith.keras.linear import compute_dtype, linear, named_dtype
from headsmith.keras.p_mask import without_masked

__all__ = ["AttentionPooling", "attention_pool"]


def attention_pool(
    hidden_states: Any,
    query: Any,
    key_kernel: Any,
    value_kernel: Any,
    value_bias: Any,
    attention_mask: Any = None,
) -> Any:
    """Let learned queries attend to a sequence: one vector per head, side by side.

    The queries do not depend on the input, so neither keys nor values are made for each token:
    `q . (K h) = (K^T q) . h`, and `sum p (V h + b) = V (sum p h) + b`. The cost is one number
    per token, head and hidden dimension, not hidden of them.

    Args:
        hidden_states: Floating tensor (..., seq, H).
        query: Tensor (heads, H / heads).
        key_kernel: Tensor (H, H), columns in head order.
        value_kernel: Tensor (H, H), columns in head order.
        value_bias: Tensor (H,).
        attention_mask: Tensor (..., seq), non-zero = a token. Default: all are. An example
            without tokens is pooled as one of zeros.

    Returns:
        Tensor (..., H) in the dtype of `hidden_states`. The softmax is computed in float32 or
        above.

    Example:
        >>> from keras import ops
        >>> eye, h = ops.eye(4), ops.ones((2, 5, 4))
        >>> tuple(attention_pool(h, ops.zeros((2, 2)), eye, eye, ops.zeros(4)).shape)
        (2, 4)
    """
    heads, size = query.shape
    width = heads * size
    wide = ops.einsum("ind,nd->in", ops.reshape(key_kernel, (width, heads, size)), query)
    padding = None
    if attention_mask is not None:
        padding = ops.equal(attention_mask, 0)
        hidden_states = without_masked(hidden_states, padding)
    scores = linear(hidden_states, wide)
    scores = ops.cast(scores, compute_dtype(named_dtype(scores))) / math.sqrt(size)
    if padding is not None:
        fill = ops.convert_to_tensor(-1e30, dtype=scores.dtype)
        scores = ops.where(ops.expand_dims(padding, -1), fill, scores)
    probs = ops.cast(ops.softmax(scores, axis=-2), hidden_states.dtype)
    pooled = ops.einsum("...ln,...li->...ni", probs, hidden_states)
    per_head = ops.reshape(value_kernel, (width, heads, size))
    mixed = ops.einsum("...ni,ind->...nd", pooled, per_head)
    return ops.reshape(mixed, (*ops.shape(hidden_states)[:-2], width)) + value_bias


@keras.saving.register_keras_serializable(package="headsmith")
class AttentionPooling(keras.layers.Layer):  # type: ignore[misc]
    """Pool a sequence by multi-head attention with a learned query.

    What `summary_type="attn"` of Transformers announces: XLNet's `summarize_sequence`
    (Yang et al. 2019, https://github.com/zihangdai/xlnet/blob/master/modeling.py), a learned
    vector attending to the tokens; also the "pooling by multi-head attention" of Lee et al.
    2019 (https://arxiv.org/abs/1810.00825) with one seed.

    Args:
        hidden_size: Width of the hidden states.
        num_heads: Number of heads; divides `hidden_size`.
        initializer_range: Standard deviation of the weights' truncated normal. Default: 0.02.
        **kwargs: Those of `keras.layers.Layer`.

    Attributes:
        query: Weight (num_heads, hidden_size / num_heads).
        key: Dense without bias; a bias of the keys would cancel in the softmax.
        value: Dense.
        output_dense: Dense, named `output`.

    Raises:
        ValueError: `num_heads` does not divide `hidden_size`.

    Example:
        >>> from keras import ops
        >>> tuple(AttentionPooling(8, 2)(ops.ones((3, 5, 8))).shape)
        (3, 8)
    """

    def __init__(
        self, hidden_size: int, num_heads: int, initializer_range: float = 0.02, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if num_heads < 1 or hidden_size % num_heads:
            raise ValueError(
                "AttentionPooling expects a number of heads that divides the hidden size. "
                f"Received: {num_heads} and {hidden_size}."
            )
        self.hidden_size = hidden_size
        self.num_heads = num_heads
        self.initializer_range = initializer_range
        self.supports_masking = True
        self.key = self._dense("key", use_bias=False)
        self.value = self._dense("value")
        self.output_dense = self._dense("output")

    def _dense(self, name: str, *, use_bias: bool = True) -> keras.layers.Dense:
        return keras.layers.Dense(
            self.hidden_size,
            use_bias=use_bias,
            kernel_initializer=get_initializer(self.initializer_range),
            name=name,
            dtype=self.dtype_policy,
        )

    def build(self, input_shape: Any = None) -> None:
        """Make the weights; their sizes do not depend on the input."""
        self.query = self.add_weight(
            name="query",
            shape=(self.num_heads, self.hidden_size // self.num_heads),
            initializer=get_initializer(self.initializer_range),
        )
        for dense in (self.key, self.value, self.output_dense):
            dense.build((None, self.hidden_size))

    def call(self, hidden_states: Any, attention_mask: Any = None) -> Any:
        """Map (..., seq, H) to (..., H); see `attention_pool`."""
        pooled = attention_pool(
            hidden_states,
            ops.convert_to_tensor(self.query),
            ops.convert_to_tensor(self.key.kernel),
            ops.convert_to_tensor(self.value.kernel),
            ops.convert_to_tensor(self.value.bias),
            attention_mask,
        )
        return self.output_dense(pooled)

    def compute_output_spec(
        self, hidden_states: Any, attention_mask: Any = None
    ) -> keras.KerasTensor:
        """Give (..., H)."""
        shape = (*hidden_states.shape[:-2], hidden_states.shape[-1])
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """Give none: there is no sequence any more."""

    def get_config(self) -> dict[str, Any]:
        """Give the arguments, for `from_config`."""
        own = {
            "hidden_size": self.hidden_size,
            "num_heads": self.num_heads,
            "initializer_range": self.initializer_range,
        }
        return {**super().get_config(), **own}
