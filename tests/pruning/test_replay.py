"""Runs of a part of a model leave it as it was."""

from __future__ import annotations

from typing import Any

import torch
from tiny import TINY_MODELS, batch_for, output_of

from headsmith.pruning import rank


def test_a_forward_set_on_a_layer_is_put_back() -> None:
    # So Accelerate moves the inputs of a model whose layers are on several devices.
    model: Any = TINY_MODELS["bert"]()
    batch = batch_for(model)
    before = output_of(model, batch)
    seen = []
    for layer in model.encoder.layer:
        plain = layer.forward

        def forward(*args: Any, plain: Any = plain, **options: Any) -> Any:
            seen.append(1)
            return plain(*args, **options)

        layer.forward = forward
    rank(model, [batch])
    seen.clear()
    assert torch.equal(output_of(model, batch), before)
    assert len(seen) == 2
