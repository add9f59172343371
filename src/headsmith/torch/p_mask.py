"""Fill the scores of positions that cannot be an answer."""

from __future__ import annotations

import torch
from torch import Tensor

from headsmith.spec.masks import fill_value

__all__ = ["is_masked", "mask_scores"]


def is_masked(p_mask: Tensor) -> Tensor:
    """Tell which positions a `p_mask` masks wholly.

    Args:
        p_mask: Bool, integer (other than zero = masked) or floating (1 = masked) tensor.

    Returns:
        Bool tensor of the same shape.

    Example:
        >>> import torch
        >>> is_masked(torch.tensor([0.0, 0.5, 1.0])).tolist()
        [False, False, True]
    """
    if p_mask.dtype == torch.bool:
        return p_mask
    return p_mask == 1 if p_mask.is_floating_point() else p_mask != 0


def mask_scores(scores: Tensor, p_mask: Tensor, weight_dtype: torch.dtype | None = None) -> Tensor:
    """Fill masked scores with a large negative number.

    As in Transformers 4.34 for finite scores: `x * (1 - p) - 1e30 * p`, with 65500 for float16
    weights, a float mask being a degree. Mended: bool and integer masks; the fill also fits
    the dtype of the scores, so that float16 autocast gives no infinity; an infinite or NaN
    score at a masked position does not spread.

    Args:
        scores: Floating tensor of any shape.
        p_mask: Bool, integer or floating tensor that broadcasts against `scores`.
        weight_dtype: Dtype of the weights the scores come from; that of `scores` if None.

    Returns:
        Tensor of the broadcast shape. A floating mask promotes the dtype as arithmetic would
        (float16 scores with a float32 mask are float32); others keep that of `scores`.

    Example:
        >>> import torch
        >>> mask_scores(torch.tensor([0.5, float("inf")]), torch.tensor([False, True])).tolist()
        [0.5, -1.0000000150474662e+30]
    """
    floating = p_mask.is_floating_point()
    dtype = torch.promote_types(scores.dtype, p_mask.dtype) if floating else scores.dtype
    names = [str(d).removeprefix("torch.") for d in (dtype, weight_dtype or dtype)]
    fill = fill_value(*names)
    masked = is_masked(p_mask)
    scores = scores.to(dtype)
    if floating:
        degree = p_mask.to(dtype)
        scores = scores * (1 - degree) + fill * degree
    return scores.masked_fill(masked, fill)
