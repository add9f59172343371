"""Diversity between groups of beams, as Transformers 4.34 had it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    LogitsProcessor = object
else:
    from transformers.generation.logits_process import LogitsProcessor

__all__ = ["HammingDiversityLogitsProcessor"]


class HammingDiversityLogitsProcessor(LogitsProcessor):
    """Lowers the scores of tokens that earlier groups of beams have chosen in the same step.

    Args:
        diversity_penalty: how much is taken off for each time a token was chosen, above 0.
        num_beams: beams of each prompt, at least 2.
        num_beam_groups: groups they are divided into, from 2 to `num_beams`.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> import torch
        >>> from headsmith.compat.diversity import HammingDiversityLogitsProcessor
        >>> diverse = HammingDiversityLogitsProcessor(0.5, num_beams=2, num_beam_groups=2)
        >>> chosen = torch.tensor([2, 0])  # by the first group; the second has not chosen yet
        >>> diverse(torch.tensor([[1]]), torch.zeros(1, 3), chosen, 1).tolist()
        [[0.0, 0.0, -0.5]]
    """

    def __init__(self, diversity_penalty: float, num_beams: int, num_beam_groups: int) -> None:
        if not isinstance(diversity_penalty, float) or diversity_penalty <= 0.0:
            raise ValueError(
                "Expected diversity_penalty to be a float above 0. "
                f"Received: {diversity_penalty!r}."
            )
        if not isinstance(num_beams, int) or num_beams < 2:
            raise ValueError(f"Expected num_beams of at least 2. Received: {num_beams!r}.")
        if not isinstance(num_beam_groups, int) or not 2 <= num_beam_groups <= num_beams:
            raise ValueError(
                f"Expected num_beam_groups from 2 to num_beams={num_beams}. "
                f"Received: {num_beam_groups!r}."
            )
        self._penalty = diversity_penalty
        self._beams = num_beams
        self._size = num_beams // num_beam_groups

    def __call__(
        self, input_ids: Tensor, scores: Tensor, current_tokens: Tensor, beam_group_idx: int
    ) -> Tensor:
        """Change the scores of one group, in place.

        Args:
            input_ids: not used.
            scores: of the group, (prompts × beams of the group, vocabulary).
            current_tokens: what has been chosen in this step, (prompts × beams,).
            beam_group_idx: which group it is.

        Returns:
            `scores`.
        """
        start = beam_group_idx * self._size
        size = min(start + self._size, self._beams) - start
        if start == 0:
            return scores
        for i, chosen in enumerate(current_tokens.view(-1, self._beams)):
            often = torch.bincount(chosen[:start], minlength=scores.shape[-1]).to(scores.device)
            scores[i * size : (i + 1) * size] -= self._penalty * often
        return scores
