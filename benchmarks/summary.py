"""`SequenceSummary`, each type of 4.34, with a projection and a tanh."""

from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from transformers import modeling_utils as reference

import headsmith.torch.summary as ours
from benchmarks.harness import Case, Sides


def cases() -> Iterator[Case]:
    """Forward alone, and forward with backward."""
    for kind in ("last", "first", "mean", "cls_index"):
        for backward in (False, True):
            passes = "forward + backward" if backward else "forward"
            yield Case(
                "SequenceSummary",
                f'"{kind}", 32×128×768, {passes}',
                partial(_sides, kind, backward),
            )


def _sides(kind: str, backward: bool) -> Sides:
    torch.manual_seed(0)
    config = SimpleNamespace(
        hidden_size=768, summary_type=kind, summary_use_proj=True, summary_activation="tanh"
    )
    modules = ours.SequenceSummary(config), reference.SequenceSummary(config)
    modules[1].load_state_dict(modules[0].state_dict())
    x = torch.randn(32, 128, 768)
    args = [torch.arange(32)] if kind == "cls_index" else []

    def call(module: torch.nn.Module) -> Any:
        if not backward:
            with torch.no_grad():
                return module(x, *args)
        source = x.requires_grad_()
        return torch.autograd.grad(module(source, *args).sum(), [source, *module.parameters()])

    return Sides(*(partial(call, module) for module in modules))
