"""What a mask means, in one place for every wing.

Two kinds of mask meet in a task head and they point opposite ways:

```
attention_mask   1 / True = a token to look at      0 / False = padding
p_mask           1 / True = not an answer           0 / False = may be an answer
```

A masked score is filled with a large negative number, not with -inf: the softmax of a row
whose scores are all filled stays finite, and so does a loss whose label sits on a filled
score. `FILL` and `FILL_HALF` are Transformers 4.34's numbers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["FILL", "FILL_HALF", "fill_value", "first_valid", "last_valid", "masked_scores"]

FILL = -1e30
"""The fill of every dtype whose range holds it: bfloat16, float32, float64."""

FILL_HALF = -65500.0
"""The fill of float16, whose largest number is 65504."""


def fill_value(*dtypes: str) -> float:
    """Tell the score that stands for "masked".

    Args:
        dtypes: Names of the dtypes the scores are computed from and given in, such as
            "float32". The fill has to fit them all.

    Returns:
        `FILL_HALF` if one of them is float16, `FILL` otherwise.

    Example:
        >>> fill_value("float32"), fill_value("float16", "float32")
        (-1e+30, -65500.0)
    """
    return FILL_HALF if "float16" in dtypes else FILL


def masked_scores(
    scores: npt.ArrayLike, p_mask: npt.ArrayLike, fill: float = FILL
) -> npt.NDArray[np.float64]:
    """Apply a `p_mask` to scores, in float64.

    Args:
        scores: Scores of any shape.
        p_mask: Bool, integer or float, broadcast against `scores`. A bool or integer other
            than zero masks. A float is a degree: 1 masks, 0 does not, and between them the
            score is `score * (1 - p) + fill * p`, as in 4.34.
        fill: The score of a masked position.

    Returns:
        float64 array. Where the mask is 1 the score is exactly `fill`, whatever stood there:
        an infinite or NaN score at a masked position does not spread.

    Example:
        >>> masked_scores([0.5, float("inf"), 2.0], [0, 1, 0.0]).tolist()
        [0.5, -1e+30, 2.0]
    """
    x = np.asarray(scores, np.float64)
    p = np.asarray(p_mask)
    degree = p.astype(np.float64) if p.dtype.kind == "f" else (p != 0).astype(np.float64)
    with np.errstate(invalid="ignore"):
        soft = x * (1 - degree) + fill * degree
    return np.where(degree == 1, fill, soft)


def last_valid(attention_mask: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Give the index of the last token to look at, per row.

    Args:
        attention_mask: Array (..., seq), non-zero = a token, wherever the padding is.

    Returns:
        int64 array (...,). A row without any token gets seq - 1.

    Example:
        >>> last_valid([[1, 1, 0], [0, 1, 1], [0, 0, 0]]).tolist()
        [1, 2, 2]
    """
    mask = np.asarray(attention_mask) != 0
    length = mask.shape[-1]
    return np.asarray(length - 1 - np.argmax(mask[..., ::-1], axis=-1), np.int64)


def first_valid(attention_mask: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Give the index of the first token to look at, per row.

    Args:
        attention_mask: Array (..., seq), non-zero = a token, wherever the padding is.

    Returns:
        int64 array (...,). A row without any token gets 0.

    Example:
        >>> first_valid([[1, 1, 0], [0, 1, 1], [0, 0, 0]]).tolist()
        [0, 1, 0]
    """
    return np.asarray(np.argmax(np.asarray(attention_mask) != 0, axis=-1), np.int64)
