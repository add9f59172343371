"""Matrix products and means that keep their precision on every backend."""

from __future__ import annotations

from typing import Any

from keras import backend, ops

__all__ = ["compute_dtype", "linear", "mean", "named_dtype"]


def named_dtype(tensor: Any) -> str:
    """Name the dtype of a tensor of any backend.

    Example:
        >>> from keras import ops
        >>> named_dtype(ops.ones((2,), "int32"))
        'int32'
    """
    return str(backend.standardize_dtype(tensor.dtype))


def compute_dtype(dtype: str) -> str:
    """Name the dtype arithmetic is done in: float32, or float64 for float64.

    Example:
        >>> compute_dtype("bfloat16")
        'float32'
    """
    return "float64" if dtype == "float64" else "float32"


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """Compute `x @ weight + bias`.

    Args:
        x: Floating tensor (..., in), any rank of at least 1.
        weight: Tensor (in, out), in the dtype of `x`.
        bias: Tensor (out,). Default: none.

    Returns:
        Tensor (..., out) in the dtype of `x`.

    Example:
        >>> from keras import ops
        >>> tuple(linear(ops.ones((2, 5, 4)), ops.ones((4, 6))).shape)
        (2, 5, 6)
    """
    if named_dtype(x) == "float64":
        # On some backends `ops.matmul` computes float64 in float32.
        product = ops.einsum("...i,ij->...j", x, weight)
    elif weight.shape[0] == 0:  # a layer that lost all its inputs
        product = ops.zeros((*ops.shape(x)[:-1], weight.shape[1]), dtype=x.dtype)
    elif len(x.shape) == 2:
        product = ops.matmul(x, weight)
    else:
        # Two dimensions are the fast path of every backend.
        flat = ops.matmul(ops.reshape(x, (-1, weight.shape[0])), weight)
        product = ops.reshape(flat, (*ops.shape(x)[:-1], weight.shape[1]))
    return product if bias is None else product + bias


def mean(x: Any, axis: int, *, keepdims: bool = False) -> Any:
    """Average over one dimension; 16-bit numbers are summed in float32.

    Args:
        x: Floating tensor.
        axis: The dimension.
        keepdims: Whether it stays, with size 1.

    Returns:
        Tensor in the dtype of `x`.

    Example:
        >>> from keras import ops
        >>> float(mean(ops.arange(3, dtype="float32"), 0))
        1.0
    """
    if named_dtype(x) != "float64":
        return ops.mean(x, axis=axis, keepdims=keepdims)
    # On some backends `ops.mean` computes float64 in float32.
    length = ops.cast(ops.shape(x)[axis], "float64")
    return ops.sum(x, axis=axis, keepdims=keepdims) / length
