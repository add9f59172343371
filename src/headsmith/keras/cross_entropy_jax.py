"""Rows of sparse cross-entropy on JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["rows"]

_BLOCK_BYTES = 1 << 22
"""Logits looked at together on the way forward: what fits in a cache. 4 MiB."""


def rows(logits: Any, labels: Any, kept: Any) -> Any:
    """Give the loss of each row; see `headsmith.keras.cross_entropy`."""
    return _rows(logits, labels, jnp.ones(labels.shape, bool) if kept is None else kept)


def _log_sum_exp(logits: jax.Array) -> jax.Array:
    highest = jnp.max(logits, axis=1)
    highest = jnp.where(jnp.isfinite(highest), highest, 0.0)
    return jnp.log(jnp.sum(jnp.exp(logits - highest[:, None]), axis=1)) + highest


def _log_sum_exp_in_blocks(logits: jax.Array) -> Any:
    """Take a few rows at a time: each is then read from memory once, not twice."""
    number, classes = logits.shape
    size = max(1, _BLOCK_BYTES // (classes * logits.dtype.itemsize))
    if number < 4 * size or jax.default_backend() != "cpu":
        return _log_sum_exp(logits)
    whole = number // size * size

    def block(i: Any, out: jax.Array) -> jax.Array:
        part = jax.lax.dynamic_slice_in_dim(logits, i * size, size)
        return jax.lax.dynamic_update_slice_in_dim(out, _log_sum_exp(part), i * size, 0)

    out = jax.lax.fori_loop(0, whole // size, block, jnp.zeros(number, logits.dtype))
    return out.at[whole:].set(_log_sum_exp(logits[whole:])) if whole < number else out


@jax.jit
def _forward(logits: Any, labels: Any, kept: Any) -> tuple[jax.Array, Any]:
    log_total = _log_sum_exp_in_blocks(logits)
    picked = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jnp.where(kept, log_total - picked, 0.0), (logits, labels, kept, log_total)


@jax.custom_vjp
def _rows(logits: Any, labels: Any, kept: Any) -> Any:
    return _forward(logits, labels, kept)[0]


@jax.jit
def _backward(saved: Any, upstream: jax.Array) -> tuple[jax.Array, None, None]:
    logits, labels, kept, log_total = saved
    classes = jax.lax.broadcasted_iota(labels.dtype, logits.shape, 1)
    hit = (classes == labels[:, None]).astype(logits.dtype)
    gradient = (jnp.exp(logits - log_total[:, None]) - hit) * upstream[:, None]
    return jnp.where(kept[:, None], gradient, 0.0), None, None


_rows.defvjp(_forward, _backward)
