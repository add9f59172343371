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

from headsmith.keras.answer_pooler import PoolerAnswerClass
from headsmith.keras.config_objects import as_config
from headsmith.keras.end_pooler import PoolerEndLogits
from headsmith.keras.keras_mask import mask_of
from headsmith.keras.linear import compute_dtype, named_dtype
from headsmith.keras.p_mask import is_masked, without_masked
from headsmith.keras.pooler import check_states
from headsmith.keras.squad_loss import answer_loss, position_loss, soft_start_state
from headsmith.keras.squad_output import FIELDS
from headsmith.keras.start_pooler import PoolerStartLogits
from headsmith.keras.take import take_tokens
from headsmith.spec.configs import read_squad_config

__all__ = [
    "PoolerAnswerClass",
    "PoolerEndLogits",
    "PoolerStartLogits",
    "SQuADHead",
    "position_loss",
    "soft_start_state",
]

_Shape = tuple[int | None, ...]


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
        check_states(hidden_states, self._read.hidden_size, (3,), type(self).__name__)
        self._check_rows(hidden_states, start_positions, end_positions, cls_index, is_impossible)
        attention_mask = mask_of(hidden_states, attention_mask)
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

        def flat(x: Any) -> Any:
            batch, starts, ends = ops.shape(x)
            return ops.reshape(ops.transpose(x, (0, 2, 1)), (batch, ends * starts))

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
            loss = loss + 0.5 * answer_loss(cls_logits, is_impossible, known)
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
        check_states(hidden_states, self._read.hidden_size, (3,), type(self).__name__)
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
