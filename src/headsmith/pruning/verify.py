"""Prove on a user's own data that a description fits a model: cut equals masked."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from headsmith.errors import UnknownFamilyError
from headsmith.pruning.data import Batch
from headsmith.pruning.families import describe
from headsmith.pruning.masks import masked, masks_of
from headsmith.pruning.replay import inference, to_device
from headsmith.pruning.surgery import cut
from headsmith.spec.plan import BlockPlan, PrunePlan

__all__ = ["verify_family"]

_TOLERANCE = 0.01  # of what the masks change; 16-bit models round that much


def verify_family(model: nn.Module, batch: Batch) -> None:
    """Check that removing heads and neurons does what masking them does.

    A copy of the model is run twice with every other head and neuron gone, once by masks and
    once by a cut. Worth a call after describing a family of one's own; models that were
    understood by their structure alone are checked so before they are pruned.

    Args:
        model: a model that can be described; left as it was.
        batch: arguments of the model.

    Raises:
        UnknownFamilyError: the cut model fails, or its outputs are not those of the masked one.
    """
    trial = copy.deepcopy(model)
    description = describe(trial)
    blocks = {
        b.name: BlockPlan(b.kind, b.count, tuple(range(0, b.count, 2))) for b in description.blocks
    }
    plan = PrunePlan(description.model_type, blocks)
    own = to_device(batch, trial)
    with inference(trial), torch.no_grad():
        dense = _values(trial(**own))
        with masked(trial, masks_of(trial, plan)):
            expected = _values(trial(**own))
        cut(description, plan)
        try:
            got = _values(trial(**own))
        except Exception as error:
            raise UnknownFamilyError(
                f"The description of {description.model_type!r} does not fit: with heads removed "
                f"the model fails ({type(error).__name__}: {error}). Set the attributes it "
                "reshapes by in Site(attributes=...)."
            ) from error
    change = (expected - dense).norm()
    if not change or not (got - expected).norm() <= _TOLERANCE * change:
        raise UnknownFamilyError(
            f"The description of {description.model_type!r} does not fit: with heads and neurons "
            "removed the model does not give what it gives with them masked. Compare the readers, "
            "the head size and the attributes with the model's forward."
        )


def _values(output: Any) -> Tensor:
    return torch.cat([t.double().flatten() for t in _tensors(output) if t.is_floating_point()])


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, tuple | list):
        return [t for member in output for t in _tensors(member)]
    return []
