"""Two models that differ in a few layers, and hold the weights of the others once."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import nn

__all__ = ["twin", "unshare"]


def twin(model: nn.Module) -> nn.Module:
    """A copy of `model` with modules of its own and the same parameters.

    Replacing a layer in one leaves the other as it is; writing into a weight changes both,
    unless `unshare` came first.

    Example:
        >>> from torch import nn
        >>> from headsmith.pruning.sharing import twin
        >>> model = nn.Sequential(nn.Linear(2, 2))
        >>> other = twin(model)
        >>> other[0] is model[0], other[0].weight is model[0].weight
        (False, True)
    """
    return copy.deepcopy(model, {id(p): p for p in model.parameters()})


def unshare(modules: Iterable[nn.Module], other: nn.Module) -> None:
    """Give `modules` copies of the parameters they have in common with `other`.

    What is tied among `modules` stays tied.
    """
    common = {id(p) for p in other.parameters()}
    copies: dict[int, nn.Parameter] = {}
    for module in modules:
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) not in common:
                continue
            if id(parameter) not in copies:
                own = nn.Parameter(torch.clone(parameter.detach()), parameter.requires_grad)
                copies[id(parameter)] = own
            setattr(module, name, copies[id(parameter)])
