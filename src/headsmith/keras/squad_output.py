"""How to read the beams of a SQuAD head."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

__all__ = ["FIELDS", "SpanPairs", "pair_spans"]

FIELDS = (
    "loss",
    "start_top_log_probs",
    "start_top_index",
    "end_top_log_probs",
    "end_top_index",
    "cls_logits",
)
"""What `SQuADHead` may return, in order: the fields of 4.34's `SquadHeadOutput`."""


class SpanPairs(NamedTuple):
    """Every (start, end) of the beam search, each end beside its start.

    Attributes:
        start_index: int32 (batch, start_n_top, end_n_top).
        end_index: int32 (batch, start_n_top, end_n_top).
        start_score: (batch, start_n_top, end_n_top), a probability or its logarithm.
        end_score: (batch, start_n_top, end_n_top), the same given that start.

    Example:
        >>> from keras import ops
        >>> pairs = pair_spans(
        ...     ops.array([[0.6]]), ops.array([[3]]), ops.array([[0.9, 0.1]]), ops.array([[5, 4]])
        ... )
        >>> tuple((pairs.start_score * pairs.end_score).shape)
        (1, 1, 2)
    """

    start_index: Any
    end_index: Any
    start_score: Any
    end_score: Any


def pair_spans(
    start_top_log_probs: Any, start_top_index: Any, end_top_log_probs: Any, end_top_index: Any
) -> SpanPairs:
    """Give each end of the beam search its start.

    The head flattens (end_n_top, start_n_top), as Transformers 4.34 does, while the example
    scripts of that time read the cells as if they were (start_n_top, end_n_top): most ends got
    the wrong start. Use this and do not index by hand. For a probability of the whole span
    multiply the two scores, or add them with `log_probs=True`.

    Args:
        start_top_log_probs: (batch, start_n_top) from `SQuADHead`.
        start_top_index: (batch, start_n_top).
        end_top_log_probs: (batch, end_n_top * start_n_top).
        end_top_index: (batch, end_n_top * start_n_top).

    Returns:
        `SpanPairs`; cells of masked positions and ends before their start are among them.

    Raises:
        ValueError: The second dimension of the ends is no multiple of that of the starts.

    Example:
        >>> from keras import ops
        >>> pairs = pair_spans(
        ...     ops.array([[0.6, 0.4]]), ops.array([[3, 1]]),
        ...     ops.array([[0.9, 0.8, 0.1, 0.2]]), ops.array([[5, 2, 4, 3]]),
        ... )
        >>> [[int(end) for end in ends] for ends in pairs.end_index[0]]
        [[5, 4], [2, 3]]
    """
    starts, total = start_top_index.shape[1], end_top_index.shape[1]
    if starts is not None and total is not None and (starts == 0 or total % starts):
        raise ValueError(
            "Expected `end_top_index` of shape (batch, end_n_top * start_n_top) beside "
            f"`start_top_index` of shape (batch, start_n_top). Received: "
            f"{tuple(end_top_index.shape)} and {tuple(start_top_index.shape)}."
        )
    number = -1 if starts is None or total is None else total // starts
    batch, starts = ops.shape(start_top_index)

    def regroup(x: Any) -> Any:
        return ops.transpose(ops.reshape(x, (batch, number, starts)), (0, 2, 1))

    ends = regroup(end_top_index)

    def spread(x: Any) -> Any:
        return ops.broadcast_to(ops.expand_dims(x, -1), ops.shape(ends))

    return SpanPairs(
        spread(start_top_index), ends, spread(start_top_log_probs), regroup(end_top_log_probs)
    )
