"""Costs against counting on a real model."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny import TINY_MODELS, plan_from
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from headsmith.pruning import apply_plan, describe
from headsmith.spec.cost import total_flops, total_parameters


def test_parameters_that_go_are_those_counted() -> None:
    for name, build in TINY_MODELS.items():
        model = build()
        shapes = describe(model).shapes
        plan = plan_from(model, lambda count: [0, count - 1])
        before = sum(p.numel() for p in model.parameters())
        apply_plan(model, plan)
        gone = before - sum(p.numel() for p in model.parameters())
        kept = {n: len(b.kept) for n, b in plan.blocks.items()}
        assert gone == total_parameters(shapes) - total_parameters(shapes, kept), name
        assert describe(model).shapes == [
            dataclasses.replace(s, count=kept[s.name]) for s in shapes
        ]


@pytest.mark.needs_v5("describes a model, which is for Transformers 5")
def test_flops_are_those_torch_counts() -> None:
    model: nn.Module = TINY_MODELS["bert"](torch.float32)
    model.set_attn_implementation("eager")
    ids = torch.randint(3, 50, (2, 9))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.encoder(model.embeddings(ids))
    assert counter.get_total_flops() == 18 * total_flops(describe(model).shapes, 9)
