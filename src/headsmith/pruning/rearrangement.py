"""A plan rearranged: in every block, what stays changes places with what goes where that helps.

The sizes stay as they are, so the budget does too. It takes one more pass over the calibration
data: the statistics of a block are gone by the time the search has said how much of it stays.

Source: Kwon et al. (2022), "A Fast Post-Training Pruning Framework for Transformers".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from headsmith.pruning.data import Batch
from headsmith.pruning.families import Description
from headsmith.pruning.objective import Objective
from headsmith.pruning.replay import inference
from headsmith.pruning.score.obs import weighed
from headsmith.pruning.score.rearrange import rearrange
from headsmith.pruning.statistics import Passes
from headsmith.spec.plan import PrunePlan

__all__ = ["rearranged"]


def rearranged(
    model: nn.Module,
    description: Description,
    batches: Sequence[Batch],
    objective: Objective,
    plan: PrunePlan,
    *,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> PrunePlan:
    """Exchange groups in each block of a plan until no exchange lowers the error after refitting.

    Args:
        model: the unpruned model; left as it was.
        description: what `describe` says of it.
        batches: calibration data.
        objective: what is to be kept.
        plan: which groups stay, by whatever score; it fits the model.
        seed: of the objective's random directions.
        progress: told how far the work is.

    Returns:
        A plan of the same sizes.
    """
    cut = {
        b.name: b
        for b in description.blocks
        if b.name in plan.blocks and 0 < len(plan.blocks[b.name].kept) < b.count
    }
    changed = dict(plan.blocks)
    done = 0
    left = {b.layer_index for b in description.blocks} - {b.layer_index for b in cut.values()}
    with inference(model), torch.no_grad():
        passes = Passes(
            model,
            description,
            batches,
            objective,
            needs={"inputs", "cotangents"},
            seed=seed,
            step=None if progress is None else lambda n, total: progress("statistics", n, total),
        )
        for _, _, statistics in passes.backwards(left):
            for name in [n for n in statistics if n in cut]:
                block, planned = cut[name], plan.blocks[name]
                matrix, inverse = weighed(block, description.base, statistics.pop(name))
                kept = rearrange(matrix, inverse, planned.kept, block.width)
                changed[name] = replace(planned, kept=kept)
                done += 1
                if progress is not None:
                    progress("rearrangement", done, len(cut))
    return replace(plan, blocks=changed)
