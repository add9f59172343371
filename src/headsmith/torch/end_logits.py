"""The scores of answer ends, given where the answer starts, without the large tensors.

Transformers 4.34 concatenates the state of each token with that of each candidate start, which
costs (batch, seq, starts, 2 x hidden) numbers and a matrix product of that many rows:

```
[h; s] -- dense_0 --> tanh --> LayerNorm --> dense_1 --> score
```

Three identities take that away; the parameters stay as they are.

1. **Split.** `W [h; s] = W_h h + W_s s`: one product over `seq` rows and one over `starts`.
2. **Fold.** With y the normalised vector before LayerNorm's own weight g and bias b,
   `w . (g y + b) + c = (w g) . y + (w . b + c)`: a dot product with one folded vector.
3. **Factor.** `tanh(a + c) = 1 - 2 / (1 + exp(2a) exp(2c))` takes its exponentials of `seq` rows
   and of `starts` rows, not of `seq x starts`. Half of that, `t = 1 / (1 + E) - 1/2`, is one
   pass, and LayerNorm needs of it a dot product, a mean and a norm: with w' = w g less its mean,
   `LN(tanh; eps) . w g = t . w' / sqrt(var t + eps / 4)`. torch's tanh and LayerNorm cost
   several times that on a CPU. Digits are lost where t hardly varies; such blocks, and those
   whose exponentials might overflow, are done again as written in step 2; see `_steady`.

Without gradients on a CPU the work goes block by block through the cache, and nothing larger
than a block exists. Rows that a mask will fill are not computed at all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from headsmith.torch.eager import autocast_dtype, compute_dtype, may_read_values, no_autocast

__all__ = ["EndWeights", "end_scores", "row_scores"]

_BLOCK_BYTES = 1 << 20
"""Per thread: a block of this size and its copies stay in the caches of one core."""

_DEVICE_BLOCK_BYTES = 1 << 27
"""The same on an accelerator, where each block is a handful of launches: 128 MiB."""

_LARGEST = 40.0
"""Largest |2a| and |2c| that are factored: a product of two exponentials of 40 is 5e34."""

_LEAST_VARIANCE = 2.0**-12
"""Least variance of tanh / 2 at which it is factored.

Each value is off by about half a unit in the last place of 1/2, 3e-8, so the normalised ones are
off by 64 times that: 2e-6 in float32, no more than what the matrix product left."""

_MOST_SHIFTED = 32.0
"""Largest ratio of mean square to variance at which the variance is their difference."""


class EndWeights(NamedTuple):
    """The parameters of `PoolerEndLogits`, hidden size H.

    Attributes:
        dense_0_weight: (H, 2H), for the token's state then the start's.
        dense_0_bias: (H,).
        norm_weight: (H,).
        norm_bias: (H,).
        dense_1_weight: (1, H).
        dense_1_bias: (1,).
        eps: Added to the variance.
    """

    dense_0_weight: Tensor
    dense_0_bias: Tensor | None
    norm_weight: Tensor
    norm_bias: Tensor
    dense_1_weight: Tensor
    dense_1_bias: Tensor | None
    eps: float

    def to(self, dtype: torch.dtype) -> EndWeights:
        """Give the parameters in another dtype.

        Example:
            >>> import torch
            >>> EndWeights(*[torch.ones(1)] * 6, 1e-12).to(torch.float64).norm_bias.dtype
            torch.float64
        """
        changed: dict[str, Any] = {
            name: value.to(dtype)
            for name, value in self._asdict().items()
            if isinstance(value, Tensor)
        }
        return self._replace(**changed)


def end_scores(
    hidden_states: Tensor,
    start_states: Tensor,
    weights: EndWeights,
    *,
    skip: Tensor | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """Score each token as the end of an answer that begins at each given start.

    Args:
        hidden_states: Floating tensor (batch, seq, H) or (batch, seq, 1 or starts, H).
        start_states: Tensor that broadcasts against it: (batch, 1 or seq, H) or
            (batch, 1 or seq, starts, H). Dimensions made by `expand` are recognised and cost
            nothing.
        weights: The parameters.
        skip: Bool tensor that broadcasts to the result less its `starts`: (batch, seq) or
            (batch, seq, 1). True rows are not computed where values can be read (eager mode),
            and give 0 there; they get no gradient and their states may hold anything.
        chunk_size: At most this many rows of `hidden_states` at a time; blocks are
            recomputed in the backward pass. None chooses the block size where no gradient is
            needed and uses a single block where one is.

    Returns:
        Tensor (batch, seq) or (batch, seq, starts), in the dtype `dense_1` would give: that of
        `hidden_states`, or autocast's. The arithmetic after the matrix product is float32
        (float64 for float64).

    Example:
        >>> import torch
        >>> w = EndWeights(torch.ones(4, 8), torch.zeros(4), torch.ones(4), torch.zeros(4),
        ...                torch.ones(1, 4), torch.zeros(1), 1e-12)
        >>> end_scores(torch.ones(2, 6, 1, 4), torch.ones(2, 1, 3, 4), w).shape
        torch.Size([2, 6, 3])
    """
    out_dtype = autocast_dtype(hidden_states) or hidden_states.dtype
    readable = may_read_values(hidden_states, start_states, weights.dense_0_weight, skip)
    if readable:
        hidden_states = _unexpand(hidden_states, 2)
        start_states = _unexpand(start_states, 1)
    both = hidden_states.shape, start_states.shape
    shape = torch.broadcast_shapes(*both)[:-1]  # type: ignore[no-untyped-call]
    tokens = _as_tokens(hidden_states)
    starts = _as_starts(start_states)
    if tokens is None or starts is None or tokens.shape[0] != starts.shape[0]:
        # Each token has starts of its own: nothing to share, but the split still saves memory.
        of_token, of_start = _halves(weights)
        product = _project(hidden_states, of_token, weights.dense_0_bias)
        product = product + _project(start_states, of_start, None)
        return _finish(torch.tanh(product), weights).to(out_dtype)
    if skip is not None:
        skip = skip.reshape(skip.shape[:2]).expand(tokens.shape[:2])
    if not readable:
        scores = _all_rows(tokens, starts, weights, chunk_size)
    elif torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (tokens, starts, *weights[:-1])
    ):
        scores = _kept_rows(tokens, starts, weights, skip, chunk_size)
    elif tokens.device.type == "cpu":
        scores = _in_blocks(tokens, starts, weights, skip, chunk_size)
    else:
        per_row = starts.shape[1] * tokens.shape[-1] * 4
        scores = _kept_rows(
            tokens, starts, weights, skip, chunk_size or max(1, _DEVICE_BLOCK_BYTES // per_row)
        )
    return scores.to(out_dtype).reshape(shape)


def _unexpand(states: Tensor, dim: int) -> Tensor:
    """Take one of the copies that `expand` made along `dim`, if that is what they are."""
    if states.ndim > dim + 1 and states.shape[dim] > 1 and states.stride(dim) == 0:
        return states.narrow(dim, 0, 1)
    return states


def _as_tokens(hidden: Tensor) -> Tensor | None:
    """View as (batch, seq, H), or None if each start has its own."""
    if hidden.ndim == 3:
        return hidden
    return hidden.squeeze(2) if hidden.ndim == 4 and hidden.shape[2] == 1 else None


def _as_starts(start: Tensor) -> Tensor | None:
    """View as (batch, starts, H), or None if each token has its own."""
    if start.ndim not in (3, 4) or start.shape[1] != 1:
        return None
    return start if start.ndim == 3 else start.squeeze(1)


def _halves(weights: EndWeights) -> tuple[Tensor, Tensor]:
    """Give the halves of `dense_0` for the token and for the start, each (H, H)."""
    # One split, since the backward pass of two slices would fill two whole weights with zeros.
    whole = weights.dense_0_weight
    of_token, of_start = whole.chunk(2, dim=1)
    return of_token, of_start


def _project(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply in the dtype of the states, or autocast's; give float32 or float64."""
    product = F.linear(states, weight, bias)
    return product.to(compute_dtype(product.dtype))


def _fold(weights: EndWeights, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Give the vector and the constant of LayerNorm's affine part and `dense_1` together."""
    last = weights.dense_1_weight[0].to(dtype)
    constant = (last * weights.norm_bias.to(dtype)).sum()
    if weights.dense_1_bias is not None:
        constant = constant + weights.dense_1_bias[0].to(dtype)
    return last * weights.norm_weight.to(dtype), constant


def _finish(x: Tensor, weights: EndWeights) -> Tensor:
    """Normalise (..., H) and take the dot product."""
    with no_autocast(x):
        vector, constant = _fold(weights, x.dtype)
        normal = F.layer_norm(x, x.shape[-1:], None, None, weights.eps)
        return normal @ vector + constant


def _all_rows(
    tokens: Tensor, starts: Tensor, weights: EndWeights, chunk_size: int | None
) -> Tensor:
    """Compute (batch, seq, starts) with shapes that depend on no value."""
    of_token, of_start = _halves(weights)
    u = _project(tokens, of_token, weights.dense_0_bias).unsqueeze(2)
    v = _project(starts, of_start, None).unsqueeze(1)
    if chunk_size is None:
        return _finish(torch.tanh(u + v), weights)
    parts = [
        _finish(torch.tanh(u[:, first : first + chunk_size] + v), weights)
        for first in range(0, u.shape[1], chunk_size)
    ]
    return torch.cat(parts, dim=1)


def _kept_rows(
    tokens: Tensor,
    starts: Tensor,
    weights: EndWeights,
    skip: Tensor | None,
    chunk_size: int | None,
) -> Tensor:
    """Compute (batch, seq, starts) from the rows that are not skipped, with gradients."""
    batch, length, size = tokens.shape
    if skip is None and chunk_size is None:
        # Adding in place would save an allocation and cost copies of the gradient, since a
        # product of three dimensions is a view. The sum is no view: tanh may overwrite it.
        of_token, of_start = _halves(weights)
        u = _project(tokens, of_token, weights.dense_0_bias)
        v = _project(starts, of_start, None)
        if starts.shape[1] == 1:
            return _finish((u + v).tanh_(), weights).unsqueeze(-1)
        return _finish((u.unsqueeze(2) + v.unsqueeze(1)).tanh_(), weights)
    flat = tokens.reshape(batch * length, size)
    if skip is None:
        example = torch.arange(batch, device=flat.device).repeat_interleave(length)
        scores = row_scores(flat, example, starts, weights, chunk_size=chunk_size)
        return scores.view(batch, length, starts.shape[1])
    rows = (~skip).reshape(-1).nonzero().squeeze(1)
    example = torch.div(rows, length, rounding_mode="floor")
    scores = row_scores(flat.index_select(0, rows), example, starts, weights, chunk_size=chunk_size)
    whole = scores.new_zeros(batch * length, starts.shape[1])
    return whole.index_copy(0, rows, scores).view(batch, length, starts.shape[1])


def row_scores(
    rows: Tensor,
    example: Tensor,
    starts: Tensor,
    weights: EndWeights,
    *,
    chunk_size: int | None = None,
) -> Tensor:
    """Score loose tokens as ends, each against the starts of its example.

    Args:
        rows: Floating tensor (rows, H).
        example: int64 tensor (rows,), the example each row belongs to.
        starts: Tensor (batch, starts, H).
        weights: The parameters.
        chunk_size: At most this many rows at a time, recomputed in the backward pass.

    Returns:
        Tensor (rows, starts), float32 or float64.

    Example:
        >>> import torch
        >>> w = EndWeights(torch.ones(4, 8), None, torch.ones(4), torch.zeros(4),
        ...                torch.ones(1, 4), None, 1e-12)
        >>> example = torch.tensor([0, 0, 1, 1, 1])
        >>> row_scores(torch.ones(5, 4), example, torch.ones(2, 3, 4), w).shape
        torch.Size([5, 3])
    """
    of_token, of_start = _halves(weights)
    v = _project(starts, of_start, None)

    def score(part: Tensor, of: Tensor) -> Tensor:
        u = _project(part, of_token, weights.dense_0_bias)
        if v.shape[1] == 1:
            return _finish(u.add_(v.squeeze(1).index_select(0, of)).tanh_(), weights)[:, None]
        return _finish((u.unsqueeze(1) + v.index_select(0, of)).tanh_(), weights)

    if chunk_size is None or rows.shape[0] <= chunk_size:
        return score(rows, example)
    parts = [
        (rows[first : first + chunk_size], example[first : first + chunk_size])
        for first in range(0, rows.shape[0], chunk_size)
    ]
    if torch.is_grad_enabled():
        return torch.cat([checkpoint(score, *part, use_reentrant=False) for part in parts])
    return torch.cat([score(*part) for part in parts])


def _in_blocks(
    tokens: Tensor,
    starts: Tensor,
    weights: EndWeights,
    skip: Tensor | None,
    chunk_size: int | None,
) -> Tensor:
    """Compute (batch, seq, starts) on a CPU without gradients, a block at a time."""
    batch, length, size = tokens.shape
    number = starts.shape[1]
    cast = autocast_dtype(tokens) is not None
    dtype = compute_dtype(torch.promote_types(tokens.dtype, weights.dense_0_weight.dtype))
    if not cast:
        # 16-bit products round to 16 bits; in float32 they do not, and a CPU is as fast.
        weights = weights.to(dtype)
        tokens_dtype = dtype
    else:
        tokens_dtype = tokens.dtype
    scores = torch.zeros(batch, length, number, dtype=dtype)
    if not scores.numel():
        return scores
    of_token, of_start = _halves(weights)
    # Everything below is in terms of -2x, of which exponentials are taken.
    v = _project(starts.to(tokens_dtype), of_start, None).mul_(-2)
    with no_autocast(tokens):
        vector, constant = _fold(weights, dtype)
    centred = vector - vector.mean()
    ones = torch.ones_like(vector)
    row_bytes = number * size * dtype.itemsize
    step = chunk_size or max(1, torch.get_num_threads() * _BLOCK_BYTES // row_bytes)
    block = torch.empty(min(step, length), number, size, dtype=dtype)
    exponentials = torch.empty(min(step, length), 1, size, dtype=dtype)
    for example in range(batch):
        rows = None
        states = tokens[example]
        if skip is not None:
            rows = (~skip[example]).nonzero().squeeze(1)
            if rows.numel() < length:
                states = states.index_select(0, rows)
            else:
                rows = None
        result = torch.empty(states.shape[0], number, dtype=dtype)
        # A product is fastest over many rows: the whole example unless the caller says less.
        wide = chunk_size or max(states.shape[0], 1)
        factor = v[example].exp() if _is_small(v[example]) else None
        for begin in range(0, states.shape[0], wide):
            part = states[begin : begin + wide].to(tokens_dtype)
            u = _project(part, of_token, weights.dense_0_bias).mul_(-2).unsqueeze(1)
            small = _is_small(u)
            for first in range(0, u.shape[0], step):
                last = min(first + step, u.shape[0])
                x = block[: last - first]
                found = None
                with no_autocast(tokens):
                    if factor is not None and small:
                        e = torch.exp(u[first:last], out=exponentials[: last - first])
                        found = _dot_factored(x, e, factor, centred, ones, weights.eps)
                    if found is None:
                        torch.add(u[first:last], v[example], out=x)
                        found = _dot_plain(x, vector, weights.eps)
                result[begin + first : begin + last] = found
        if rows is None:
            scores[example] = result
        else:
            scores[example].index_copy_(0, rows, result)
    return scores.add_(constant)


def _is_small(x: Tensor) -> bool:
    """May the exponentials of these be multiplied? Not if there is an infinity or NaN."""
    if not x.numel():
        return True
    low, high = x.aminmax()
    return float(low) >= -_LARGEST and float(high) <= _LARGEST


def _dot_factored(
    x: Tensor, e: Tensor, factor: Tensor, centred: Tensor, ones: Tensor, eps: float
) -> Tensor | None:
    """Give LN(tanh) . vector, where exp(-2 argument) = e * factor; None if digits would be lost.

    `x` is a block to work in, (rows, starts, H); `centred` the vector less its mean.
    """
    torch.addcmul(ones[0], e, factor, out=x).reciprocal_().sub_(0.5)
    square = torch.linalg.vector_norm(x, dim=-1).square_().div_(x.shape[-1])
    variance = square - (x @ ones).div_(x.shape[-1]).square_()
    if not _steady(square, variance):
        return None
    return (x @ centred).mul_(variance.add_(eps / 4).rsqrt_())


def _steady(square: Tensor, variance: Tensor) -> bool:
    """Are mean square and variance such that no digits are lost?"""
    shifted = torch.addcmul(square, variance, variance.new_tensor(-_MOST_SHIFTED))
    return bool(variance.min() >= _LEAST_VARIANCE) and bool(shifted.max() <= 0)


def _dot_plain(x: Tensor, vector: Tensor, eps: float) -> Tensor:
    """Give LN(tanh(-x / 2)) . vector for a block (rows, starts, H), which is overwritten."""
    normal = F.layer_norm(x.mul_(-0.5).tanh_(), x.shape[-1:], None, None, eps)
    return normal @ vector
