"""Refit the answer class of a QA model on what it sees at inference: the soft start.

Transformers 4.34 trained the class on the state of the *gold* start, which tells the label.
A checkpoint trained so answers badly whether there is an answer; the encoder below may still
know. Only the class is fitted here, on states computed once, which takes seconds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from headsmith.errors import DataError
from headsmith.qa.features import Featurized, collate
from headsmith.qa.layout import Layout
from headsmith.qa.model import QAModel
from headsmith.qa.no_answer import area_under_curve
from headsmith.qa.training import to_tensors
from headsmith.torch.squad import soft_start_state

__all__ = ["Refit", "refit_answer_class", "soft_start_features"]

_STEPS = 400
_PATIENCE = 40
_RATE = 2e-3


@dataclass(frozen=True)
class Refit:
    """What refitting did, on windows that were not fitted on.

    Args:
        loss_before: mean binary cross-entropy before.
        loss_after: the same after.
        auc_before: how often a window without answer scores above one with, before.
        auc_after: the same after.
        windows: fitted on.
        held_out: measured on.
        steps: of the fit; 0 = nothing was better than what was there.
    """

    loss_before: float
    loss_after: float
    auc_before: float
    auc_after: float
    windows: int
    held_out: int
    steps: int


def soft_start_features(
    model: QAModel,
    items: Sequence[Featurized],
    layout: Layout,
    *,
    batch_size: int = 32,
    told: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """What the answer class sees at inference, and the labels.

    Args:
        model: in evaluation mode.
        items: questions with labels.
        layout: of the tokenizer.
        batch_size: windows run at once.
        told: called with (windows done, windows in all).

    Returns:
        Float tensor (windows, 2, hidden): start state and CLS state; float tensor (windows,), 1 =
        the window holds no answer.
    """
    windows = [w for item in items for w in item.windows]
    device = next(model.parameters()).device
    states, labels = [], []
    for start in range(0, len(windows), batch_size):
        part = windows[start : start + batch_size]
        batch = to_tensors(collate(part, layout, labels=True), device)
        with torch.no_grad():
            hidden = model.hidden_states(
                batch["input_ids"], batch["attention_mask"], batch.get("token_type_ids")
            )
            scores = model.head.start_logits(hidden, p_mask=batch["p_mask"]).float()
            hidden = hidden.float()
            soft = soft_start_state(hidden, scores.softmax(1), batch["p_mask"])
            rows = torch.arange(len(part), device=device)
            states.append(torch.stack([soft, hidden[rows, batch["cls_index"]]], 1).cpu())
        labels.append(batch["is_impossible"].float().cpu())
        if told is not None:
            told(min(start + batch_size, len(windows)), len(windows))
    return torch.cat(states), torch.cat(labels)


def refit_answer_class(
    model: QAModel, states: Tensor, labels: Tensor, *, seed: int = 0, held_out: float = 0.2
) -> Refit:
    """Fit the answer class in place; nothing changes where no fit does better.

    Args:
        model: whose `head.answer_class` is fitted.
        states: from `soft_start_features`.
        labels: the same.
        seed: of the split.
        held_out: fraction of the windows that the fit is measured on; the last ones, so that
            windows of one document mostly stay together.

    Raises:
        DataError: the windows are too few, or all of them have an answer, or none.
    """
    aside = max(1, round(len(labels) * held_out))
    fitted, measured = slice(0, len(labels) - aside), slice(len(labels) - aside, None)
    for part in (fitted, measured):
        if len(labels[part]) < 2 or labels[part].min() == labels[part].max():
            raise DataError(
                "Refitting needs windows with an answer and windows without, in the first and in "
                f"the last part of the data. Received {len(labels)} windows, "
                f"{int(labels.sum())} of them without."
            )
    device = next(model.head.answer_class.parameters()).device
    trial = copy.deepcopy(model.head.answer_class).float().cpu()

    def logits(part: slice) -> Tensor:
        out: Tensor = trial(states[part, 1:], start_states=states[part, 0])
        return out

    def measure() -> tuple[float, float]:
        with torch.no_grad():
            scores = logits(measured)
            loss = F.binary_cross_entropy_with_logits(scores, labels[measured])
        return float(loss), area_under_curve(scores.tolist(), labels[measured].bool().tolist())

    before = best = measure()
    kept, at = copy.deepcopy(trial.state_dict()), 0
    optimizer = torch.optim.AdamW(trial.parameters(), lr=_RATE, weight_decay=0.05)
    generator = torch.Generator().manual_seed(seed)
    count = len(labels[fitted])
    for step in range(1, _STEPS + 1):
        rows = torch.randperm(count, generator=generator)[:2048]
        out: Tensor = trial(states[rows, 1:], start_states=states[rows, 0])
        loss = F.binary_cross_entropy_with_logits(out, labels[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 5 == 0:
            now = measure()
            if now[0] < best[0]:
                best, kept, at = now, copy.deepcopy(trial.state_dict()), step
            elif step - at > _PATIENCE:
                break
    if at:
        model.head.answer_class.load_state_dict(kept)
        model.head.answer_class.to(device)
    return Refit(before[0], best[0], before[1], best[1], count, aside, at)
