"""Where an answer may end, given its start: `PoolerEndLogits`."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from headsmith.keras.config_objects import as_config
from headsmith.keras.dense import is_plain
from headsmith.keras.end_logits import EndWeights, end_scores
from headsmith.keras.p_mask import is_masked, mask_scores, without_masked
from headsmith.keras.pooler import Pooler
from headsmith.keras.take import state_at
from headsmith.spec.chunks import check_chunk_size
from headsmith.spec.configs import read_float

__all__ = ["PoolerEndLogits"]


@keras.saving.register_keras_serializable(package="headsmith")
class PoolerEndLogits(Pooler):
    """Score each token as the end of an answer, given its start.

    The product of the concatenation is split and LayerNorm folded away (see
    `headsmith.keras.end_logits`); the weights are those of the plain way. If `dense_0` or its
    kin were replaced or quantised, they are called.

    Args:
        config: Any object or dict with `hidden_size` and `layer_norm_eps`.
        chunk_size: At most this many tokens at a time, for long inputs; in training the chunks
            are recomputed in the backward pass. Needs a length known when the graph is made.
            Default: all at once.
        initializer_range: Standard deviation of the kernels' truncated normal. Default: 0.02.
        **kwargs: Those of `keras.layers.Layer`.

    Attributes:
        dense_0: Dense, 2 * hidden_size to hidden_size.
        LayerNorm: LayerNormalization over hidden_size.
        dense_1: Dense, hidden_size to 1.

    Example:
        >>> from keras import ops
        >>> pooler = PoolerEndLogits({"hidden_size": 8, "layer_norm_eps": 1e-12})
        >>> tuple(pooler(ops.ones((2, 5, 8)), start_positions=ops.array([0, 3])).shape)
        (2, 5)
    """

    def __init__(
        self,
        config: Any,
        *,
        chunk_size: int | None = None,
        initializer_range: float = 0.02,
        **kwargs: Any,
    ) -> None:
        super().__init__(config, initializer_range=initializer_range, **kwargs)
        name = type(self).__name__
        check_chunk_size(chunk_size, name)
        self.layer_norm_eps = read_float(as_config(config, name), "layer_norm_eps", name)
        self.chunk_size = chunk_size
        self.dense_0 = self._dense(self.hidden_size, "dense_0")
        self.LayerNorm = keras.layers.LayerNormalization(
            epsilon=self.layer_norm_eps, name="LayerNorm", dtype=self.dtype_policy
        )
        self.dense_1 = self._dense(1, "dense_1")

    def build(self, input_shape: Any = None) -> None:
        """Make the weights; their sizes do not depend on the input."""
        self.dense_0.build((None, 2 * self.hidden_size))
        self.LayerNorm.build((None, self.hidden_size))
        self.dense_1.build((None, self.hidden_size))

    def call(
        self,
        hidden_states: Any,
        start_states: Any = None,
        start_positions: Any = None,
        p_mask: Any = None,
    ) -> Any:
        """Score the ends.

        Args:
            hidden_states: Floating tensor (batch, seq, H), or (batch, seq, 1 or starts, H) in a
                beam search.
            start_states: Tensor that broadcasts against it: (batch, 1 or seq, H), or
                (batch, 1 or seq, starts, H).
            start_positions: Integer tensor (batch,) or (batch, 1); wins over `start_states`.
            p_mask: As in `PoolerStartLogits`; (batch, seq, 1 or starts) in a beam search.

        Returns:
            Tensor (batch, seq), or (batch, seq, starts), in the compute dtype.

        Raises:
            ValueError: Neither start is given, a shape does not fit, or a position is out of
                range where values can be read (see `headsmith.keras.take.take_tokens`).
        """
        scores = self._scores(hidden_states, start_states, start_positions, p_mask)
        return ops.cast(scores, self.compute_dtype)

    def _scores(
        self, hidden_states: Any, start_states: Any, start_positions: Any, p_mask: Any
    ) -> Any:
        name = type(self).__name__
        self._output_shape(hidden_states, start_states, start_positions)
        if start_positions is not None:
            start_states = ops.expand_dims(state_at(hidden_states, start_positions, name), 1)
        if p_mask is not None:
            masked = is_masked(p_mask)
            if len(hidden_states.shape) == 4 and p_mask.shape[-1] != hidden_states.shape[2]:
                masked = ops.all(masked, axis=-1, keepdims=True)
            hidden_states = without_masked(hidden_states, masked)
        if self._is_plain():
            scores = end_scores(
                hidden_states, start_states, self._weights(), chunk_size=self.chunk_size
            )
        else:
            ones = ops.ones_like(start_states[..., :1])
            tokens = hidden_states * ones
            both = [tokens, ops.broadcast_to(start_states, ops.shape(tokens))]
            x = self.LayerNorm(ops.tanh(self.dense_0(ops.concatenate(both, axis=-1))))
            scores = ops.squeeze(self.dense_1(x), -1)
        return scores if p_mask is None else mask_scores(scores, p_mask, self.compute_dtype)

    def _weights(self) -> EndWeights:
        tensor, last = ops.convert_to_tensor, self.dense_1
        return EndWeights(
            tensor(self.dense_0.kernel),
            None if self.dense_0.bias is None else tensor(self.dense_0.bias),
            tensor(self.LayerNorm.gamma),
            tensor(self.LayerNorm.beta),
            tensor(last.kernel),
            None if last.bias is None else tensor(last.bias),
            self.LayerNorm.epsilon,
        )

    def _is_plain(self) -> bool:
        """Are the layers what `__init__` made, so that their weights say all about them?"""
        return (
            is_plain(self.dense_0)
            and is_plain(self.dense_1)
            and type(self.LayerNorm) is keras.layers.LayerNormalization
        )

    def _output_shape(
        self, hidden_states: Any, start_states: Any, start_positions: Any
    ) -> tuple[int | None, ...]:
        name = type(self).__name__
        self.check_states(hidden_states, (3, 4))
        shape = tuple(hidden_states.shape)
        if start_positions is not None:
            if len(shape) == 4:
                raise ValueError(
                    f"{name} expects `start_states` beside hidden states of four dimensions. "
                    "Received: `start_positions`."
                )
            return shape[:-1]
        self.need_start(start_states, start_positions)
        other = tuple(start_states.shape)
        if len(other) != len(shape) or other[-1] not in (None, self.hidden_size):
            raise ValueError(
                f"{name} expects `start_states` that broadcast against `hidden_states`. "
                f"Received: {other} beside {shape}."
            )
        return tuple(
            mine if theirs == 1 else theirs if mine in (1, None) and theirs is not None else mine
            for mine, theirs in zip(shape[:-1], other[:-1], strict=True)
        )

    def compute_output_spec(
        self,
        hidden_states: Any,
        start_states: Any = None,
        start_positions: Any = None,
        p_mask: Any = None,
    ) -> keras.KerasTensor:
        """Give (batch, seq) or (batch, seq, starts)."""
        shape = self._output_shape(hidden_states, start_states, start_positions)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def _fields(self) -> dict[str, Any]:
        return {**super()._fields(), "layer_norm_eps": self.layer_norm_eps}

    def get_config(self) -> dict[str, Any]:
        """Give the arguments, for `from_config`: of the config, the fields that are read."""
        return {**super().get_config(), "chunk_size": self.chunk_size}
