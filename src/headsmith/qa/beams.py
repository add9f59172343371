"""What the head found, each end with its own start. NumPy alone.

The scripts of Transformers 4.34 read the head's ends, flattened (end, start), as if they were
(start, end), so that most ends met a start of another beam; and they added probabilities as if
they were logarithms. `legacy=True` does the same, for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Beams", "beams_of_head"]

Floats = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Beams:
    """What the head found in some windows, each end with its own start.

    Args:
        start_log_probs: (windows, S).
        start_index: (windows, S) token positions.
        end_log_probs: (windows, S, E), given the start.
        end_index: (windows, S, E).
        cls_logits: (windows,), larger = less likely to have an answer.
        null_log_probs: (windows,), the log-probability of the CLS token as the start; NaN
            where it is not known.
    """

    start_log_probs: Floats
    start_index: Index
    end_log_probs: Floats
    end_index: Index
    cls_logits: Floats
    null_log_probs: Floats


def beams_of_head(
    start_log_probs: NDArray[np.floating],
    start_index: NDArray[np.integer],
    end_log_probs: NDArray[np.floating],
    end_index: NDArray[np.integer],
    cls_logits: NDArray[np.floating],
    null_log_probs: NDArray[np.floating] | None = None,
    *,
    legacy: bool = False,
) -> Beams:
    """Pair the flat outputs of `SQuADHead(log_probs=True)`.

    Args:
        start_log_probs: (windows, S).
        start_index: (windows, S).
        end_log_probs: (windows, E * S), flattened from (E, S).
        end_index: (windows, E * S).
        cls_logits: (windows,).
        null_log_probs: (windows,), or None.
        legacy: pair as the scripts of 4.34 did: cell i * E + j for start i.

    Raises:
        ValueError: the ends are no multiple of the starts.

    Example:
        >>> import numpy as np
        >>> from headsmith.qa.beams import beams_of_head
        >>> beams = beams_of_head(np.zeros((1, 2)), np.array([[3, 1]]), np.zeros((1, 4)),
        ...                       np.array([[5, 2, 4, 3]]), np.zeros(1))
        >>> beams.end_index.tolist()
        [[[5, 4], [2, 3]]]
    """
    windows, starts = start_index.shape
    total = end_index.shape[1]
    if starts == 0 or total % starts:
        raise ValueError(
            "Expected ends of shape (windows, E * S) beside starts of shape (windows, S). "
            f"Received {end_index.shape} and {start_index.shape}."
        )
    ends = total // starts

    def paired(x: NDArray[np.generic]) -> NDArray[np.generic]:
        if legacy:
            return x.reshape(windows, starts, ends)
        return x.reshape(windows, ends, starts).transpose(0, 2, 1)

    if null_log_probs is None:
        null_log_probs = np.full(windows, np.nan)
    return Beams(
        np.asarray(start_log_probs, np.float64),
        np.asarray(start_index, np.int64),
        np.asarray(paired(end_log_probs), np.float64),
        np.asarray(paired(end_index), np.int64),
        np.asarray(cls_logits, np.float64),
        np.asarray(null_log_probs, np.float64),
    )
