"""Ways to prune that are compared: ours, and scores alone as others use them.

"Alone" is what most tools do: every block keeps the same fraction, nothing is tried, nothing is
repaired. The scores are those of the literature in our engine: random, magnitude, gradient of the
mask (Michel et al. 2019), diagonal Fisher (Kwon et al. 2022).
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from headsmith.pruning import apply_plan, describe, prune
from headsmith.pruning.data import Batch
from headsmith.pruning.pipeline import rank
from headsmith.spec.plan import BlockPlan, PrunePlan

KEPT = (0.7, 0.5, 0.33, 0.25)
ALONE = ("random", "magnitude", "gradient", "fisher")
NEED_NO_DATA = ("random", "magnitude")


class Alone:
    """One score by itself. The blocks are ranked once for all sizes.

    Args:
        score: one of `ALONE`.
        model: the unpruned model.
        calibration: what to rank on.
        objective: what is to be kept.
    """

    def __init__(
        self, score: str, model: nn.Module, calibration: Sequence[Batch], objective: Any
    ) -> None:
        begun = time.process_time()
        data = calibration[:1] if score in NEED_NO_DATA else calibration
        self._rankings = rank(model, data, objective, score=score)
        self.seconds = time.process_time() - begun

    def __call__(self, model: nn.Module, kept: float) -> PrunePlan:
        """Cut `model` in place."""
        description = describe(model)
        plan = PrunePlan(
            description.model_type,
            {
                b.name: BlockPlan(
                    b.kind, b.count, self._rankings[b.name].best(max(1, round(kept * b.count)))
                )
                for b in description.blocks
            },
        )
        apply_plan(model, plan)
        return plan


def ours(
    model: nn.Module,
    calibration: Sequence[Batch],
    objective: Any,
    length: int,
    **settings: Any,
) -> tuple[PrunePlan, float, Mapping[str, float]]:
    """Prune `model` in place; give the plan, the CPU seconds of it all, and those of the stages."""
    begun = time.process_time()
    result = prune(model, calibration, objective, length=length, **settings)
    return result.plan, time.process_time() - begun, result.seconds
