"""An optimizer that goes on after its model was cut.

A cut replaces parameters; an optimizer holds the old ones, and state for them. What belongs
to a feature that stays is kept. Where each number of a new parameter came from is found by
carrying out the same plan on a twin of the model whose weights are numbers of places: the
surgery alone knows, and it is asked.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from headsmith.pruning.families import describe
from headsmith.pruning.surgery import check_plan, cut
from headsmith.spec.plan import PrunePlan

__all__ = ["follow_plan", "origins"]


def origins(model: nn.Module, plan: PrunePlan) -> dict[str, Tensor]:
    """For each parameter that `plan` cuts, where its numbers are in the one before.

    Args:
        model: as it is before the cut; it is not changed.
        plan: made for this model.

    Returns:
        Parameter name → int64 places in the flattened parameter before, in the shape after.
    """
    description = describe(model)
    check_plan(plan, description)
    layers = [f"{b.layer}." for b in description.blocks if b.name in plan.blocks]
    prefix = f"{description.prefix}." if description.prefix else ""
    places: dict[int, Any] = {}
    old: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        places[id(parameter)] = parameter  # shared with the twin, not copied
        if any(name.removeprefix(prefix).startswith(layer) for layer in layers):
            # In float64, which surgery cuts and which counts to 2**53.
            numbers = torch.arange(parameter.numel(), dtype=torch.float64)
            old[name] = nn.Parameter(numbers.view(parameter.shape), requires_grad=False)
            places[id(parameter)] = old[name]
    twin = copy.deepcopy(model, places)
    cut(describe(twin), plan)
    return {
        name: parameter.detach().long()
        for name, parameter in twin.named_parameters()
        if name in old and parameter is not old[name]
    }


@contextmanager
def follow_plan(model: nn.Module, plan: PrunePlan, optimizer: Any) -> Iterator[None]:
    """Let `optimizer` follow while `plan` is carried out on `model` inside the context.

    New parameters take the places of the old ones in the parameter groups. State tensors of
    the shape of their parameter are sliced like it, other numbers (steps) are kept; a parameter
    with a state tensor of another shape begins anew. Parameters that went are forgotten.

    Args:
        model: as it is before the cut.
        plan: what will be carried out.
        optimizer: a torch optimizer, or Accelerate's wrapper of one.
    """
    while hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    found = origins(model, plan)
    before = {id(p): name for name, p in model.named_parameters()}
    yield
    after = dict(model.named_parameters())
    for group in optimizer.param_groups:
        kept: list[nn.Parameter] = []
        for old in group["params"]:
            new = after.get(before[id(old)]) if id(old) in before else old
            if new is not old:
                state = optimizer.state.pop(old, None)
                if new is not None and state:
                    places = found.get(before[id(old)])
                    # Repair may put a copy of the same shape where nothing was cut.
                    same = places is None and new.shape == old.shape
                    optimizer.state[new] = state if same else _sliced(state, old, places)
            if new is not None:
                kept.append(new)
        group["params"] = kept


def _sliced(state: Mapping[str, Any], old: Tensor, places: Tensor | None) -> dict[str, Any]:
    new: dict[str, Any] = {}
    if places is None:
        return new
    for name, value in state.items():
        if isinstance(value, Tensor) and value.shape == old.shape:
            new[name] = value.flatten()[places.flatten().to(value.device)].view(places.shape)
        elif isinstance(value, Tensor) and value.numel() > 1:
            return {}
        else:
            new[name] = value
    return new
