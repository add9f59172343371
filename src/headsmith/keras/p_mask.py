"""Fill the scores of positions that cannot be an answer."""

from __future__ import annotations

from typing import Any

from keras import ops

from headsmith.keras.linear import named_dtype
from headsmith.spec.masks import fill_value

__all__ = ["is_masked", "mask_scores", "without_masked"]


def is_masked(p_mask: Any) -> Any:
    """Tell which positions a `p_mask` masks wholly.

    Args:
        p_mask: Bool, integer (other than zero = masked) or floating (1 = masked) tensor.

    Returns:
        Bool tensor of the same shape.

    Example:
        >>> from keras import ops
        >>> [bool(m) for m in is_masked(ops.array([0.0, 0.5, 1.0]))]
        [False, False, True]
    """
    dtype = named_dtype(p_mask)
    if dtype == "bool":
        return p_mask
    return ops.equal(p_mask, 1) if "float" in dtype else ops.not_equal(p_mask, 0)


def without_masked(hidden_states: Any, masked: Any) -> Any:
    """Put zeros where the mask is, so that what stands there reaches no result and no gradient.

    Args:
        hidden_states: Floating tensor (..., H).
        masked: Bool tensor (...), or broadcast to it.

    Returns:
        Tensor like `hidden_states`.

    Example:
        >>> from keras import ops
        >>> h = ops.array([[1.0], [float("inf")]])
        >>> [float(x[0]) for x in without_masked(h, ops.array([False, True]))]
        [1.0, 0.0]
    """
    zero = ops.zeros((), dtype=hidden_states.dtype)
    return ops.where(ops.expand_dims(masked, -1), zero, hidden_states)


def mask_scores(scores: Any, p_mask: Any, weight_dtype: str | None = None) -> Any:
    """Fill masked scores with a large negative number.

    As in Transformers 4.34 for finite scores: `x * (1 - p) - 1e30 * p`, with 65500 for float16,
    a float mask being a degree. Mended: bool and integer masks; the fill fits the dtype that is
    computed in; an infinite or NaN score at a masked position does not spread.

    Args:
        scores: Floating tensor of any shape.
        p_mask: Bool, integer or floating tensor that broadcasts against `scores`.
        weight_dtype: Dtype the scores were computed in; that of `scores` if None.

    Returns:
        Tensor of the broadcast shape in the dtype of `scores`.

    Example:
        >>> from keras import ops
        >>> masked = mask_scores(ops.array([0.5, float("inf")]), ops.array([False, True]))
        >>> [float(x) for x in masked]
        [0.5, -1.0000000150474662e+30]
    """
    dtype = named_dtype(scores)
    fill = ops.convert_to_tensor(fill_value(dtype, weight_dtype or dtype), dtype=dtype)
    if "float" in named_dtype(p_mask):
        degree = ops.cast(p_mask, dtype)
        scores = scores * (1 - degree) + fill * degree
    return ops.where(is_masked(p_mask), fill, scores)
