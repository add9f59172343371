"""Layers that are more than a weight and a bias: refused before anything is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import TINY_MODELS, batch_for, output_of, plan_from
from torch import nn
from torch.nn.utils import parametrizations

from headsmith.errors import PlanError
from headsmith.pruning import apply_plan, describe, head_mask, masked, masks_of, plan_of, prune


class _Adapter(nn.Module):
    """A layer with a low-rank change beside it, as PEFT puts it in a model."""

    def __init__(self, base_layer: Any) -> None:
        super().__init__()
        self.base_layer = base_layer
        transposed = hasattr(base_layer, "nf")
        shape = base_layer.weight.shape
        self.in_features, self.out_features = shape if transposed else shape[::-1]
        self.down = nn.Linear(self.in_features, 2, bias=False).double()
        self.up = nn.Linear(2, self.out_features, bias=False).double()

    @property
    def weight(self) -> torch.Tensor:
        found: torch.Tensor = self.base_layer.weight
        return found

    @property
    def bias(self) -> torch.Tensor:
        found: torch.Tensor = self.base_layer.bias
        return found

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.base_layer(features) + self.up(self.down(features))
        return output


def _wrap(layer: nn.Module) -> nn.Module:
    return _Adapter(layer)


def _pack(layer: nn.Module) -> nn.Module:
    layer.weight = nn.Parameter(torch.zeros(7, 1, dtype=torch.uint8), requires_grad=False)
    return layer


def _reparametrize(layer: nn.Module) -> nn.Module:
    return parametrizations.weight_norm(layer)


_LAYERS = {
    "bert": ("encoder.layer.0.output.dense", "encoder.layer.0.intermediate.dense"),
    "gpt2": ("h.0.mlp.c_proj", "h.0.mlp.c_fc"),
}


def _odd(kind: str, change: Callable[[nn.Module], nn.Module], which: int) -> nn.Module:
    model = TINY_MODELS[kind]()
    base, path = describe(model).base, _LAYERS[kind][which]
    base.set_submodule(path, change(base.get_submodule(path)))
    return model


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("bert", _wrap),
        ("bert", _pack),
        ("bert", _reparametrize),
        ("gpt2", _wrap),
        ("gpt2", _reparametrize),
    ],
)
def test_what_cannot_be_cut_is_refused_before_anything_changes(
    kind: str, change: Callable[[nn.Module], nn.Module], which: int
) -> None:
    plan = plan_from(TINY_MODELS[kind](), lambda count: list(range(0, count, 2)))
    model = _odd(kind, change, which)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    message = rf"{_LAYERS[kind][which]}: expected a linear layer.*Received .*merge_and_unload"
    with pytest.raises(PlanError, match=message):
        apply_plan(model, plan)
    with pytest.raises(PlanError, match=message):
        prune(model, [batch_for(model)], flops=0.5)
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == shapes
    assert plan_of(model) is None
    assert getattr(model.config, "quantization_config", None) is None


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("kind", list(_LAYERS))
def test_blocks_with_adapters_are_described_and_masked(kind: str, which: int) -> None:
    plain = TINY_MODELS[kind]()
    model = _odd(kind, _wrap, which)
    names = [(b.name, b.count, b.width) for b in describe(model).blocks]
    assert names == [(b.name, b.count, b.width) for b in describe(plain).blocks]
    plan = plan_from(model, lambda count: [0])
    batch = batch_for(model)
    with torch.no_grad(), masked(model, masks_of(model, plan)), head_mask(model, torch.ones(3)):
        assert not torch.equal(output_of(model, batch), output_of(plain, batch))


def test_other_blocks_can_be_cut() -> None:
    model = _odd("bert", _wrap, 0)
    plan = plan_from(model, lambda count: [0])
    heads = {n: b for n, b in plan.blocks.items() if b.kind == "heads"}
    apply_plan(model, type(plan)("bert", heads))
    assert plan_of(model) is not None
