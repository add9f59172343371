"""Training: through Accelerate, and after a kill from where it was, to the same weights.

Everything random is a function of the seed and the step: the order of the windows
(`order.py`), dropout, the learning rate. So a state is weights, optimizer and step
(`training_state.py`), and a resumed run ends where an uninterrupted one would have.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headsmith.errors import DataError, HeadsmithError
from headsmith.extras import require
from headsmith.qa.features import Window, collate
from headsmith.qa.layout import Layout
from headsmith.qa.model import QAModel
from headsmith.qa.order import batches_of, seed_of
from headsmith.qa.training_state import State, find_state, write_state

__all__ = ["Trained", "TrainingOptions", "steps_of", "to_tensors", "train"]

_SHARDED = ("FSDP", "DEEPSPEED", "MEGATRON_LM")

Told = Callable[[int, int, float], None]
"""Told (steps done, steps in all, loss of the step)."""


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Args:
        epochs: passes over the data.
        batch_size: windows a batch and process.
        accumulate: batches whose gradients make one step.
        learning_rate: at its highest; it rises during `warmup` and falls to 0 in a line.
        warmup: fraction of the steps, 0 to 1.
        weight_decay: of all weights but biases and LayerNorm's.
        max_grad_norm: longer gradients are shortened to this.
        seed: of the order and of dropout.
        mixed_precision: `"no"`, `"fp16"` or `"bf16"`.
        save_every: steps between two states written to disk.
    """

    epochs: int = 2
    batch_size: int = 16
    accumulate: int = 1
    learning_rate: float = 1e-4
    warmup: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    seed: int = 0
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    save_every: int = 100

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1. Received {getattr(self, name)}.")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup is a fraction from 0 to 1. Received {self.warmup}.")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ValueError(f"learning_rate is above 0. Received {self.learning_rate}.")


@dataclass
class Trained:
    """What training gave.

    Args:
        losses: of each step, of the whole run, what came before a kill included.
        steps: how many there are.
        seconds: spent, without what was lost by a kill.
        resumed_at: step that a state was taken up at; 0 = from the start.
    """

    losses: list[float] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    resumed_at: int = 0


def steps_of(windows: int, options: TrainingOptions, processes: int = 1) -> tuple[int, int]:
    """Steps of one epoch, and of all of them."""
    batches = -(-windows // (options.batch_size * processes))
    one = -(-batches // options.accumulate)
    return one, one * options.epochs


def train(
    model: QAModel,
    windows: Sequence[Window],
    layout: Layout,
    options: TrainingOptions | None = None,
    *,
    folder: Path | None = None,
    resume: bool = False,
    told: Told | None = None,
    accelerator: Any = None,
) -> Trained:
    """Train a QA model in place.

    Args:
        model: with a new head, or to be trained further.
        windows: with labels.
        layout: of the tokenizer that made them.
        options: see there.
        folder: where states are kept meanwhile; None keeps none.
        resume: take up the last state in `folder`, if there is one.
        told: called after each step, on the main process.
        accelerator: an `accelerate.Accelerator` made before; None makes one.

    Returns:
        The losses. The model is in evaluation mode, with no wrapper left around it.

    Raises:
        DataError: there are no windows.
        CheckpointError: the state in `folder` belongs to another run.
        HeadsmithError: the loss is no longer a finite number.
    """
    options = options or TrainingOptions()
    if not windows:
        raise DataError("There is nothing to train on: no window was made.")
    if accelerator is None:
        accelerate = require("accelerate", "qa")
        accelerator = accelerate.Accelerator(mixed_precision=options.mixed_precision)
    if accelerator.distributed_type.value in _SHARDED:
        raise HeadsmithError(
            "Weights that are spread over processes are not supported here. Expected one process, "
            f"or data-parallel ones. Received {accelerator.distributed_type.value}."
        )
    lengths = [w.length for w in windows]
    world, rank = accelerator.num_processes, accelerator.process_index
    an_epoch, total = steps_of(len(windows), options, world)
    optimizer = torch.optim.AdamW(_groups(model, options.weight_decay), lr=options.learning_rate)
    key = _fingerprint(windows, options, world)
    result = Trained(steps=total)
    state = find_state(folder, key) if resume and folder is not None else None
    if state is not None:
        state.restore(model, optimizer)
        result.losses, result.seconds = list(state.losses), state.seconds
        result.resumed_at = state.step
    wrapped, stepper = accelerator.prepare(model, optimizer)
    if state is not None and state.scaler and accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(state.scaler)
    wrapped.train()
    batches: list[NDArray[np.int64]] = []
    begun = time.perf_counter() - result.seconds
    for step in range(result.resumed_at, total):
        epoch, place = divmod(step, an_epoch)
        if not batches or place == 0:
            batches = batches_of(lengths, options.batch_size * world, options.seed, epoch)
        parts = batches[place * options.accumulate : (place + 1) * options.accumulate]
        rate = options.learning_rate * _slope(step, total, options.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = 0.0
        for number, part in enumerate(parts):
            own = part[rank::world] if len(part) >= world else part[[rank % len(part)]]
            batch = to_tensors(
                collate([windows[i] for i in own], layout, labels=True), accelerator.device
            )
            torch.manual_seed(seed_of(options.seed, step, number, rank))
            last = number == len(parts) - 1
            with nullcontext() if last else accelerator.no_sync(wrapped):
                one = wrapped(**batch).loss / len(parts)
                accelerator.backward(one)
            loss += float(one.detach())
        if world > 1:
            mean = torch.tensor(loss, device=accelerator.device)
            loss = float(accelerator.reduce(mean, reduction="mean"))
        if not math.isfinite(loss):
            raise HeadsmithError(
                f"The loss of step {step + 1} is {loss}. Nothing of this step was kept. Try a "
                "lower learning rate, or --mixed-precision bf16 or no."
            )
        accelerator.clip_grad_norm_(wrapped.parameters(), options.max_grad_norm)
        stepper.step()
        stepper.zero_grad()
        result.losses.append(loss)
        done = step + 1
        if folder is not None and done % options.save_every == 0 and done < total:
            if accelerator.is_main_process:
                scaler = accelerator.scaler.state_dict() if accelerator.scaler else {}
                spent = time.perf_counter() - begun
                write_state(
                    folder,
                    State(done, result.losses, spent, key, scaler),
                    model,
                    optimizer,
                )
            accelerator.wait_for_everyone()
        if told is not None and accelerator.is_main_process:
            told(done, total, loss)
    result.seconds = time.perf_counter() - begun
    # Mixed precision has put a wrapper around `forward`, and leaves a bound method behind.
    accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    vars(model).pop("forward", None)
    model.eval()
    return result


def to_tensors(batch: dict[str, NDArray[Any]], device: torch.device) -> dict[str, Tensor]:
    """Arrays as tensors on a device."""
    return {name: torch.from_numpy(value).to(device) for name, value in batch.items()}


def _groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    named = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in named if p.ndim > 1]
    return [
        {"params": matrices, "weight_decay": decay},
        {"params": [p for p in named if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _slope(step: int, total: int, warmup: float) -> float:
    """The learning rate's factor at a step: up in a line, then down in a line."""
    rising = warmup * total
    if step < rising:
        return (step + 1) / (rising + 1)
    return (total - step) / max(1.0, total - rising)


def _fingerprint(
    windows: Sequence[Window], options: TrainingOptions, processes: int
) -> dict[str, Any]:
    """What a state must have in common with the run that takes it up."""
    digest = hashlib.sha256()
    for w in windows:
        digest.update(w.input_ids.tobytes())
        digest.update(f"{w.start_position},{w.end_position},{w.is_impossible};".encode())
    told = {k: v for k, v in asdict(options).items() if k != "save_every"}
    return {**told, "processes": processes, "windows": len(windows), "data": digest.hexdigest()}
