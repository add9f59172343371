"""Where an answer may start: `PoolerStartLogits`."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from headsmith.keras.p_mask import is_masked, mask_scores, without_masked
from headsmith.keras.pooler import Pooler

__all__ = ["PoolerStartLogits"]


@keras.saving.register_keras_serializable(package="headsmith")
class PoolerStartLogits(Pooler):
    """Score each token as the start of an answer: one linear layer and a mask.

    Args:
        config: Any object or dict with `hidden_size`.
        initializer_range: Standard deviation of the kernel's truncated normal. Default: 0.02.
        **kwargs: Those of `keras.layers.Layer`.

    Attributes:
        dense: Dense, hidden_size to 1.

    Example:
        >>> from keras import ops
        >>> tuple(PoolerStartLogits({"hidden_size": 8})(ops.ones((2, 5, 8))).shape)
        (2, 5)
    """

    def __init__(self, config: Any, *, initializer_range: float = 0.02, **kwargs: Any) -> None:
        super().__init__(config, initializer_range=initializer_range, **kwargs)
        self.dense = self._dense(1, "dense")

    def build(self, input_shape: Any = None) -> None:
        """Make the weights; their sizes do not depend on the input."""
        self.dense.build((None, self.hidden_size))

    def call(self, hidden_states: Any, p_mask: Any = None) -> Any:
        """Score the starts.

        Args:
            hidden_states: Floating tensor (batch, seq, hidden_size).
            p_mask: Tensor (batch, seq), 1 or True = cannot be an answer. Floats between 0 and
                1 are degrees. Default: nothing is masked.

        Returns:
            Tensor (batch, seq); masked scores are -1e30, or -65500 with float16.

        Raises:
            ValueError: `hidden_states` is of another shape.
        """
        self.check_states(hidden_states)
        if p_mask is not None:
            hidden_states = without_masked(hidden_states, is_masked(p_mask))
        scores = ops.squeeze(self.dense(hidden_states), -1)
        return scores if p_mask is None else mask_scores(scores, p_mask)

    def compute_output_spec(self, hidden_states: Any, p_mask: Any = None) -> keras.KerasTensor:
        """Give (batch, seq)."""
        self.check_states(hidden_states)
        return keras.KerasTensor(hidden_states.shape[:2], dtype=self.compute_dtype)
