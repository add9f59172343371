"""The six losses of task heads, as functions.

| Function | Logits | Labels |
|---|---|---|
| `causal_language_modeling_loss` | (batch, seq, vocab) | (batch, seq), shifted here |
| `masked_language_modeling_loss` | (batch, seq, vocab) | (batch, seq) |
| `token_classification_loss` | (batch, seq, labels) | (batch, seq) |
| `sequence_classification_loss` | (batch, labels) | (batch,) or (batch, labels) |
| `multiple_choice_loss` | (batch, choices) | (batch,) |
| `question_answering_loss` | twice (batch, seq) | twice (batch,) |

They give the values of Transformers 5 (`transformers.loss.loss_utils`) where those are right.
Common to all: labels of -100 are ignored, whatever the logits there hold; if nothing is left the
loss is 0 and not NaN; 16-bit logits are computed in float32, and the loss is float32 (float64
for float64); `num_items_in_batch` divides the sum, so that accumulated gradients equal those of
one large batch; `reduction="none"` gives a loss per label; nothing passed in is changed.

The language-model losses also start from hidden states and output weights, and then the logits
never exist as a whole: see `headsmith.torch.linear_losses`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from headsmith.spec.losses import ProblemType, Reduction, check_reduction
from headsmith.torch.eager import compute_dtype, may_read_values

__all__ = [
    "ProblemType",
    "Reduction",
    "causal_language_modeling_loss",
    "masked_language_modeling_loss",
    "multiple_choice_loss",
    "question_answering_loss",
    "sequence_classification_loss",
    "shift_left",
    "token_classification_loss",
]

IGNORED = -100
"""The label that takes no part."""

_SMALL = 1 << 18
"""Logits of at most this many numbers are copied in less time than a further operation takes."""

_PACK_BELOW = 0.8
"""Copying the kept rows of the logits pays when fewer than this fraction are kept."""


def shift_left(labels: Tensor, ignore_index: int = IGNORED) -> Tensor:
    """Move labels one place to the left, so that each token predicts the next.

    Args:
        labels: Integer tensor (..., seq).
        ignore_index: What the last place is filled with.

    Returns:
        Tensor (..., seq).

    Example:
        >>> import torch
        >>> shift_left(torch.tensor([[5, 6, 7]])).tolist()
        [[6, 7, -100]]
    """
    if labels.shape[-1] == 0:
        return labels  # padding would make a place of none
    return F.pad(labels[..., 1:], (0, 1), value=ignore_index)


def divide(total: Tensor, count: Tensor | int, num_items_in_batch: Tensor | float | None) -> Tensor:
    """Divide a sum by the number of labels, or of items across an accumulated batch.

    Args:
        total: Scalar.
        count: The labels that count, a number or an integer scalar; 0 is taken as 1, since the
            sum is 0 then.
        num_items_in_batch: Taken in place of `count` if given, on any device.

    Returns:
        Scalar.

    Example:
        >>> import torch
        >>> divide(torch.tensor(6.0), torch.tensor(3), None).item()
        2.0
    """
    if num_items_in_batch is None:
        return total / (count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1))
    if isinstance(num_items_in_batch, Tensor):
        num_items_in_batch = num_items_in_batch.to(total.device)
    return total / num_items_in_batch


def _cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int,
    label_smoothing: float,
    reduction: Reduction,
    num_items_in_batch: Tensor | float | None,
) -> Tensor:
    """Cross-entropy of (..., classes) against (...)."""
    check_reduction(reduction, num_items_in_batch)
    if logits.shape[:-1] != labels.shape:
        raise ValueError(
            "Expected labels with the shape of the logits less their last dimension. "
            f"Received: logits {tuple(logits.shape)}, labels {tuple(labels.shape)}."
        )
    flat = logits if logits.ndim == 2 else logits.reshape(-1, logits.shape[-1])
    target = labels if labels.ndim == 1 else labels.reshape(-1)
    target = target.to(flat.device, torch.long)
    readable = may_read_values(logits, labels)
    here = readable and flat.is_cpu
    if here and num_items_in_batch is None and _none_ignored(target, ignore_index):
        # Nothing to look after; the case of the small losses, where each microsecond counts.
        if flat.dtype != torch.float64:
            flat = flat.float()
        losses = F.cross_entropy(flat, target, reduction=reduction, label_smoothing=label_smoothing)
        return losses.view(labels.shape) if reduction == "none" else losses
    inner: Reduction = "none" if reduction == "none" else "sum"
    count: Tensor | int = target.numel()
    if here:
        ignored = target == ignore_index
        count = target.numel() - int(ignored.count_nonzero())
        if reduction != "none" and count < _PACK_BELOW * target.numel():
            rows = (~ignored).nonzero().squeeze(-1)
            flat, target = flat.index_select(0, rows), target.index_select(0, rows)
        else:
            flat = _silence(flat, ignored.nonzero().squeeze(-1))
    else:
        ignored = target == ignore_index
        count = target.numel() - ignored.sum()
        zeroed = _silence(flat, ignored) if readable else None
        flat = flat.masked_fill(ignored.unsqueeze(-1), 0.0) if zeroed is None else zeroed
    losses = F.cross_entropy(
        flat.to(compute_dtype(flat.dtype)),
        target,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=inner,
    )
    if reduction == "none":
        return losses.view(labels.shape)
    return losses if inner == reduction else divide(losses, count, num_items_in_batch)


def _none_ignored(target: Tensor, ignore_index: int) -> bool:
    """Tell, at the price of one reduction, that no label is ignored; False = not known."""
    return target.numel() > 0 and int(target.min()) > ignore_index


def _silence(logits: Tensor, ignored: Tensor) -> Tensor:
    """Make sure that no gradient reaches the ignored rows, without a copy of the logits.

    `ignored` is their indices, or a bool mask where finding the indices would wait for a device.
    The gradient is 0 there already, unless the row holds an infinity or NaN: 0 * NaN.
    """
    if not (torch.is_grad_enabled() and logits.requires_grad):
        return logits
    view = logits.view_as(logits)

    def silence(gradient: Tensor) -> Tensor:
        # The gradient of a view that only the loss reads belongs to nobody else, so it may be
        # changed in place, unless a graph of it is being made.
        target = gradient.clone() if gradient.requires_grad else gradient
        if ignored.dtype == torch.bool:
            return target.masked_fill_(ignored.unsqueeze(-1), 0.0)
        return target.index_fill_(0, ignored, 0.0)

    view.register_hook(silence)  # type: ignore[no-untyped-call]
    return view


def causal_language_modeling_loss(
    logits: Tensor,
    labels: Tensor | None = None,
    *,
    shift_labels: Tensor | None = None,
    num_items_in_batch: Tensor | float | None = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Score each token's prediction of the next one.

    The value of Transformers 5's `ForCausalLMLoss`. Mended: all labels ignored gives 0; what
    the logits hold at ignored places reaches neither loss nor gradient.

    Args:
        logits: Floating tensor (batch, seq, vocab), or any leading dimensions.
        labels: Integer tensor (batch, seq): the tokens themselves, shifted here.
        shift_labels: Labels that are shifted already; win over `labels`.
        num_items_in_batch: Divides the sum in place of the number of labels that count.
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1]; the share of the target spread over all classes.
        reduction: "mean" (default), "sum", or "none".

    Returns:
        Scalar, or (batch, seq) with "none": at t the loss of predicting t + 1, 0 at the last
        place and wherever the label is ignored. float32, or float64 for float64.

    Raises:
        ValueError: No labels, shapes that do not fit, or an unknown reduction.

    Example:
        >>> import torch
        >>> causal_language_modeling_loss(torch.zeros(1, 3, 4), torch.tensor([[0, 1, 2]])).item()
        1.3862943649291992
    """
    if shift_labels is None:
        if labels is None:
            raise ValueError("Expected `labels` or `shift_labels`. Received: neither.")
        shift_labels = shift_left(labels, ignore_index)
    return _cross_entropy(
        logits,
        shift_labels,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
        num_items_in_batch=num_items_in_batch,
    )


def masked_language_modeling_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    num_items_in_batch: Tensor | float | None = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Score the prediction of masked-out tokens.

    The value of Transformers 5's `ForMaskedLMLoss`, mended as in
    `causal_language_modeling_loss`. On a CPU only the rows with a label are computed: about a
    seventh of them in BERT's pretraining.

    Args:
        logits: Floating tensor (batch, seq, vocab), or any leading dimensions.
        labels: Integer tensor (batch, seq); -100 where the token was not masked out.
        num_items_in_batch: Divides the sum in place of the number of labels that count.
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1].
        reduction: "mean" (default), "sum", or "none".

    Returns:
        Scalar, or (batch, seq) with "none". float32, or float64 for float64.

    Raises:
        ValueError: Shapes that do not fit, or an unknown reduction.

    Example:
        >>> import torch
        >>> masked_language_modeling_loss(torch.zeros(1, 2, 4), torch.tensor([[-100, -100]])).item()
        0.0
    """
    return _cross_entropy(
        logits,
        labels,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
        num_items_in_batch=num_items_in_batch,
    )


def token_classification_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    num_items_in_batch: Tensor | float | None = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Score a label for each token.

    The value of Transformers 5's `ForTokenClassification`, mended as in
    `causal_language_modeling_loss`.

    Args:
        logits: Floating tensor (batch, seq, labels), or any leading dimensions.
        labels: Integer tensor (batch, seq); -100 where there is none, as for padding.
        num_items_in_batch: Divides the sum in place of the number of labels that count.
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1].
        reduction: "mean" (default), "sum", or "none".

    Returns:
        Scalar, or (batch, seq) with "none". float32, or float64 for float64.

    Raises:
        ValueError: Shapes that do not fit, or an unknown reduction.

    Example:
        >>> import torch
        >>> token_classification_loss(torch.zeros(1, 2, 2), torch.tensor([[1, -100]])).item()
        0.6931471824645996
    """
    return _cross_entropy(
        logits,
        labels,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
        num_items_in_batch=num_items_in_batch,
    )


def multiple_choice_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    num_items_in_batch: Tensor | float | None = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Score which of several choices is right.

    What the multiple-choice models of Transformers compute. Mended as in
    `causal_language_modeling_loss`.

    Args:
        logits: Floating tensor (batch, choices).
        labels: Integer tensor (batch,) or (batch, 1).
        num_items_in_batch: Divides the sum in place of the number of labels that count.
        ignore_index: The label that takes no part. Default: -100.
        label_smoothing: In [0, 1].
        reduction: "mean" (default), "sum", or "none".

    Returns:
        Scalar, or (batch,) with "none". float32, or float64 for float64.

    Raises:
        ValueError: Shapes that do not fit, or an unknown reduction.

    Example:
        >>> import torch
        >>> multiple_choice_loss(torch.zeros(2, 4), torch.tensor([0, 3])).item()
        1.3862943649291992
    """
    return _cross_entropy(
        logits,
        labels.squeeze(-1) if labels.ndim == logits.ndim else labels,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
        num_items_in_batch=num_items_in_batch,
    )


def _both_at_once(
    start_logits: Tensor, end_logits: Tensor, start_positions: Tensor, end_positions: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Stack the two problems if nothing is ignored: the means of the halves have equal weight."""
    tensors = (start_logits, end_logits, start_positions, end_positions)
    if not (
        start_logits.device.type == "cpu"
        and start_logits.ndim == 2
        and 0 < start_logits.numel() <= _SMALL
        and start_logits.shape == end_logits.shape
        and start_logits.dtype == end_logits.dtype
        and start_positions.shape == end_positions.shape == start_logits.shape[:1]
        and may_read_values(*tensors)
    ):
        return None
    positions = torch.cat(tensors[2:])
    low, high = positions.aminmax()
    if int(low) < 0 or int(high) >= start_logits.shape[1]:
        return None
    logits = torch.cat(tensors[:2])
    return logits.to(compute_dtype(logits.dtype)), positions.to(torch.long)


def _inside(positions: Tensor, length: int) -> Tensor:
    """Put -100 for positions outside [0, length)."""
    inside = (positions >= 0) & (positions < length)
    return torch.where(inside, positions, IGNORED)


def question_answering_loss(
    start_logits: Tensor,
    end_logits: Tensor,
    start_positions: Tensor,
    end_positions: Tensor,
    *,
    num_items_in_batch: Tensor | float | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Score where an answer starts and ends: the mean of two cross-entropies.

    The value of Transformers 5's `ForQuestionAnsweringLoss` for positions in the window and
    beyond its end. Mended: a negative position is ignored too, where Transformers reads it as
    position 0, -100 among them; all ignored gives 0; positions are not changed.

    Args:
        start_logits: Floating tensor (batch, seq).
        end_logits: Floating tensor (batch, seq).
        start_positions: Integer tensor (batch,) or (batch, 1). Outside [0, seq) = ignored.
        end_positions: The same for the ends.
        num_items_in_batch: Divides both sums in place of the numbers of positions that count.
        label_smoothing: In [0, 1].
        reduction: "mean" (default), "sum", or "none".

    Returns:
        Scalar, or (batch,) with "none". float32, or float64 for float64.

    Raises:
        ValueError: Shapes that do not fit, or an unknown reduction.

    Example:
        >>> import torch
        >>> logits = torch.zeros(2, 8)
        >>> loss = question_answering_loss(
        ...     logits, logits, torch.tensor([3, -100]), torch.tensor([5, 512]))
        >>> f"{loss:.4f}"
        '2.0794'
    """
    if reduction == "mean" and num_items_in_batch is None:
        both = _both_at_once(start_logits, end_logits, start_positions, end_positions)
        if both is not None:
            return F.cross_entropy(*both, label_smoothing=label_smoothing)
    parts = []
    for logits, positions in ((start_logits, start_positions), (end_logits, end_positions)):
        if positions.ndim == logits.ndim:
            positions = positions.squeeze(-1)
        parts.append(
            _cross_entropy(
                logits,
                _inside(positions.to(logits.device), logits.shape[-1]),
                ignore_index=IGNORED,
                label_smoothing=label_smoothing,
                reduction=reduction,
                num_items_in_batch=num_items_in_batch,
            )
        )
    return (parts[0] + parts[1]) / 2


def sequence_classification_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    problem_type: ProblemType | None = None,
    num_items_in_batch: Tensor | float | None = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Score labels of whole sequences: one of several, several of several, or a number.

    The value of Transformers 5's `ForSequenceClassificationLoss`, which also writes the problem
    type into the config; here it is an argument. Mended as in `causal_language_modeling_loss`;
    integer labels do for a regression.

    Args:
        logits: Floating tensor (batch, labels).
        labels: One of several: integer tensor (batch,) or (batch, 1). Several of several:
            tensor (batch, labels), 0 to 1. A regression: tensor (batch,) or (batch, labels).
        problem_type: "single_label_classification" (cross-entropy),
            "multi_label_classification" (binary cross-entropy) or "regression" (mean squared
            error). None reads it off as Transformers does: a regression if `logits` has one
            column, single-label if the labels are integers, else multi-label.
        num_items_in_batch: Divides the sum in place of the number of labels that count.
        ignore_index: The label that takes no part, also in a cell of a multi-label matrix.
            Default: -100. In a regression every number is a target, -100 too.
        label_smoothing: In [0, 1], for single-label problems.
        reduction: "mean" (default), "sum", or "none".

    Returns:
        Scalar; with "none" (batch,) for single-label problems and (batch, labels) otherwise.
        float32, or float64 for float64.

    Raises:
        ValueError: An unknown problem type or reduction, smoothing where there is nothing to
            smooth, or shapes that do not fit.

    Example:
        >>> import torch
        >>> sequence_classification_loss(torch.tensor([[1.0], [3.0]]), torch.tensor([1, 1])).item()
        2.0
    """
    if problem_type is None:
        if logits.shape[-1] == 1:
            problem_type = "regression"
        elif not labels.is_floating_point() and labels.dtype != torch.bool:
            problem_type = "single_label_classification"
        else:
            problem_type = "multi_label_classification"
    if problem_type == "single_label_classification":
        return _cross_entropy(
            logits,
            labels.squeeze(-1) if labels.ndim == logits.ndim else labels,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction=reduction,
            num_items_in_batch=num_items_in_batch,
        )
    if problem_type not in ("regression", "multi_label_classification"):
        raise ValueError(
            'Expected `problem_type` to be "regression", "single_label_classification" or '
            f'"multi_label_classification". Received: {problem_type!r}.'
        )
    check_reduction(reduction, num_items_in_batch)
    if label_smoothing:
        raise ValueError(
            "Expected `label_smoothing` only with single-label problems. Received: "
            f"{label_smoothing} with {problem_type!r}."
        )
    scores = logits.to(compute_dtype(logits.dtype))
    if problem_type == "regression" and labels.ndim < scores.ndim and scores.shape[-1] == 1:
        labels = labels.unsqueeze(-1)
    if labels.shape != scores.shape:
        raise ValueError(
            "Expected labels of the shape of the logits. "
            f"Received: logits {tuple(logits.shape)}, labels {tuple(labels.shape)}."
        )
    target = labels.to(device=scores.device, dtype=scores.dtype)
    if problem_type == "regression":
        losses = F.mse_loss(scores, target, reduction="none")
        count = torch.tensor(losses.numel(), device=losses.device)
    else:
        ignored = target == ignore_index
        scores, target = scores.masked_fill(ignored, 0.0), target.masked_fill(ignored, 0.0)
        losses = F.binary_cross_entropy_with_logits(scores, target, reduction="none")
        losses = losses.masked_fill(ignored, 0.0)
        count = ignored.numel() - ignored.sum()
    if reduction == "none":
        return losses
    total = losses.sum()
    return total if reduction == "sum" else divide(total, count, num_items_in_batch)
