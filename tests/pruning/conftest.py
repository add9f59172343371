"""Tiny models of every family, random plans, and batches."""

from __future__ import annotations

import pytest
import torch
from tiny import TINY_MODELS, batch_for
from torch import nn


@pytest.fixture(params=sorted(TINY_MODELS))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(family: str) -> nn.Module:
    return TINY_MODELS[family]()


@pytest.fixture
def batches(model: nn.Module) -> list[dict[str, torch.Tensor]]:
    return [batch_for(model, size=4, length=9, seed=i) for i in range(10)]
