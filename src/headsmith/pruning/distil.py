"""Distillation: train the pruned model for some minutes to put out what the unpruned one does.

No labels are read. What is matched is the objective that pruning was to keep. One batch in eight
is not trained on; the weights that did best there are kept, those before training included, so
distillation never makes that measure worse.

Several processes (see `headsmith.pruning.processes`) train together: each takes a batch of its
own, and all make the same step along the mean of their gradients, by the clock of the first.

Source: Hinton, Vinyals and Dean (2015), with the whole model as its own teacher.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from headsmith.errors import BudgetError
from headsmith.pruning.compare import output_error
from headsmith.pruning.data import Batch
from headsmith.pruning.objective import Objective
from headsmith.pruning.processes import (
    add_up,
    count,
    from_first,
    is_first,
    number,
    take_from_first,
)
from headsmith.pruning.replay import inference, to_device
from headsmith.pruning.work import (
    Work,
    fingerprint_of_data,
    fingerprint_of_model,
    key_of,
    name_of,
)

__all__ = ["Distilled", "check_minutes", "distil"]

_HELD_OUT = 8
_RATE = 2e-4
_WARM_UP = 0.05
_CHECKS = 10
_CACHED_BYTES = 1 << 28


@dataclass(frozen=True)
class Distilled:
    """What distillation did.

    Args:
        before: the objective's error on batches not trained on, before.
        after: the same with the weights that were kept; never above `before`.
        steps: optimiser steps taken.
    """

    before: float
    after: float
    steps: int


def check_minutes(minutes: float) -> None:
    """Refuse a time that never ends.

    Raises:
        BudgetError: it is negative, infinite or not a number.
    """
    if not (isinstance(minutes, int | float) and 0 <= minutes < math.inf):
        raise BudgetError(
            f"Distillation takes a number of minutes, 0 or more. Received {minutes!r}."
        )


def distil(
    dense: nn.Module,
    pruned: nn.Module,
    batches: Sequence[Batch],
    objective: Objective,
    *,
    minutes: float,
    seed: int = 0,
    work: Work | None = None,
    step: Callable[[int, int], None] | None = None,
) -> Distilled:
    """Train `pruned` in place to follow `dense`; input embeddings stay as they are.

    Args:
        dense: the unpruned model, the teacher.
        pruned: the student.
        batches: at least 2; every eighth is only measured on.
        objective: what to match.
        minutes: how long to train; the learning rate falls to zero over that time.
        seed: of the order of the batches.
        work: where the outcome is kept, and taken from.
        step: called with (seconds spent, seconds in all), both whole.

    Raises:
        BudgetError: `minutes` is negative, infinite or not a number.
    """
    check_minutes(minutes)
    trained = _trained(pruned)
    work, key = work or Work(), ""
    if work.folder is not None:
        weights = fingerprint_of_model(dense), fingerprint_of_model(pruned)
        key = key_of(*weights, fingerprint_of_data(batches), [minutes, seed, *name_of(objective)])
    held = work.read_tensors("distillation", key)
    if held is not None:
        with torch.no_grad():
            for place, parameter in enumerate(trained):
                parameter.copy_(held[0][str(place)])
        return Distilled(**held[1])
    found = _train(dense, pruned, batches, objective, trained, minutes, seed, step)
    work.write_tensors(
        "distillation", key, {str(i): p for i, p in enumerate(trained)}, asdict(found)
    )
    return found


def _train(
    dense: nn.Module,
    pruned: nn.Module,
    batches: Sequence[Batch],
    objective: Objective,
    trained: Sequence[nn.Parameter],
    minutes: float,
    seed: int,
    step: Callable[[int, int], None] | None,
) -> Distilled:
    aside = [b for i, b in enumerate(batches) if i % _HELD_OUT == 1]
    fitted = [b for i, b in enumerate(batches) if i % _HELD_OUT != 1]
    before = from_first(output_error(dense, pruned, aside, objective))
    if not aside or not trained or not math.isfinite(before):
        return Distilled(before, before, 0)
    seconds = 60 * minutes
    targets, together = _Targets(dense, objective), _Together(trained, seconds)
    optimizer = torch.optim.AdamW(trained, lr=_RATE, weight_decay=0.0)
    best, kept = before, [p.detach().clone() for p in trained]
    order, turns = random.Random(seed), list[int]()
    steps = checks = 0
    while together.done < 1:
        while len(turns) < count():
            turns += order.sample(range(len(fitted)), len(fitted))
        mine, turns = turns[number()], turns[count() :]
        batch = to_device(fitted[mine], pruned)
        with _training(pruned, trained):
            total, scale = objective.error(pruned(**batch), batch, targets(mine, batch))
            loss = total / max(scale, 1e-30)
            if torch.isfinite(loss):
                loss.backward()  # type: ignore[no-untyped-call]
            rate = _RATE * _shape(together.done)
            if together.mean_gradients():
                for group in optimizer.param_groups:
                    group["lr"] = rate
                nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        steps += 1
        if together.done * _CHECKS >= checks + 1:
            checks += 1
            best, kept = _better(dense, pruned, aside, objective, trained, best, kept)
        if step is not None:
            step(min(int(together.spent), math.ceil(seconds)), math.ceil(seconds))
    best, kept = _better(dense, pruned, aside, objective, trained, best, kept)
    with torch.no_grad():
        for parameter, value in zip(trained, kept, strict=True):
            parameter.copy_(value)
    take_from_first(trained)
    if step is not None:
        step(math.ceil(seconds), math.ceil(seconds))
    return Distilled(before, best, steps)


def _trained(model: nn.Module) -> list[nn.Parameter]:
    """All floating parameters but those of the input embeddings: a table of every word."""
    find = getattr(model, "get_input_embeddings", None)
    table = find() if callable(find) else None
    fixed = {id(p) for p in table.parameters()} if isinstance(table, nn.Module) else set()
    return [p for p in model.parameters() if id(p) not in fixed and p.is_floating_point()]


def _shape(done: float) -> float:
    """Rise over the first twentieth, then fall to zero."""
    return min(done / _WARM_UP, 1.0) * max(0.0, 1.0 - done) if done else 1e-3


class _Together:
    """The clock and the gradients that all processes have in common.

    Args:
        trained: what has gradients.
        seconds: how long to train.
    """

    def __init__(self, trained: Sequence[nn.Parameter], seconds: float) -> None:
        self._trained, self._seconds = trained, seconds
        self._begun = time.perf_counter()
        self.spent = 0.0

    @property
    def done(self) -> float:
        """Share of the time that is over; may exceed 1."""
        return self.spent / self._seconds if self._seconds else 1.0

    def mean_gradients(self) -> bool:
        """Make gradients the mean over the processes that have some; tell whether any has."""
        mine = [p.grad for p in self._trained]
        any_here = any(g is not None for g in mine)
        spent = time.perf_counter() - self._begun
        if count() == 1:
            self.spent = spent
            return any_here
        told = torch.tensor([spent if is_first() else 0.0, float(any_here)], dtype=torch.float64)
        add_up(told)
        self.spent, counted = told.tolist()
        if not counted:
            return False
        # In one piece: a call for each of the parameters would wait for the others each time.
        flat = torch.cat(
            [
                (torch.zeros_like(p) if g is None else g).reshape(-1).float()
                for p, g in zip(self._trained, mine, strict=True)
            ]
        )
        add_up(flat)
        flat /= counted
        parts = torch.split(flat, [p.numel() for p in self._trained])
        for parameter, part in zip(self._trained, parts, strict=True):
            parameter.grad = part.view_as(parameter).to(parameter.dtype)
        return True


class _Targets:
    """What the teacher puts out, kept where there is room for it."""

    def __init__(self, dense: nn.Module, objective: Objective) -> None:
        self._dense, self._objective = dense, objective
        self._kept: dict[int, Tensor] = {}
        self._room = _CACHED_BYTES

    def __call__(self, number: int, batch: Batch) -> Tensor:
        if number in self._kept:
            return self._kept[number]
        with inference(self._dense), torch.no_grad():
            found = self._objective.target(self._dense(**batch), batch)
        size = found.numel() * found.element_size()
        if size <= self._room:
            self._kept[number] = found
            self._room -= size
        return found


@contextmanager
def _training(model: nn.Module, trained: Sequence[nn.Parameter]) -> Iterator[None]:
    """Gradients for what is trained, none for the rest; no dropout, for the teacher has none."""
    with inference(model), torch.enable_grad():
        for parameter in trained:
            parameter.requires_grad_(True)
        try:
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad_(False)  # `inference` gives back what was asked for


def _better(
    dense: nn.Module,
    pruned: nn.Module,
    aside: Sequence[Batch],
    objective: Objective,
    trained: Sequence[nn.Parameter],
    best: float,
    kept: list[Tensor],
) -> tuple[float, list[Tensor]]:
    """The smaller of two errors, with its weights; the first process judges."""
    error = from_first(output_error(dense, pruned, aside, objective))
    if error < best:
        return error, [p.detach().clone() for p in trained]
    return best, kept
