"""Language-model losses from hidden states and output weights: the logits never exist.

At 4096 tokens and 50257 words the logits alone are 785 MiB in float32, and training holds them
about three times. Here a few hundred rows exist at a time. Rows without a label are dropped
before the product, so a masked language model multiplies a seventh of them.

The work is done by `torch.nn.functional.linear_cross_entropy` where torch has it (2.13), and
by a loop of checkpointed chunks elsewhere: label smoothing, autocast, mixed dtypes, captured
graphs, `torch.func`, forward-mode differentiation. The idea is that of Cut Cross-Entropy (Wijmans
et al. 2024, https://arxiv.org/abs/2411.09009) and of Liger-Kernel's fused linear cross-entropy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from headsmith.spec.chunks import check_chunk_size
from headsmith.spec.losses import Reduction, check_reduction
from headsmith.torch.eager import autocast_dtype, compute_dtype, may_read_values
from headsmith.torch.losses import IGNORED, divide, shift_left

__all__ = [
    "causal_language_modeling_loss_from_hidden",
    "linear_cross_entropy",
    "masked_language_modeling_loss_from_hidden",
]

_CHUNK_BYTES = 1 << 26
"""Logits held at a time by the loop, in float32: 64 MiB."""
_NATIVE_CHUNK_BYTES = 1 << 27
"""The same for torch's function on a CPU, which holds fewer copies of them.

Torch's own choice there, 16 of 2048 rows at 50257 words, spends its time on passes over the
gradient of the weights: 9.0 s against 3.7 s.
"""


def linear_cross_entropy(
    hidden_states: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    bias: Tensor | None = None,
    num_items_in_batch: Tensor | float | None = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    chunk_size: int | None = None,
) -> Tensor:
    """Give the cross-entropy of `hidden_states @ weight.T + bias` against labels.

    Args:
        hidden_states: Floating tensor (..., hidden).
        weight: Floating tensor (vocab, hidden), as `nn.Linear` keeps it.
        labels: Integer tensor (...).
        bias: Floating tensor (vocab,). Default: none.
        num_items_in_batch: Divides the sum in place of the number of labels that count.
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1].
        reduction: "mean" (default), "sum", or "none".
        chunk_size: Rows of logits held at a time. Default: 128 MiB of them in float32 on a CPU,
            torch's choice elsewhere; 64 MiB in the loop.

    Returns:
        Scalar, or (...) with "none". float32, or float64 for float64. Where torch's function
        does it, a scalar has one backward pass: no `retain_graph=True`, no second derivatives.
        The loop, which label smoothing takes, has both; under `torch.func.grad` and its kin it
        keeps the logits of all chunks.

    Raises:
        ValueError: Shapes that do not fit, an unknown reduction, or a chunk below one row.

    Example:
        >>> import torch
        >>> loss = linear_cross_entropy(torch.ones(2, 3), torch.zeros(4, 3), torch.tensor([0, 1]))
        >>> f"{loss:.4f}"
        '1.3863'
    """
    check_reduction(reduction, num_items_in_batch)
    check_chunk_size(chunk_size, "linear_cross_entropy")
    if hidden_states.shape[:-1] != labels.shape or hidden_states.shape[-1] != weight.shape[-1]:
        raise ValueError(
            "Expected hidden states (..., hidden), weights (vocab, hidden) and labels (...). "
            f"Received: {tuple(hidden_states.shape)}, {tuple(weight.shape)} and "
            f"{tuple(labels.shape)}."
        )
    flat = hidden_states.reshape(-1, hidden_states.shape[-1])
    target = labels.reshape(-1).to(device=flat.device, dtype=torch.long)
    ignored = target == ignore_index
    count = target.numel() - ignored.sum()
    readable = may_read_values(hidden_states, weight, labels, bias)
    rows = None
    if readable:
        if int(count) < target.numel():
            rows = (~ignored).nonzero().squeeze(-1)
            flat, target = flat.index_select(0, rows), target.index_select(0, rows)
    else:
        flat = flat.masked_fill(ignored.unsqueeze(-1), 0.0)
    native = (
        readable
        and target.numel() > 0
        and label_smoothing == 0.0
        and hasattr(F, "linear_cross_entropy")
        and autocast_dtype(flat) is None
        and all(t is None or t.dtype == flat.dtype for t in (weight, bias))
        and flat.dtype in (torch.float32, torch.float64)
    )
    inner: Reduction = "none" if reduction == "none" else "sum"
    compute = _native if native else _loop
    losses = compute(flat, weight, bias, target, ignore_index, label_smoothing, inner, chunk_size)
    if reduction == "none":
        if rows is not None:
            losses = losses.new_zeros(labels.numel()).index_copy(0, rows, losses)
        return losses.view(labels.shape)
    return losses if reduction == "sum" else divide(losses, count, num_items_in_batch)


def _rows_of(chunk_bytes: int, weight: Tensor) -> int:
    return max(1, chunk_bytes // (4 * weight.shape[0]))


def _native(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    ignore_index: int,
    label_smoothing: float,
    reduction: Reduction,
    chunk_size: int | None,
) -> Tensor:
    """Let torch do it; only called where torch can."""
    if chunk_size is None and hidden.device.type == "cpu":
        chunk_size = _rows_of(_NATIVE_CHUNK_BYTES, weight)
    options = torch.nn.LinearCrossEntropyOptions(
        # Keeping the gradients for a second backward pass would cost another copy of them.
        allow_retain_graph=False,
        batch_chunk_size=chunk_size,
        chunking_method="auto" if chunk_size is None else None,
    )
    return F.linear_cross_entropy(
        hidden,
        weight,
        target,
        linear_bias=bias,
        reduction=reduction,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        options=options,
    )


def _loop(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    ignore_index: int,
    label_smoothing: float,
    reduction: Reduction,
    chunk_size: int | None,
) -> Tensor:
    """Go chunk by chunk; the backward pass makes each chunk's logits again."""

    def score(part: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        logits = F.linear(part, weight, bias)
        return F.cross_entropy(
            logits.to(compute_dtype(logits.dtype)),
            labels,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction=reduction,
        )

    size = chunk_size or _rows_of(_CHUNK_BYTES, weight)
    parts = [
        (hidden[first : first + size], target[first : first + size])
        for first in range(0, max(hidden.shape[0], 1), size)
    ]
    # What torch.func differentiates cannot be made again: it forbids the hooks that takes.
    allowed = torch._C._autograd._saved_tensors_hooks_is_enabled  # type: ignore[attr-defined]
    hooked = torch.compiler.is_compiling() or allowed()
    if torch.is_grad_enabled() and hooked:
        losses = [
            checkpoint(score, *part, weight, bias, use_reentrant=False, preserve_rng_state=False)
            for part in parts
        ]
    else:
        losses = [score(*part, weight, bias) for part in parts]
    return torch.cat(losses) if reduction == "none" else torch.stack(losses).sum()


def causal_language_modeling_loss_from_hidden(
    hidden_states: Tensor,
    weight: Tensor,
    labels: Tensor | None = None,
    *,
    bias: Tensor | None = None,
    shift_labels: Tensor | None = None,
    num_items_in_batch: Tensor | float | None = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    chunk_size: int | None = None,
) -> Tensor:
    """Give `causal_language_modeling_loss(hidden_states @ weight.T + bias, labels)`.

    Args:
        hidden_states: Floating tensor (batch, seq, hidden).
        weight: Floating tensor (vocab, hidden): the output embeddings.
        labels: Integer tensor (batch, seq): the tokens themselves, shifted here.
        bias: Floating tensor (vocab,). Default: none.
        shift_labels: Labels that are shifted already; win over `labels`.
        num_items_in_batch: Divides the sum in place of the number of labels that count.
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1].
        reduction: "mean" (default), "sum", or "none".
        chunk_size: As in `linear_cross_entropy`.

    Returns:
        As `causal_language_modeling_loss`.

    Raises:
        ValueError: No labels, shapes that do not fit, or an unknown reduction.

    Example:
        >>> import torch
        >>> loss = causal_language_modeling_loss_from_hidden(
        ...     torch.ones(1, 3, 8), torch.zeros(4, 8), torch.tensor([[0, 1, 2]]))
        >>> f"{loss:.4f}"
        '1.3863'
    """
    if shift_labels is None:
        if labels is None:
            raise ValueError("Expected `labels` or `shift_labels`. Received: neither.")
        shift_labels = shift_left(labels, ignore_index)
    return linear_cross_entropy(
        hidden_states,
        weight,
        shift_labels,
        bias=bias,
        num_items_in_batch=num_items_in_batch,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
        chunk_size=chunk_size,
    )


def masked_language_modeling_loss_from_hidden(
    hidden_states: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    bias: Tensor | None = None,
    num_items_in_batch: Tensor | float | None = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    chunk_size: int | None = None,
) -> Tensor:
    """Give `masked_language_modeling_loss(hidden_states @ weight.T + bias, labels)`.

    Args:
        hidden_states: Floating tensor (batch, seq, hidden), after the head's transform.
        weight: Floating tensor (vocab, hidden): the output embeddings.
        labels: Integer tensor (batch, seq); -100 where the token was not masked out.
        bias: Floating tensor (vocab,). Default: none.
        num_items_in_batch: Divides the sum in place of the number of labels that count.
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1].
        reduction: "mean" (default), "sum", or "none".
        chunk_size: As in `linear_cross_entropy`.

    Returns:
        As `masked_language_modeling_loss`.

    Raises:
        ValueError: Shapes that do not fit, or an unknown reduction.

    Example:
        >>> import torch
        >>> masked_language_modeling_loss_from_hidden(
        ...     torch.ones(1, 3, 8), torch.zeros(4, 8), torch.full((1, 3), -100)).item()
        0.0
    """
    return linear_cross_entropy(
        hidden_states,
        weight,
        labels,
        bias=bias,
        num_items_in_batch=num_items_in_batch,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
        chunk_size=chunk_size,
    )
