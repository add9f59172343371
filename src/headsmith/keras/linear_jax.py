"""Cross-entropy of a product, chunk by chunk, on JAX."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["row_losses", "weighted_sum"]

Settings = tuple[bool, float, int]


def _to_front(kept: jax.Array, chunk: int) -> tuple[jax.Array, jax.Array]:
    """Give an order with the kept rows first, padded to whole chunks, and how many they are."""
    number = kept.shape[0]
    order = jnp.argsort(~kept)  # stable
    padding = -number % chunk
    # What stands behind the end is never read for its own sake: any row will do.
    return jnp.pad(order, (0, padding)), jnp.sum(kept, dtype=jnp.int32)


@partial(jax.jit, static_argnums=(6, 7))
def _loop(
    hidden: Any,
    weight: Any,
    bias: Any,
    labels: Any,
    kept: Any,
    scale: Any,
    settings: Settings,
    gradients: bool,
) -> tuple[Any, Any]:
    """Give losses (rows,) and, if asked for, the gradients of `sum(scale * losses)`."""
    transposed, smoothing, chunk = settings
    number, width = hidden.shape
    classes = weight.shape[1 if transposed else 0]
    dtype = scale.dtype
    order, count = _to_front(kept, chunk)

    def body(state: Any) -> Any:
        i, losses, found = state
        rows = lax.dynamic_slice_in_dim(order, i * chunk, chunk)
        live = i * chunk + jnp.arange(chunk) < count
        h = jnp.where(live[:, None], hidden[rows], 0)
        y = labels[rows]
        out = lax.dot_general(
            h,
            weight,
            (((1,), (0 if transposed else 1,)), ((), ())),
            preferred_element_type=dtype,
        )
        out = out if bias is None else out + bias.astype(dtype)
        log_total = jax.nn.logsumexp(out, axis=1)
        target = jnp.take_along_axis(out, y[:, None], axis=1)[:, 0]
        if smoothing:
            target = (1 - smoothing) * target + smoothing * jnp.sum(out, axis=1) / classes
        # A row of padding is not to write over a row that is there.
        losses = losses.at[jnp.where(live, rows, number)].set(log_total - target, mode="drop")
        if not gradients:
            return i + 1, losses, found
        hit = (lax.broadcasted_iota(y.dtype, out.shape, 1) == y[:, None]).astype(dtype)
        if smoothing:
            hit = (1 - smoothing) * hit + smoothing / classes
        due = jnp.where(live, scale[rows], 0)
        d = ((jnp.exp(out - log_total[:, None]) - hit) * due[:, None]).astype(h.dtype)
        of_hidden, of_weight, of_bias = found
        step = lax.dot_general(d, weight, (((1,), (1 if transposed else 0,)), ((), ())))
        of_hidden = of_hidden.at[jnp.where(live, rows, number)].set(step, mode="drop")
        left, right = (h, d) if transposed else (d, h)
        of_weight += lax.dot_general(
            left, right, (((0,), (0,)), ((), ())), preferred_element_type=dtype
        )
        of_bias = None if bias is None else of_bias + jnp.sum(d, axis=0, dtype=dtype)
        return i + 1, losses, (of_hidden, of_weight, of_bias)

    found = (
        (
            jnp.zeros((number, width), hidden.dtype),
            jnp.zeros(weight.shape, dtype),
            None if bias is None else jnp.zeros(bias.shape, dtype),
        )
        if gradients
        else None
    )
    start = (jnp.int32(0), jnp.zeros(number, dtype), found)
    _, losses, found = lax.while_loop(lambda state: state[0] * chunk < count, body, start)
    return losses, found


def _like(found: Any, hidden: Any, weight: Any, bias: Any) -> Any:
    return tuple(
        None if g is None else g.astype(x.dtype)
        for g, x in zip(found, (hidden, weight, bias), strict=True)
    )


@partial(jax.custom_vjp, nondiff_argnums=(6,))
def _sum(
    hidden: Any, weight: Any, bias: Any, labels: Any, kept: Any, scale: Any, settings: Settings
) -> Any:
    losses, _ = _loop(hidden, weight, bias, labels, kept, scale, settings, False)
    return jnp.sum(losses * scale)


def _sum_forward(
    hidden: Any, weight: Any, bias: Any, labels: Any, kept: Any, scale: Any, settings: Settings
) -> Any:
    losses, found = _loop(hidden, weight, bias, labels, kept, scale, settings, True)
    return jnp.sum(losses * scale), _like(found, hidden, weight, bias)


def _sum_backward(settings: Settings, found: Any, upstream: Any) -> Any:
    scaled = (None if g is None else (g * upstream).astype(g.dtype) for g in found)
    return (*scaled, None, None, None)


_sum.defvjp(_sum_forward, _sum_backward)


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _rows(
    hidden: Any, weight: Any, bias: Any, labels: Any, kept: Any, settings: Settings, dtype: str
) -> Any:
    scale = jnp.ones(kept.shape, dtype)
    return _loop(hidden, weight, bias, labels, kept, scale, settings, False)[0]


def _rows_forward(
    hidden: Any, weight: Any, bias: Any, labels: Any, kept: Any, settings: Settings, dtype: str
) -> Any:
    given = (hidden, weight, bias, labels, kept)
    return _rows(*given, settings, dtype), given


def _rows_backward(settings: Settings, dtype: str, given: Any, upstream: Any) -> Any:
    _, found = _loop(*given, upstream, settings, True)
    return (*_like(found, *given[:3]), None, None)


_rows.defvjp(_rows_forward, _rows_backward)


def weighted_sum(
    hidden: Any,
    weight: Any,
    bias: Any,
    labels: Any,
    kept: Any,
    scale: Any,
    transposed: bool,
    smoothing: float,
    chunk: int,
) -> Any:
    """Give `sum(scale * losses)`; see `headsmith.keras.linear_losses`."""
    return _sum(hidden, weight, bias, labels, kept, scale, (transposed, smoothing, chunk))


def row_losses(
    hidden: Any,
    weight: Any,
    bias: Any,
    labels: Any,
    kept: Any,
    transposed: bool,
    smoothing: float,
    chunk: int,
) -> Any:
    """Give the loss of each row, 0 where it does not count."""
    dtype = "float64" if hidden.dtype == jnp.float64 else "float32"
    return _rows(hidden, weight, bias, labels, kept, (transposed, smoothing, chunk), dtype)
