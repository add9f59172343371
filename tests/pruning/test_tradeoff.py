"""The curve of the report: ours and scores alone, at several sizes."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny import TINY_MODELS, batch_for
from torch import nn

from headsmith.pruning import describe, objective_for, prune
from headsmith.pruning.tradeoff import ALONE, OURS, further_sizes, tradeoff
from headsmith.spec.cost import total_flops


def _data(model: nn.Module, first: int = 0) -> list[dict[str, torch.Tensor]]:
    return [batch_for(model, size=8, length=12, seed=first + i) for i in range(4)]


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_every_way_at_every_size(family: str) -> None:
    model = TINY_MODELS[family]()
    objective = objective_for(model)
    result = prune(model, _data(model), objective, flops=0.5, length=12)
    before = copy.deepcopy(result.dense.state_dict())
    after = copy.deepcopy(model.state_dict())
    told: list[tuple[str, int, int]] = []
    points = tradeoff(
        result.dense,
        model,
        _data(model),
        _data(model, 50),
        objective,
        length=12,
        timed=(2, 8),
        progress=lambda *step: told.append(step),
    )
    shapes = describe(result.dense).shapes
    main = total_flops(describe(model).shapes, 12) / total_flops(shapes, 12)
    ours = [p for p in points if p.way == OURS]
    assert [p.way for p in points] == sorted((p.way for p in points), key=[OURS, *ALONE].index)
    assert len(points) == 9
    assert any(p.flops == pytest.approx(main) for p in ours)
    asked = sorted((main, *further_sizes(main)), reverse=True)
    assert all(p.flops <= size + 1e-9 for p, size in zip(ours, asked, strict=True))
    assert all(p.latency is not None and p.latency.batch == 2 for p in points)
    # Neither of the two models that were handed in has changed.
    assert all(torch.equal(before[n], v) for n, v in result.dense.state_dict().items())
    assert all(torch.equal(after[n], v) for n, v in model.state_dict().items())
    assert told[-1] == ("tradeoff", 9, 9)


def test_without_a_clock() -> None:
    model = TINY_MODELS["bert"]()
    objective = objective_for(model)
    result = prune(model, _data(model), objective, keep=0.5, length=12)
    data = _data(model)
    points = tradeoff(result.dense, model, data, data, objective, length=12, timed=None)
    assert all(p.latency is None for p in points)
    worse = {p.way: p.quality["error"] for p in points if p.flops < 0.45}
    assert worse[OURS] < worse["random"]
