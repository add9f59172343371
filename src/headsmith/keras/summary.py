"""One vector for a whole sequence: `TFSequenceSummary` of Transformers 4.34, for Keras."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, NamedTuple

import keras
from keras import ops

from headsmith.keras.activations import get_activation
from headsmith.keras.attention_pooling import AttentionPooling, attention_pool
from headsmith.keras.config_objects import as_config
from headsmith.keras.dense import call_dense
from headsmith.keras.initializers import get_initializer
from headsmith.keras.keras_mask import mask_of
from headsmith.keras.linear import compute_dtype, mean, named_dtype
from headsmith.keras.p_mask import without_masked
from headsmith.keras.take import last_token, take_tokens
from headsmith.spec.configs import SummaryConfig, read_summary_config

__all__ = [
    "AttentionPooling",
    "SequenceSummary",
    "TFSequenceSummary",
    "attention_pool",
    "last_token",
    "summarize",
]

_READER = "SequenceSummary"


def summarize(
    hidden_states: Any,
    summary_type: str = "last",
    *,
    cls_index: Any = None,
    attention_mask: Any = None,
) -> Any:
    """Reduce the sequence dimension to one vector, without weights.

    Without a mask these are 4.34's results. It takes the last position for the last token, and
    the mean over padding too, so its answer changes with the padding; with `attention_mask`
    only tokens count, on whichever side the padding is.

    Args:
        hidden_states: Floating tensor (..., seq, H). Without a mask, "last", "first" and "mean"
            reduce dimension 1 as in 4.34, which is the sequence if there are three dimensions.
        summary_type: "last" (default), "first", "mean" or "cls_index".
        cls_index: Integer tensor (...), (..., 1) or (..., 1, n) for "cls_index"; the last
            gives n vectors. Default: the last token.
        attention_mask: Bool, integer or float tensor (..., seq), non-zero = a token. Default:
            all are tokens. An example without tokens gives its last state, its first state or
            zeros ("mean").

    Returns:
        Tensor (..., H), or (..., n, H), in the dtype of `hidden_states`. Means are summed in
        float32.

    Raises:
        ValueError: An unknown type, shapes that do not fit, or an index out of range where
            values can be read (see `headsmith.keras.take.take_tokens`).

    Example:
        >>> from keras import ops
        >>> h = ops.array([[[1.0], [3.0], [100.0]]])
        >>> float(summarize(h, "mean", attention_mask=ops.array([[1, 1, 0]]))[0, 0])
        2.0
    """
    summary_shape(hidden_states, summary_type, cls_index, attention_mask)
    if summary_type == "last":
        if attention_mask is None:
            return hidden_states[:, -1]
        return take_tokens(hidden_states, last_token(attention_mask))
    if summary_type == "first":
        if attention_mask is None:
            return hidden_states[:, 0]
        tokens = ops.cast(ops.not_equal(attention_mask, 0), "int32")
        return take_tokens(hidden_states, ops.argmax(tokens, axis=-1))
    if summary_type == "mean":
        if attention_mask is None:
            return mean(hidden_states, 1)
        return _masked_mean(hidden_states, ops.not_equal(attention_mask, 0))
    if cls_index is not None:
        lead = tuple(hidden_states.shape)[:-2]
        if len(cls_index.shape) > len(lead):
            cls_index = ops.squeeze(cls_index, len(lead))
        if tuple(cls_index.shape)[: len(lead)] != lead or None in lead:
            several = ops.shape(cls_index)[len(lead) :]
            cls_index = ops.broadcast_to(cls_index, (*ops.shape(hidden_states)[:-2], *several))
        return take_tokens(hidden_states, cls_index, _READER)
    if attention_mask is not None:
        return take_tokens(hidden_states, last_token(attention_mask))
    return hidden_states[..., -1, :]


def _masked_mean(hidden_states: Any, keep: Any) -> Any:
    own = named_dtype(hidden_states)
    dtype = compute_dtype(own)
    # Filled and not multiplied: padding may hold infinities.
    kept = without_masked(ops.cast(hidden_states, dtype), ops.logical_not(keep))
    count = ops.maximum(ops.sum(ops.cast(keep, dtype), axis=-1, keepdims=True), 1)
    return ops.cast(ops.sum(kept, axis=-2) / count, own)


def summary_shape(
    hidden_states: Any, summary_type: str, cls_index: Any = None, attention_mask: Any = None
) -> tuple[int | None, ...]:
    """Check the shapes and give that of the summary; None stands for what is not known yet.

    Args:
        hidden_states: Tensor or `KerasTensor`.
        summary_type: One of `headsmith.spec.configs.SUMMARY_TYPES`.
        cls_index: As in `summarize`.
        attention_mask: As in `summarize`.

    Returns:
        The shape.

    Raises:
        ValueError: A shape or the type is wrong.

    Example:
        >>> import keras
        >>> summary_shape(keras.KerasTensor((None, None, 8)), "mean")
        (None, 8)
    """
    shape = tuple(hidden_states.shape)
    if len(shape) < 3:
        raise ValueError(
            f"{_READER} expects hidden states of shape (batch, ..., seq, hidden). "
            f"Received: {shape}."
        )
    *lead, _, size = shape
    if attention_mask is not None and not _fits(tuple(attention_mask.shape), shape[:-1]):
        raise ValueError(
            f"{_READER} expects an `attention_mask` of shape (..., seq) beside hidden states "
            f"(..., seq, hidden). Received: {tuple(attention_mask.shape)} beside {shape}."
        )
    if summary_type in ("last", "first", "mean"):
        return (*lead, size) if attention_mask is not None else (shape[0], *shape[2:])
    if summary_type == "attn":
        return (*lead, size)
    if summary_type != "cls_index":
        raise ValueError(
            'Expected `summary_type` to be "last", "first", "mean" or "cls_index". '
            f"Received: {summary_type!r}."
        )
    if cls_index is None:
        return (*lead, size)
    index = tuple(cls_index.shape)
    more = index[len(lead) :]
    if not _fits(index[: len(lead)], tuple(lead)) or (more and more[0] not in (1, None)):
        raise ValueError(
            f"{_READER} expects a `cls_index` of shape (...), (..., 1) or (..., 1, n) beside "
            f"hidden states (..., seq, hidden). Received: {index} beside {shape}."
        )
    if "int" not in named_dtype(cls_index):
        raise ValueError(
            f"{_READER} expects a `cls_index` of whole numbers. "
            f"Received: dtype {named_dtype(cls_index)}."
        )
    return (*lead, *more[1:], size)


def _fits(shape: tuple[int | None, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        mine is None or theirs is None or mine == theirs
        for mine, theirs in zip(shape, expected, strict=True)
    )


class _Inputs(NamedTuple):
    hidden_states: Any
    cls_index: Any
    attention_mask: Any


def _unpack(inputs: Any, cls_index: Any, attention_mask: Any) -> _Inputs:
    """Read a tensor, a list or tuple, or a dict; the last two win over the keyword, as in 4.34."""
    if isinstance(inputs, (list, tuple)):
        if len(inputs) > 2:
            raise AssertionError(
                f"Too many inputs. {_READER} expects at most two, (hidden_states, cls_index). "
                f"Received: {len(inputs)}."
            )
        hidden_states = inputs[0] if inputs else None
        cls_index = inputs[1] if len(inputs) > 1 else None
    elif isinstance(inputs, Mapping):
        hidden_states = inputs.get("hidden_states")
        cls_index = inputs.get("cls_index")
        attention_mask = inputs.get("attention_mask", attention_mask)
    else:
        hidden_states = inputs
    if hidden_states is None:
        received = f"the keys {list(inputs)}" if isinstance(inputs, Mapping) else repr(inputs)
        raise ValueError(
            f"{_READER} expects hidden states: a tensor, a list or tuple that begins with it, or "
            f'a dict with the key "hidden_states". Received: {received}.'
        )
    return _Inputs(hidden_states, cls_index, mask_of(hidden_states, attention_mask))


def _settings(config: Any, summary_type: str | None) -> SummaryConfig:
    """Read the config; 4.34 reads `summary_type` only beside `summary_use_proj`."""
    fields = as_config(config, _READER)
    told = getattr(fields, "summary_type", "last")
    if summary_type is None and not hasattr(fields, "summary_use_proj"):
        summary_type = "last"
        if told != "last":
            warnings.warn(
                f"{_READER} reads `config.summary_type` only if the config has "
                f"`summary_use_proj`, as in Transformers 4.34: {told!r} is not used. Set "
                f"`config.summary_use_proj`, or pass `summary_type={told!r}`.",
                UserWarning,
                stacklevel=4,
            )
    if summary_type is not None and summary_type != told:
        names = (*SummaryConfig.__dataclass_fields__, "num_attention_heads")
        read = {name: getattr(fields, name) for name in names if hasattr(fields, name)}
        fields = SimpleNamespace(**{**read, "summary_type": summary_type})
    return read_summary_config(fields)


@keras.saving.register_keras_serializable(package="headsmith")
class SequenceSummary(keras.layers.Layer):  # type: ignore[misc]
    """One vector for a sequence: pick or pool, then dropout, projection, activation, dropout.

    `TFSequenceSummary` of Transformers 4.34. As there, `config.summary_type` counts only if the
    config has `summary_use_proj`, on or off; without it the type is "last", now with a warning.
    Mended: `summary_type=` says it outright; `attention_mask`, or the Keras mask of the hidden
    states; "attn" works; an unknown type is refused at once; the projection follows the layer's
    dtype policy; `get_config`.

    Args:
        config: Any object or dict; every field may be missing.

            - summary_type: "last" (default), "first", "mean", "cls_index" or "attn".
            - summary_use_proj: whether to project, to `num_labels` values if
              `summary_proj_to_labels` is set and there are labels, else to `hidden_size`.
            - summary_activation: a name of `headsmith.keras.activations`, or None.
            - summary_first_dropout, summary_last_dropout: probabilities in [0, 1].
            - summary_num_heads: heads of "attn" (default: `num_attention_heads`, or 1).
        initializer_range: Standard deviation of the weights' truncated normal. Default: 0.02.
        summary_type: In place of the config's. Default: the config's.
        **kwargs: Those of `keras.layers.Layer`.

    Attributes:
        summary: The projection, a Dense; None without one.
        attention: The `AttentionPooling` of "attn"; None otherwise.

    Raises:
        AttributeError: `hidden_size` or `num_labels` is needed and missing.
        KeyError: An unknown activation.
        TypeError: `config` is no config.
        ValueError: An unknown summary type, or a field out of its range.

    Example:
        >>> from keras import ops
        >>> from headsmith.spec.configs import SummaryConfig
        >>> config = SummaryConfig(hidden_size=8, summary_type="mean", summary_use_proj=True)
        >>> tuple(SequenceSummary(config)(ops.ones((2, 5, 8))).shape)
        (2, 8)
    """

    def __init__(
        self,
        config: Any,
        initializer_range: float = 0.02,
        *,
        summary_type: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        settings = _settings(config, summary_type)
        self._read = settings
        self.initializer_range = initializer_range
        self.summary_type = settings.summary_type
        self.supports_masking = True
        size = settings.hidden_size
        self.attention = None
        if settings.summary_type == "attn" and size is not None:
            self.attention = AttentionPooling(
                size,
                settings.summary_num_heads or 1,
                initializer_range,
                name="attention",
                dtype=self.dtype_policy,
            )
        self.first_dropout = self._dropout(settings.summary_first_dropout, "first_dropout")
        self.summary = None
        if settings.summary_use_proj and size is not None:
            self.summary = keras.layers.Dense(
                settings.num_labels or size,
                kernel_initializer=get_initializer(initializer_range),
                name="summary",
                dtype=self.dtype_policy,
            )
        name = settings.summary_activation
        self.activation = None if name is None else get_activation(name)
        self.last_dropout = self._dropout(settings.summary_last_dropout, "last_dropout")

    def _dropout(self, rate: float, name: str) -> keras.layers.Dropout | None:
        if rate <= 0:
            return None
        return keras.layers.Dropout(rate, name=name, dtype=self.dtype_policy)

    def build(self, input_shape: Any = None) -> None:
        """Make the weights; their sizes do not depend on the input."""
        size = self._read.hidden_size
        if self.attention is not None:
            self.attention.build((None, None, size))
        if self.summary is not None:
            self.summary.build((None, size))

    def call(
        self,
        inputs: Any,
        cls_index: Any = None,
        training: bool = False,
        *,
        attention_mask: Any = None,
    ) -> Any:
        """Summarise.

        Args:
            inputs: Hidden states, a floating tensor (batch, ..., seq, H); or a list or tuple of
                them and `cls_index`; or a dict with `hidden_states` and, if wanted, `cls_index`
                and `attention_mask`. Lists and dicts win over the keyword, as in 4.34.
            cls_index: Integer tensor (batch, ...), (batch, ..., 1) or (batch, ..., 1, n) for
                "cls_index". Default: the last token.
            training: Whether dropout is on.
            attention_mask: Tensor (batch, ..., seq), non-zero = a token. Default: the Keras mask
                of the hidden states; without one all are tokens, and the results are 4.34's.

        Returns:
            Tensor (batch, ..., H or num_labels) in the compute dtype.

        Raises:
            AssertionError: A list or tuple of more than two, as in 4.34.
            ValueError: Shapes that do not fit, or an index out of range (see `summarize`).
        """
        read = _unpack(inputs, cls_index, attention_mask)
        if self.attention is not None:
            summary_shape(read.hidden_states, "attn", None, read.attention_mask)
            self._check_size(read.hidden_states.shape)
            output = self.attention(read.hidden_states, attention_mask=read.attention_mask)
        else:
            output = summarize(
                read.hidden_states,
                self.summary_type,
                cls_index=read.cls_index,
                attention_mask=read.attention_mask,
            )
        # A call of a layer costs more than the arithmetic of one that does nothing.
        if self.first_dropout is not None and training:
            output = self.first_dropout(output, training=training)
        if self.summary is not None:
            self._check_size(read.hidden_states.shape)
            output = call_dense(self.summary, output)
        if self.activation is not None:
            output = self.activation(output)
        if self.last_dropout is not None and training:
            output = self.last_dropout(output, training=training)
        return output

    def _check_size(self, shape: Any) -> None:
        if shape[-1] not in (None, self._read.hidden_size):
            raise ValueError(
                f"{_READER} expects hidden states of the config's hidden_size, "
                f"{self._read.hidden_size}. Received: {tuple(shape)}."
            )

    def compute_output_spec(
        self,
        inputs: Any,
        cls_index: Any = None,
        training: bool = False,
        *,
        attention_mask: Any = None,
    ) -> keras.KerasTensor:
        """Give the shape and dtype of what `call` returns."""
        read = _unpack(inputs, cls_index, attention_mask)
        *lead, size = summary_shape(
            read.hidden_states, self.summary_type, read.cls_index, read.attention_mask
        )
        if self._read.hidden_size is not None:
            self._check_size(read.hidden_states.shape)
        if self.summary is not None:
            size = self.summary.units
        if self._read.summary_activation == "glu":
            size = None if size is None else size // 2
        return keras.KerasTensor((*lead, size), dtype=self.compute_dtype)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """Give none: there is no sequence any more."""

    def get_config(self) -> dict[str, Any]:
        """Give the arguments, for `from_config`: of the config, the fields that are read."""
        own = {"config": asdict(self._read), "initializer_range": self.initializer_range}
        return {**super().get_config(), **own}


TFSequenceSummary = SequenceSummary
"""4.34's name of `SequenceSummary`."""
