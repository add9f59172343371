"""The scores of answer ends, given where the answer starts, without the large tensors.

Transformers 4.34 concatenates the state of each token with that of each candidate start, which
costs (batch, seq, starts, 2 x hidden) numbers and a matrix product of that many rows:

```
[h; s] -- dense_0 --> tanh --> LayerNorm --> dense_1 --> score
```

Two identities take that away; the weights stay as they are.

1. **Split.** `W [h; s] = W_h h + W_s s`: one product over `seq` rows and one over `starts`.
2. **Fold.** With y the normalised vector before LayerNorm's own weight g and bias b,
   `w . (g y + b) + c = (w g) . y + (w . b + c)`: a dot product with one folded vector, and one
   that is centred need not know the mean of y.

In a beam search the starts are taken one after another: (batch, seq, hidden) numbers exist at
a time, however many starts there are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from headsmith.keras.linear import compute_dtype, linear, mean, named_dtype
from headsmith.spec.chunks import chunk_bounds

__all__ = ["EndWeights", "end_scores"]


class EndWeights(NamedTuple):
    """The weights of `PoolerEndLogits` as tensors, hidden size H.

    Attributes:
        dense_0_kernel: (2H, H), for the token's state, then the start's.
        dense_0_bias: (H,), or None.
        gamma: (H,).
        beta: (H,).
        dense_1_kernel: (H, 1).
        dense_1_bias: (1,), or None.
        eps: Added to the variance.
    """

    dense_0_kernel: Any
    dense_0_bias: Any
    gamma: Any
    beta: Any
    dense_1_kernel: Any
    dense_1_bias: Any
    eps: float


def end_scores(
    hidden_states: Any, start_states: Any, weights: EndWeights, *, chunk_size: int | None = None
) -> Any:
    """Score each token as the end of an answer that begins at each given start.

    Args:
        hidden_states: Floating tensor (batch, seq, H) or (batch, seq, 1 or starts, H).
        start_states: Tensor that broadcasts against it: (batch, 1 or seq, H) or
            (batch, 1 or seq, starts, H).
        weights: The weights, in the dtype of the states.
        chunk_size: At most this many tokens at a time, recomputed in the backward pass. Needs a
            length that is known when the graph is made; otherwise there is one chunk.

    Returns:
        Tensor (batch, seq) or (batch, seq, starts), float32, or float64 for float64: the
        arithmetic after the matrix product.

    Example:
        >>> from keras import ops
        >>> w = EndWeights(ops.ones((8, 4)), ops.zeros(4), ops.ones(4), ops.zeros(4),
        ...                ops.ones((4, 1)), ops.zeros(1), 1e-12)
        >>> tuple(end_scores(ops.ones((2, 6, 1, 4)), ops.ones((2, 1, 3, 4)), w).shape)
        (2, 6, 3)
    """
    size = weights.dense_1_kernel.shape[0]
    of_token, of_start = weights.dense_0_kernel[:size], weights.dense_0_kernel[size:]
    starts = linear(start_states, of_start)
    starts = ops.cast(starts, compute_dtype(named_dtype(starts)))
    vector, constant = _fold(weights, named_dtype(starts))

    # Tensors come as arguments and not from around: recomputation has to know them.
    def score(tokens: Any, starts: Any, kernel: Any, bias: Any, vector: Any, constant: Any) -> Any:
        product = ops.cast(linear(tokens, kernel, bias), starts.dtype)
        return _against(product, starts, vector, weights.eps) + constant

    bias = weights.dense_0_bias
    if bias is None:
        bias = ops.zeros((size,), dtype=hidden_states.dtype)
    # A tensor and no variable, which TensorFlow's recomputation would count twice.
    bias = ops.reshape(bias, (size,))
    rest = (of_token, bias, vector, constant)
    length = hidden_states.shape[1]
    if chunk_size is None or length is None or length <= chunk_size:
        return score(hidden_states, starts, *rest)
    again = keras.remat(score)
    own = starts.shape[1] != 1  # each token has starts of its own
    parts = [
        again(hidden_states[:, first:last], starts[:, first:last] if own else starts, *rest)
        for first, last in chunk_bounds(length, chunk_size)
    ]
    return ops.concatenate(parts, axis=1)


def _fold(weights: EndWeights, dtype: str) -> tuple[Any, Any]:
    """Give the vector and the constant of LayerNorm's affine part and `dense_1` together."""
    last = ops.cast(weights.dense_1_kernel, dtype)[:, 0]
    constant = ops.sum(last * ops.cast(weights.beta, dtype))
    if weights.dense_1_bias is not None:
        constant = constant + ops.cast(weights.dense_1_bias, dtype)[0]
    vector = last * ops.cast(weights.gamma, dtype)
    return vector - mean(vector, 0), constant


def _against(tokens: Any, starts: Any, vector: Any, eps: float) -> Any:
    """Score projected tokens against projected starts."""
    if len(tokens.shape) == 4 and tokens.shape[2] == 1 and starts.shape[1] == 1:
        number = starts.shape[2]
        if number is not None:
            alone = ops.squeeze(tokens, 2)
            each = [_finish(alone + starts[:, :, i], vector, eps) for i in range(number)]
            return ops.stack(each, axis=-1)
    return _finish(tokens + starts, vector, eps)


def _finish(x: Any, vector: Any, eps: float) -> Any:
    """Take tanh, normalise (..., H), and take the dot product with a centred vector."""
    x = ops.tanh(x)
    variance = mean(ops.square(x - mean(x, -1, keepdims=True)), -1)
    dot = ops.squeeze(linear(x, ops.expand_dims(vector, -1)), -1)
    return dot * ops.rsqrt(variance + eps)
