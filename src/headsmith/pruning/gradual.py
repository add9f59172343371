"""GradualPruning: heads and neurons go little by little while a model is fine-tuned.

```
kept
1.0 ──────╮                          linear: the same share at every cut
          ╰╮                         cubic:  much at first, while there is time to recover,
            ╰──╮                             and little at the end (Zhu and Gupta 2017,
final           ╰─────────────────           "To prune, or not to prune")
     begin           end
```

Each step of that stair is a cut for good: weights go from the model and from the optimizer.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, RandomSampler
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from headsmith.errors import BudgetError, DataError, HeadsmithError
from headsmith.pruning.families import describe
from headsmith.pruning.objective import LossObjective, Objective, objective_for
from headsmith.pruning.pipeline import carry_out, check_model, make_plan
from headsmith.pruning.reoptimize import follow_plan
from headsmith.spec.cost import total_flops, total_parameters

__all__ = ["GradualPruning", "fraction_at"]

Schedule = Literal["cubic", "linear"]

_NEAR = 1e-9
_NOTED = (
    *("flops", "params", "schedule", "begin", "end", "every"),
    *("batches", "repair", "length", "score", "seed"),
)


def fraction_at(
    step: int, *, first: int, last: int, final: float, schedule: Schedule = "cubic"
) -> float:
    """The fraction that is to be left after `step`.

    Args:
        step: optimizer steps done.
        first: up to this step all is kept.
        last: from this step on `final` is kept.
        final: the fraction to end with, in (0, 1].
        schedule: `"cubic"` or `"linear"`.

    Example:
        >>> from headsmith.pruning.gradual import fraction_at
        >>> [round(fraction_at(s, first=0, last=4, final=0.5), 3) for s in range(5)]
        [1.0, 0.711, 0.562, 0.508, 0.5]
    """
    if step >= last:
        return final
    left = 1 - max(0, step - first) / (last - first)
    return final + (1 - final) * left ** (3 if schedule == "cubic" else 1)


class GradualPruning(TrainerCallback, ExportableState):
    """Prune a model for good, step by step, while `transformers.Trainer` fine-tunes it.

    Every `every` steps from `begin` to `end` a plan is made on batches of the training set and
    carried out; the last one leaves the model at its budget. The model shrinks in place: later
    steps are faster, and a checkpoint of any step opens with `AutoModel.from_pretrained`.

    Optimizer state of what stays is kept: moments (and any other state shaped like its
    parameter) are sliced as the parameter is. State of another shape, such as Adafactor's
    factored moments, begins anew for the parameters that were cut.

    The best checkpoint (`load_best_model_at_end`) is the best since the last cut: models of
    different sizes are not compared. To resume, open the checkpoint with `from_pretrained`, give
    it to a new `Trainer` with the same callback, and call `train(resume_from_checkpoint=...)`.

    One process; the model may be on any device.

    Args:
        flops: fraction of the blocks' FLOPs to keep at the end, in (0, 1]; or
        params: fraction of the blocks' parameters.
        schedule: `"cubic"` or `"linear"`.
        begin: when to begin, as a fraction of all optimizer steps.
        end: when the budget is reached.
        every: optimizer steps from one cut to the next; None makes about ten cuts.
        objective: what a cut is to preserve: `"loss"`, the model's own on its labels;
            `"match"`, what the model put out before the cut; or an `Objective`.
        batches: batches of the training set that each cut is decided on.
        repair: refit what is left on those batches after each cut.
        length: tokens of a sequence, for which FLOPs are counted.
        score: one of `headsmith.pruning.SCORES`.
        seed: of the choice of batches and of the scores.

    Raises:
        BudgetError: not exactly one of `flops` and `params` is given, or it is out of range.
        ValueError: another argument is out of range.

    Attributes:
        history: for each cut its `step` and the fraction `kept`.

    Example:
        >>> from headsmith.pruning import GradualPruning
        >>> callback = GradualPruning(flops=0.5, begin=0.1, end=0.7)
        >>> # Trainer(model, ..., callbacks=[callback]).train()
        >>> callback.history
        []
    """

    def __init__(
        self,
        *,
        flops: float | None = None,
        params: float | None = None,
        schedule: Schedule = "cubic",
        begin: float = 0.1,
        end: float = 0.7,
        every: int | None = None,
        objective: Literal["loss", "match"] | Objective = "loss",
        batches: int = 8,
        repair: bool = True,
        length: int = 128,
        score: str = "obs",
        seed: int = 0,
    ) -> None:
        if (flops is None) == (params is None):
            raise BudgetError("Give one budget: flops or params, the fraction to keep.")
        name, final = ("flops", flops) if params is None else ("params", params)
        if not (isinstance(final, int | float) and 0 < final <= 1):
            raise BudgetError(
                f"{name} is the fraction to keep at the end, above 0 and at most 1 "
                f"(0.6 keeps 60%). Received {final}."
            )
        if schedule not in ("cubic", "linear"):
            raise ValueError(f"schedule is 'cubic' or 'linear'. Received {schedule!r}.")
        if not 0 <= begin < end <= 1:
            raise ValueError(
                "begin and end are fractions of the training, 0 ≤ begin < end ≤ 1. "
                f"Received {begin} and {end}."
            )
        if (every is not None and every < 1) or batches < 1 or length < 1:
            raise ValueError(
                "every, batches and length are 1 or more. "
                f"Received {every}, {batches} and {length}."
            )
        self.flops, self.params, self.schedule = flops, params, schedule
        self.begin, self.end, self.every = begin, end, every
        self.objective, self.batches, self.repair = objective, batches, repair
        self.length, self.score, self.seed = length, score, seed
        self.history: list[dict[str, float]] = []
        self.dense_cost = 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint of Trainer notes of this callback."""
        arguments = {name: getattr(self, name) for name in _NOTED}
        if isinstance(self.objective, str):
            arguments["objective"] = self.objective
        return {
            "args": arguments,
            "attributes": {"history": self.history, "dense_cost": self.dense_cost},
        }

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See that the model can be pruned, and what it costs now."""
        if args.world_size > 1:
            raise HeadsmithError(
                f"GradualPruning works in one process. Received {args.world_size}."
            )
        model = kwargs["model"]
        check_model(model)
        noted = (state.stateful_callbacks or {}).get(type(self).__name__)
        if state.global_step and isinstance(noted, Mapping):  # training goes on from a checkpoint
            attributes = noted.get("attributes", {})
            self.history = list(attributes.get("history", self.history))
            self.dense_cost = int(attributes.get("dense_cost", self.dense_cost))
        else:
            self.history, self.dense_cost = [], 0
        self.dense_cost = self.dense_cost or self._cost(model)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Cut, if it is time to."""
        first, last = round(self.begin * state.max_steps), round(self.end * state.max_steps)
        last = max(last, first + 1)
        every = self.every or max(1, (last - first) // 10)
        step = state.global_step
        due = step == last or (first < step < last and (step - first) % every == 0)
        if not due:
            return
        wanted = fraction_at(
            step, first=first, last=last, final=self._final, schedule=self.schedule
        )
        model = kwargs["model"]
        fraction = wanted * self.dense_cost / max(1, self._cost(model))
        if fraction >= 1 - _NEAR:
            return
        self._cut(model, kwargs["optimizer"], kwargs["train_dataloader"], fraction, step)
        self.history.append({"step": step, "kept": self._cost(model) / self.dense_cost})
        # Scores of larger models must not win over those of the size that is to be reached.
        state.best_metric = state.best_model_checkpoint = state.best_global_step = None

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Warn if training ended before the budget was reached."""
        left = self._cost(kwargs["model"]) / max(1, self.dense_cost)
        if left > self._final + _NEAR:
            warnings.warn(
                f"Training ended after step {state.global_step}, before pruning did: "
                f"{left:.0%} is kept, not {self._final:.0%}. Prune the rest with "
                "headsmith.pruning.prune, or train longer.",
                stacklevel=2,
            )

    @property
    def _final(self) -> float:
        return float(self.params if self.flops is None else self.flops)  # type: ignore[arg-type]

    def _cost(self, model: nn.Module) -> int:
        shapes = describe(model).shapes
        if self.flops is None:
            return total_parameters(shapes)
        return total_flops(shapes, self.length)

    def _cut(
        self, model: nn.Module, optimizer: Any, loader: DataLoader[Any], fraction: float, step: int
    ) -> None:
        budget = {"flops" if self.params is None else "params": fraction}
        devices = [p.device.index for p in model.parameters() if p.device.type == "cuda"][:1]
        # Training draws the same numbers as without cuts, and a `forward` that Accelerate has
        # set on the model stays out: in a copy of the model it would run the model itself.
        with torch.random.fork_rng(devices), _own_forward(model):
            batches = self._batches(loader, step)
            plan, _ = make_plan(
                model,
                batches,
                self._objective(model, batches),
                length=self.length,
                score=self.score,
                seed=self.seed + step,
                **budget,  # type: ignore[arg-type]
            )
            with follow_plan(model, plan, optimizer):
                carry_out(model, plan, batches if self.repair else ())

    def _objective(self, model: nn.Module, batches: list[dict[str, Tensor]]) -> Objective:
        if not isinstance(self.objective, str):
            return self.objective
        if self.objective == "match":
            return objective_for(model)
        if not any("label" in name or "positions" in name for name in batches[0]):
            raise DataError(
                "objective='loss' needs labels in the training batches. Received "
                f"{sorted(batches[0])}. Use objective='match', which needs none."
            )
        return LossObjective(lambda output, batch: output.loss)

    def _batches(self, loader: DataLoader[Any], step: int) -> list[dict[str, Tensor]]:
        """Batches drawn apart from training, which must not lose its place in the data."""
        dataset = loader.dataset
        generator = torch.Generator().manual_seed(self.seed + step)
        sampler = (
            None
            if isinstance(dataset, IterableDataset)
            else RandomSampler(dataset, generator=generator)  # type: ignore[arg-type]
        )
        size = loader.batch_size or getattr(loader, "total_batch_size", None) or 8
        own: DataLoader[Any] = DataLoader(
            dataset, batch_size=size, sampler=sampler, collate_fn=loader.collate_fn
        )
        found = [_tensors(batch) for batch in islice(own, self.batches)]
        if not found:
            raise DataError("The training set gives no batches to decide on.")
        return found


@contextmanager
def _own_forward(model: nn.Module) -> Iterator[None]:
    given = vars(model).pop("forward", None)
    try:
        yield
    finally:
        if given is not None:
            model.forward = given


def _tensors(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    kept = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
    if "attention_mask" not in kept and "input_ids" in kept:
        kept["attention_mask"] = torch.ones_like(kept["input_ids"])
    return kept
