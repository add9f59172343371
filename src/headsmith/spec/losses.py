"""What the losses of both wings are told by name, and what they refuse alike."""

from __future__ import annotations

from typing import Any, Literal

__all__ = ["ProblemType", "Reduction", "check_label_smoothing", "check_reduction"]

Reduction = Literal["mean", "sum", "none"]
"""What becomes of the losses of single labels."""

ProblemType = Literal["regression", "single_label_classification", "multi_label_classification"]
"""What `sequence_classification_loss` may be told of its labels."""


def check_label_smoothing(label_smoothing: float) -> None:
    """Refuse a share of the target below 0 or above 1.

    Raises:
        ValueError: As said.

    Example:
        >>> check_label_smoothing(0.1)
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(
            f"Expected `label_smoothing` to be from 0 to 1. Received: {label_smoothing}."
        )


def check_reduction(reduction: str, num_items_in_batch: Any) -> None:
    """Refuse an unknown reduction, and a divisor without a mean.

    Args:
        reduction: "mean", "sum" or "none".
        num_items_in_batch: What the sum is divided by, or None.

    Raises:
        ValueError: As said.

    Example:
        >>> check_reduction("mean", 3)
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(
            f'Expected `reduction` to be "mean", "sum" or "none". Received: {reduction!r}.'
        )
    if num_items_in_batch is not None and reduction != "mean":
        raise ValueError(
            'Expected `reduction="mean"` with `num_items_in_batch`, which is what the sum is '
            f"divided by. Received: {reduction!r}."
        )
