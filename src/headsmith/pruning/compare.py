"""Compare two models text by text: what a reader of a report wants to know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from headsmith.pruning.data import Batch
from headsmith.pruning.objective import LossObjective, MatchEmbedding, MatchHidden, Objective
from headsmith.pruning.replay import inference, to_device

__all__ = ["Comparison", "compare", "output_error"]


@dataclass(frozen=True)
class Comparison:
    """How close a pruned model's outputs are to the unpruned model's.

    Args:
        quality: measure → value over all texts: `error` (of the objective) always; `cosine`
            (mean) and `cosine_low` (5th percentile) where outputs are vectors;
            `similarity_rank_correlation` for embeddings: Spearman correlation of all pairwise
            cosines before and after; `agreement` (share of equal top choices) where they are
            distributions.
        per_text: each text's own cosine, or agreement, batch by batch; empty for a loss.
    """

    quality: dict[str, float]
    per_text: list[float]


def compare(
    dense: nn.Module,
    pruned: nn.Module,
    batches: Sequence[Batch],
    objective: Objective,
    *,
    step: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Run both models over texts that neither was fitted on.

    Args:
        dense: the unpruned model.
        pruned: the pruned model.
        batches: held-out data.
        objective: what was to be kept.
        step: called with (batches done, batches in all).
    """
    per_text: list[float] = []
    kept: list[tuple[Tensor, Tensor]] = []
    number = 0

    def look(output: Any, own: Batch, target: Tensor) -> None:
        nonlocal number
        number += 1
        if not isinstance(objective, LossObjective):
            got = objective.target(output, own)
            per_text.extend(_by_text(got.float(), target.float(), own, objective))
            if isinstance(objective, MatchEmbedding):
                kept.append((target.float().cpu(), got.float().cpu()))
        if step is not None:
            step(number, len(batches))

    quality = {"error": output_error(dense, pruned, batches, objective, look=look)}
    if per_text and isinstance(objective, MatchEmbedding | MatchHidden):
        quality["cosine"] = float(np.mean(per_text))
        quality["cosine_low"] = float(np.percentile(per_text, 5))
    elif per_text:
        quality["agreement"] = float(np.mean(per_text))
    if sum(len(target) for target, _ in kept) > 2:
        before, after = (torch.cat(side) for side in zip(*kept, strict=True))
        quality["similarity_rank_correlation"] = _rank_correlation(before, after)
    return Comparison(quality, per_text)


def output_error(
    dense: nn.Module,
    pruned: nn.Module,
    batches: Sequence[Batch],
    objective: Objective,
    *,
    look: Callable[[Any, Batch, Tensor], None] | None = None,
) -> float:
    """The objective's error of `pruned` against `dense` over `batches`, per unit of its scale.

    Args:
        dense: the unpruned model.
        pruned: the pruned model.
        batches: data.
        objective: what was to be kept.
        look: called for each batch with the pruned model's output, the batch on its device, and
            the unpruned model's target.
    """
    error = scale = 0.0
    with inference(dense), inference(pruned), torch.no_grad():
        for batch in batches:
            own = to_device(batch, dense)
            target = objective.target(dense(**own), own)
            output = pruned(**own)
            one, size = objective.error(output, own, target)
            error, scale = error + float(one), scale + size
            if look is not None:
                look(output, own, target)
    return error / max(scale, 1e-30)


def _by_text(got: Tensor, target: Tensor, batch: Batch, objective: Objective) -> list[float]:
    if isinstance(objective, MatchEmbedding | MatchHidden):
        rows = F.cosine_similarity(got, target, dim=-1)
    else:
        rows = (got.argmax(-1) == target.argmax(-1)).float()
    texts = len(next(iter(batch.values())))
    if len(rows) == texts:
        return [float(r) for r in rows]
    if len(rows) == 2 * texts:  # answer spans: starts, then ends
        return [float(r) for r in rows.reshape(2, texts).mean(0)]
    mask = batch.get("attention_mask")
    each, rest = divmod(len(rows), texts)
    counts = [each] * texts if mask is None and not rest else [0]
    if mask is not None:
        counts = mask.sum(1).tolist()
    if len(rows) != sum(counts):
        return [float(rows.mean())] * texts  # positions were sampled
    return [float(part.mean()) for part in torch.split(rows, counts)]


def _rank_correlation(before: Tensor, after: Tensor) -> float:
    pairs = torch.triu_indices(len(before), len(before), offset=1)
    ranks = []
    for side in (before, after):
        similarities = (side @ side.T)[pairs[0], pairs[1]]
        ranks.append(similarities.argsort().argsort().double())
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])
