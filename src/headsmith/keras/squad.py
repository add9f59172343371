"""The SQuAD 2.0 head of XLNet for Keras: beam search over starts, ends, and answerability.

From Yang et al. 2019, "XLNet" (https://arxiv.org/abs/1906.08237). Transformers 4.34 had it for
PyTorch alone (`transformers.modeling_utils`); names, weights, losses and predictions are those of
`headsmith.torch`, and `headsmith.convert` moves weights between the two.

```
hidden states (batch, seq, H)
   ├─ start_logits ── softmax ── top start_n_top ──┐ states of the best starts
   ├─ end_logits ◄─────────────────────────────────┘ ── softmax ── top end_n_top of each
   └─ answer_class ◄── [start state, CLS state] ── one logit: can the question be answered?
```
"""

from __future__ import annotations

import warnings
from dataclasses import asdict
from typing import Any, Literal

import keras
from keras import ops

from headsmith.keras.config_objects import as_config
from headsmith.keras.end_logits import EndWeights, end_scores
from headsmith.keras.initializers import get_initializer
from headsmith.keras.keras_mask import get_keras_mask
from headsmith.keras.linear import compute_dtype, named_dtype
from headsmith.keras.p_mask import is_masked, mask_scores, without_masked
from headsmith.keras.squad_output import FIELDS
from headsmith.keras.take import last_token, state_at, take_tokens
from headsmith.spec.configs import read_float, read_int, read_squad_config

__all__ = [
    "PoolerAnswerClass",
    "PoolerEndLogits",
    "PoolerStartLogits",
    "SQuADHead",
    "position_loss",
    "soft_start_state",
]

_Shape = tuple[int | None, ...]


def _check_states(states: Any, size: int, ranks: tuple[int, ...], reader: str) -> None:
    shape = tuple(states.shape)
    if len(shape) not in ranks or shape[-1] not in (None, size) or shape[1] == 0:
        wanted = "(batch, seq, hidden_size)"
        if 4 in ranks:
            wanted += " or (batch, seq, starts, hidden_size)"
        raise ValueError(
            f"{reader} expects `hidden_states` of shape {wanted} with hidden_size {size} and at "
            f"least one token. Received: {shape}."
        )


def _need_start(reader: str) -> ValueError:
    return ValueError(
        f"{reader} expects one of `start_states` and `start_positions`. Received: neither."
    )


def _mask_of(hidden_states: Any, attention_mask: Any) -> Any:
    """Give the attention mask, or the Keras mask of the states if there is none."""
    return get_keras_mask(hidden_states) if attention_mask is None else attention_mask


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
    each = ops.where(known, ops.logsumexp(logits, axis=-1) - picked, zero)
    return ops.sum(each) / ops.maximum(ops.sum(ops.cast(known, logits.dtype)), 1)


def _answer_loss(logits: Any, is_impossible: Any, known: Any) -> Any:
    """Give the mean binary cross-entropy over the examples that are known."""
    logits = ops.cast(logits, compute_dtype(named_dtype(logits)))
    target = ops.cast(is_impossible, logits.dtype)
    each = ops.softplus(logits) - target * logits
    each = ops.where(known, each, ops.zeros((), dtype=logits.dtype))
    return ops.sum(each) / ops.maximum(ops.sum(ops.cast(known, logits.dtype)), 1)


class _Pooler(keras.layers.Layer):  # type: ignore[misc]
    """What the three poolers share: a config of which `hidden_size` is read, and its keeping."""

    def __init__(self, config: Any, *, initializer_range: float = 0.02, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        config = as_config(config, type(self).__name__)
        self.hidden_size = read_int(config, "hidden_size", type(self).__name__)
        self.initializer_range = initializer_range
        self.supports_masking = True

    def _dense(self, units: int, name: str, *, use_bias: bool = True) -> keras.layers.Dense:
        return keras.layers.Dense(
            units,
            use_bias=use_bias,
            kernel_initializer=get_initializer(self.initializer_range),
            name=name,
            dtype=self.dtype_policy,
        )

    def _fields(self) -> dict[str, Any]:
        return {"hidden_size": self.hidden_size}

    def get_config(self) -> dict[str, Any]:
        """Give the arguments, for `from_config`: of the config, the fields that are read."""
        own = {"config": self._fields(), "initializer_range": self.initializer_range}
        return {**super().get_config(), **own}

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """Give none: scores are no sequence of states."""


@keras.saving.register_keras_serializable(package="headsmith")
class PoolerStartLogits(_Pooler):
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
        _check_states(hidden_states, self.hidden_size, (3,), type(self).__name__)
        if p_mask is not None:
            hidden_states = without_masked(hidden_states, is_masked(p_mask))
        scores = ops.squeeze(self.dense(hidden_states), -1)
        return scores if p_mask is None else mask_scores(scores, p_mask)

    def compute_output_spec(self, hidden_states: Any, p_mask: Any = None) -> keras.KerasTensor:
        """Give (batch, seq)."""
        _check_states(hidden_states, self.hidden_size, (3,), type(self).__name__)
        return keras.KerasTensor(hidden_states.shape[:2], dtype=self.compute_dtype)


@keras.saving.register_keras_serializable(package="headsmith")
class PoolerEndLogits(_Pooler):
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
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(
                f"{name} expects `chunk_size` to be 1 or more, or None. Received: {chunk_size!r}."
            )
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
            all(
                type(dense) is keras.layers.Dense
                and getattr(dense, "quantization_mode", None) is None
                for dense in (self.dense_0, self.dense_1)
            )
            and type(self.LayerNorm) is keras.layers.LayerNormalization
        )

    def _output_shape(self, hidden_states: Any, start_states: Any, start_positions: Any) -> _Shape:
        name = type(self).__name__
        _check_states(hidden_states, self.hidden_size, (3, 4), name)
        shape = tuple(hidden_states.shape)
        if start_positions is not None:
            if len(shape) == 4:
                raise ValueError(
                    f"{name} expects `start_states` beside hidden states of four dimensions. "
                    "Received: `start_positions`."
                )
            return shape[:-1]
        if start_states is None:
            raise _need_start(name)
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


@keras.saving.register_keras_serializable(package="headsmith")
class PoolerAnswerClass(_Pooler):
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
        _check_states(hidden_states, self.hidden_size, (3,), name)
        if start_positions is not None:
            start_states = state_at(hidden_states, start_positions, name)
        if start_states is None:
            raise _need_start(name)
        attention_mask = _mask_of(hidden_states, attention_mask)
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
        _check_states(hidden_states, self.hidden_size, (3,), type(self).__name__)
        if start_states is None and start_positions is None:
            raise _need_start(type(self).__name__)
        return keras.KerasTensor(hidden_states.shape[:1], dtype=self.compute_dtype)


def _warn_of_half(given: str) -> None:
    """Say that one of two inputs came alone."""
    missing = "cls_index" if given == "is_impossible" else "is_impossible"
    warnings.warn(
        f"SQuADHead got `{given}` without `{missing}`: the answer class takes no part in this "
        "loss. Give both to train it, or neither.",
        UserWarning,
        stacklevel=3,
    )


def _flat(labels: Any) -> Any:
    """Give (batch,) from (batch,) or (batch, 1)."""
    return ops.squeeze(labels, -1) if len(labels.shape) > 1 else labels


def _at_most(number: int, length: Any) -> Any:
    """Give the smaller of a number and a length that a captured graph may not know yet."""
    return min(number, length) if isinstance(length, int) else ops.minimum(number, length)


@keras.saving.register_keras_serializable(package="headsmith")
class SQuADHead(keras.layers.Layer):  # type: ignore[misc]
    """The SQuAD 2.0 head: a loss from labels, or a beam search over answer spans.

    `headsmith.torch.SQuADHead` for Keras, with its arguments, losses and outputs:

    - `p_mask` may be bool, integer or float, labels of any dtype, (batch,) or (batch, 1);
    - positions outside [0, seq), -100 among them, are ignored; if all are, the loss is 0;
    - `start_n_top` and `end_n_top` may exceed the length: they are clamped to it;
    - what stands at masked positions does not matter, infinite or NaN;
    - `return_predictions=True` gives the loss and the predictions of one call;
    - `cls_index` without `is_impossible`, or the reverse, warns: the answer class would not
      be trained, in silence.

    **Which start trains the answer class.** 4.34 shows it the state of the *gold* start, which
    is CLS exactly where there is no answer: the label leaks, and the class scores far worse
    at inference, where it sees a soft start. `answer_start="gold"` keeps that, for the same
    losses as 4.34. To train a new model use `answer_start="soft"`: the state averaged by the
    start probabilities, as XLNet does and as inference does in both settings.

    Args:
        config: Any object or dict with `hidden_size`, `layer_norm_eps`, `start_n_top`,
            `end_n_top`.
        answer_start: "gold" (default, 4.34's training loss) or "soft" (recommended).
        log_probs: Whether `*_log_probs` are logarithms. False, as in 4.34, gives
            probabilities in spite of the name.
        chunk_size: See `PoolerEndLogits`.
        initializer_range: Standard deviation of the kernels' truncated normal. Default: 0.02.
        **kwargs: Those of `keras.layers.Layer`.

    Raises:
        AttributeError: A field is missing in `config`; the message names it.
        TypeError: `config` is no config.
        ValueError: A field is out of its range, or `answer_start` unknown.

    Example:
        >>> from keras import ops, random
        >>> from headsmith.spec.configs import SquadHeadConfig
        >>> from headsmith.keras import pair_spans
        >>> head = SQuADHead(SquadHeadConfig(hidden_size=8, start_n_top=3, end_n_top=2))
        >>> hidden_states = random.normal((2, 10, 8))
        >>> (loss,) = head(hidden_states, ops.array([1, 4]), ops.array([2, 4]))
        >>> tuple(loss.shape)
        ()
        >>> tuple(pair_spans(*head(hidden_states)[:4]).end_index.shape)
        (2, 3, 2)
    """

    def __init__(
        self,
        config: Any,
        *,
        answer_start: Literal["gold", "soft"] = "gold",
        log_probs: bool = False,
        chunk_size: int | None = None,
        initializer_range: float = 0.02,
        **kwargs: Any,
    ) -> None:
        # Positions and masks may be floats, which must not be rounded to 16 bits.
        super().__init__(**{"autocast": False, **kwargs})
        if answer_start not in ("gold", "soft"):
            raise ValueError(
                f'SQuADHead expects `answer_start` to be "gold" or "soft". '
                f"Received: {answer_start!r}."
            )
        checked = read_squad_config(as_config(config, "SQuADHead"))
        self._read = checked
        self.start_n_top = checked.start_n_top
        self.end_n_top = checked.end_n_top
        self.answer_start = answer_start
        self.log_probs = log_probs
        self.chunk_size = chunk_size
        self.initializer_range = initializer_range
        self.supports_masking = True
        shared: dict[str, Any] = {
            "initializer_range": initializer_range,
            "dtype": self.dtype_policy,
        }
        self.start_logits = PoolerStartLogits(checked, name="start_logits", **shared)
        self.end_logits = PoolerEndLogits(
            checked, chunk_size=chunk_size, name="end_logits", **shared
        )
        self.answer_class = PoolerAnswerClass(checked, name="answer_class", **shared)

    def build(self, input_shape: Any = None) -> None:
        """Make the weights; their sizes do not depend on the input."""
        for pooler in (self.start_logits, self.end_logits, self.answer_class):
            pooler.build((None, None, self._read.hidden_size))

    def call(
        self,
        hidden_states: Any,
        start_positions: Any = None,
        end_positions: Any = None,
        cls_index: Any = None,
        is_impossible: Any = None,
        p_mask: Any = None,
        return_dict: bool = False,
        *,
        attention_mask: Any = None,
        return_predictions: bool = False,
    ) -> Any:
        """Compute the loss if both positions are given, the beams otherwise.

        Args:
            hidden_states: Floating tensor (batch, seq, hidden_size).
            start_positions: Tensor (batch,) or (batch, 1). Outside [0, seq) = ignored, with the
                end and, for `answer_start="gold"`, the answer class of that example.
            end_positions: Tensor (batch,) or (batch, 1). Outside [0, seq) = ignored.
            cls_index: Tensor (batch,) or (batch, 1). Default: the last token.
            is_impossible: Bool, integer or float tensor (batch,) or (batch, 1), 1 = there is no
                answer.
            p_mask: As in `PoolerStartLogits`.
            return_dict: Whether to give a dict and not a tuple.
            attention_mask: Tensor (batch, seq), non-zero = a token; says which token is last
                when `cls_index` is not given. Default: the Keras mask of the hidden states;
                without one all are tokens.
            return_predictions: Whether to give the predictions beside the loss. They carry
                no gradient then.

        Returns:
            A tuple, or a dict, of those of these that apply, in this order:

            - loss: scalar: 0.5 * (start + end) cross-entropy, + 0.5 * binary cross-entropy of
              the answer class if `cls_index` and `is_impossible` are given.
            - start_top_log_probs: (batch, S), best first, S = min(start_n_top, seq).
            - start_top_index: int32 (batch, S).
            - end_top_log_probs: (batch, E * S), E = min(end_n_top, seq), flattened from (E, S):
              see `pair_spans`.
            - end_top_index: int32 (batch, E * S).
            - cls_logits: (batch,), larger = the question is less likely to have an answer.

            Losses and probabilities are computed in float32 or above and given in the dtype of
            the weights; `cls_logits` in the compute dtype.

        Raises:
            ValueError: A shape is wrong, or a `cls_index` out of range where values can be read.

        Warns:
            UserWarning: Only one of `cls_index` and `is_impossible` came with the positions.
        """
        _check_states(hidden_states, self._read.hidden_size, (3,), type(self).__name__)
        self._check_rows(hidden_states, start_positions, end_positions, cls_index, is_impossible)
        attention_mask = _mask_of(hidden_states, attention_mask)
        hidden_states = ops.cast(hidden_states, self.compute_dtype)
        cls_index = None if cls_index is None else ops.cast(_flat(cls_index), "int32")
        output: dict[str, Any] = {}
        if start_positions is None or end_positions is None:
            output = self._predict(hidden_states, cls_index, p_mask, attention_mask)
        else:
            output["loss"] = self._loss(
                hidden_states,
                ops.cast(_flat(start_positions), "int32"),
                ops.cast(_flat(end_positions), "int32"),
                cls_index,
                None if is_impossible is None else _flat(is_impossible),
                p_mask,
            )
            if return_predictions:
                found = self._predict(hidden_states, cls_index, p_mask, attention_mask)
                output.update({name: ops.stop_gradient(value) for name, value in found.items()})
        return output if return_dict else tuple(output.values())

    def _check_rows(self, hidden_states: Any, *labels: Any) -> None:
        batch = hidden_states.shape[0]
        names = ("start_positions", "end_positions", "cls_index", "is_impossible")
        for name, value in zip(names, labels, strict=True):
            shape = () if value is None else tuple(value.shape)
            good = value is None or len(shape) == 1 or (len(shape) == 2 and shape[1] in (1, None))
            if not good or (shape and batch is not None and shape[0] not in (None, batch)):
                raise ValueError(
                    f"SQuADHead expects `{name}` of shape (batch,) or (batch, 1) beside "
                    f"`hidden_states` of shape {tuple(hidden_states.shape)}. Received: {shape}."
                )

    def _predict(
        self, hidden_states: Any, cls_index: Any, p_mask: Any, attention_mask: Any
    ) -> dict[str, Any]:
        start_scores = self._normalise(self.start_logits(hidden_states, p_mask=p_mask), -1)
        length = ops.shape(hidden_states)[1]
        top, index = ops.top_k(start_scores, _at_most(self.start_n_top, length))
        index = ops.cast(index, "int32")
        # With fewer candidates than beams, some beams start at masked positions.
        readable = hidden_states
        if p_mask is not None:
            readable = without_masked(hidden_states, self._spoilt(hidden_states, p_mask))
        beams = take_tokens(readable, index)
        end_logits = self.end_logits(
            ops.expand_dims(hidden_states, 2),
            start_states=ops.expand_dims(beams, 1),
            p_mask=None if p_mask is None else ops.expand_dims(p_mask, -1),
        )
        # The best ends are sought along the last dimension: (batch, starts, seq).
        end_scores = self._normalise(ops.transpose(end_logits, (0, 2, 1)), -1)
        end_top, end_index = ops.top_k(end_scores, _at_most(self.end_n_top, length))
        batch = ops.shape(hidden_states)[0]

        def flat(x: Any) -> Any:
            return ops.reshape(ops.transpose(x, (0, 2, 1)), (batch, -1))

        cls_logits = self.answer_class(
            hidden_states,
            start_states=soft_start_state(
                hidden_states, ops.exp(start_scores) if self.log_probs else start_scores, p_mask
            ),
            cls_index=cls_index,
            attention_mask=attention_mask,
        )
        found = (
            ops.cast(top, self.variable_dtype),
            index,
            ops.cast(flat(end_top), self.variable_dtype),
            ops.cast(flat(end_index), "int32"),
            cls_logits,
        )
        return dict(zip(FIELDS[1:], found, strict=True))

    def _spoilt(self, hidden_states: Any, p_mask: Any) -> Any:
        """Tell the masked positions whose states are not finite."""
        finite = ops.all(ops.isfinite(hidden_states), axis=-1)
        return ops.logical_and(is_masked(p_mask), ops.logical_not(finite))

    def _normalise(self, logits: Any, axis: int) -> Any:
        logits = ops.cast(logits, compute_dtype(named_dtype(logits)))
        return ops.log_softmax(logits, axis) if self.log_probs else ops.softmax(logits, axis)

    def _loss(
        self,
        hidden_states: Any,
        start_positions: Any,
        end_positions: Any,
        cls_index: Any,
        is_impossible: Any,
        p_mask: Any,
    ) -> Any:
        length = ops.shape(hidden_states)[1]
        known = ops.logical_and(start_positions >= 0, start_positions < length)
        state = take_tokens(hidden_states, ops.where(known, start_positions, 0))
        start_logits = self.start_logits(hidden_states, p_mask=p_mask)
        end_logits = self.end_logits(
            hidden_states, start_states=ops.expand_dims(state, 1), p_mask=p_mask
        )
        # The end is scored given the start, so an unknown start takes the end with it.
        ends = ops.where(known, end_positions, -100)
        loss = (position_loss(start_logits, start_positions) + position_loss(end_logits, ends)) / 2
        if cls_index is not None and is_impossible is not None:
            if self.answer_start == "soft":
                logits = ops.cast(start_logits, compute_dtype(named_dtype(start_logits)))
                state = soft_start_state(hidden_states, ops.softmax(logits, -1), p_mask)
                known = ops.ones_like(known)
            cls_logits = self.answer_class(hidden_states, start_states=state, cls_index=cls_index)
            loss = loss + 0.5 * _answer_loss(cls_logits, is_impossible, known)
        elif (cls_index is None) != (is_impossible is None):
            _warn_of_half("is_impossible" if cls_index is None else "cls_index")
        return ops.cast(loss, self.variable_dtype)

    def compute_output_spec(
        self,
        hidden_states: Any,
        start_positions: Any = None,
        end_positions: Any = None,
        cls_index: Any = None,
        is_impossible: Any = None,
        p_mask: Any = None,
        return_dict: bool = False,
        *,
        attention_mask: Any = None,
        return_predictions: bool = False,
    ) -> Any:
        """Give the shapes and dtypes of what `call` returns."""
        _check_states(hidden_states, self._read.hidden_size, (3,), type(self).__name__)
        self._check_rows(hidden_states, start_positions, end_positions, cls_index, is_impossible)
        batch, length, _ = hidden_states.shape
        with_loss = start_positions is not None and end_positions is not None
        starts = ends = None
        if length is not None:
            starts = min(self.start_n_top, length)
            ends = starts * min(self.end_n_top, length)
        shapes: dict[str, tuple[_Shape, str]] = {}
        if with_loss:
            shapes["loss"] = ((), self.variable_dtype)
        if return_predictions or not with_loss:
            found = (
                ((batch, starts), self.variable_dtype),
                ((batch, starts), "int32"),
                ((batch, ends), self.variable_dtype),
                ((batch, ends), "int32"),
                ((batch,), self.compute_dtype),
            )
            shapes.update(zip(FIELDS[1:], found, strict=True))
        output = {
            name: keras.KerasTensor(shape, dtype=dtype) for name, (shape, dtype) in shapes.items()
        }
        return output if return_dict else tuple(output.values())

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """Give none: scores are no sequence of states."""

    def get_config(self) -> dict[str, Any]:
        """Give the arguments, for `from_config`: of the config, the fields that are read."""
        own = {
            "config": asdict(self._read),
            "answer_start": self.answer_start,
            "log_probs": self.log_probs,
            "chunk_size": self.chunk_size,
            "initializer_range": self.initializer_range,
        }
        return {**super().get_config(), **own}
