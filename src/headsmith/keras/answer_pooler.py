"""Whether there is an answer at all: `PoolerAnswerClass`."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from headsmith.keras.keras_mask import mask_of
from headsmith.keras.pooler import Pooler
from headsmith.keras.take import last_token, state_at

__all__ = ["PoolerAnswerClass"]


@keras.saving.register_keras_serializable(package="headsmith")
class PoolerAnswerClass(Pooler):
    """Score how likely a question has *no* answer, from the start's state and the CLS state.

    Args:
        config: Any object or dict with `hidden_size`.
        initializer_range: Standard deviation of the kernels' truncated normal. Default: 0.02.
        **kwargs: Those of `keras.layers.Layer`.

    Attributes:
        dense_0: Dense, 2 * hidden_size to hidden_size.
        dense_1: Dense, hidden_size to 1, without bias.

    Example:
        >>> from keras import ops
        >>> pooler = PoolerAnswerClass({"hidden_size": 8})
        >>> tuple(pooler(ops.ones((2, 5, 8)), start_positions=ops.array([0, 3])).shape)
        (2,)
    """

    def __init__(self, config: Any, *, initializer_range: float = 0.02, **kwargs: Any) -> None:
        super().__init__(config, initializer_range=initializer_range, **kwargs)
        self.dense_0 = self._dense(self.hidden_size, "dense_0")
        self.dense_1 = self._dense(1, "dense_1", use_bias=False)

    def build(self, input_shape: Any = None) -> None:
        """Make the weights; their sizes do not depend on the input."""
        self.dense_0.build((None, 2 * self.hidden_size))
        self.dense_1.build((None, self.hidden_size))

    def call(
        self,
        hidden_states: Any,
        start_states: Any = None,
        start_positions: Any = None,
        cls_index: Any = None,
        *,
        attention_mask: Any = None,
    ) -> Any:
        """Score the examples.

        Args:
            hidden_states: Floating tensor (batch, seq, hidden_size).
            start_states: Tensor (batch, hidden_size).
            start_positions: Integer tensor (batch,) or (batch, 1); wins over `start_states`.
            cls_index: Integer tensor (batch,) or (batch, 1). Default: the last token.
            attention_mask: Tensor (batch, seq), non-zero = a token. Read only without
                `cls_index`. Default: the Keras mask of the states; without one all are tokens.

        Returns:
            Tensor (batch,).

        Raises:
            ValueError: Neither start is given, a shape does not fit, or a position is out of
                range where values can be read.
        """
        name = type(self).__name__
        self.check_states(hidden_states)
        self.need_start(start_states, start_positions)
        if start_positions is not None:
            start_states = state_at(hidden_states, start_positions, name)
        attention_mask = mask_of(hidden_states, attention_mask)
        if cls_index is not None:
            cls_state = state_at(hidden_states, cls_index, name)
        elif attention_mask is not None:
            cls_state = state_at(hidden_states, last_token(attention_mask), name)
        else:
            cls_state = hidden_states[:, -1]
        x = ops.tanh(self.dense_0(ops.concatenate([start_states, cls_state], axis=-1)))
        # A product without a bias comes back in float32 from a float64 one on some backends.
        return ops.cast(ops.squeeze(self.dense_1(x), -1), self.compute_dtype)

    def compute_output_spec(
        self,
        hidden_states: Any,
        start_states: Any = None,
        start_positions: Any = None,
        cls_index: Any = None,
        *,
        attention_mask: Any = None,
    ) -> keras.KerasTensor:
        """Give (batch,)."""
        self.check_states(hidden_states)
        self.need_start(start_states, start_positions)
        return keras.KerasTensor(hidden_states.shape[:1], dtype=self.compute_dtype)
