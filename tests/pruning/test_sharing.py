"""Two models that hold the weights they have in common once."""

from __future__ import annotations

import copy

import torch
from tiny import TINY_MODELS, batch_for, output_of
from torch import nn

from headsmith.pruning import describe, prune
from headsmith.pruning.sharing import twin, unshare


def test_a_cut_of_one_leaves_the_other(model: nn.Module) -> None:
    batch = batch_for(model)
    before = copy.deepcopy(model.state_dict())
    expected = output_of(model, batch)
    data = [batch_for(model, size=8, length=12, seed=i) for i in range(4)]
    result = prune(model, data, flops=0.5, length=12)
    assert torch.equal(output_of(result.dense, batch), expected)
    after = result.dense.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(before[name], value) for name, value in after.items())


def test_what_is_neither_cut_nor_refitted_is_in_memory_once() -> None:
    model = TINY_MODELS["bert"]()
    data = [batch_for(model, size=8, length=12, seed=i) for i in range(4)]
    result = prune(model, data, flops=0.5, length=12)
    own, dense = ({id(p) for p in m.parameters()} for m in (model, result.dense))
    assert id(model.get_input_embeddings().weight) in own & dense
    writers = [describe(model).base.get_submodule(b.writer) for b in describe(model).blocks]
    assert not {id(p) for w in writers for p in w.parameters()} & dense


def test_training_one_needs_copies_and_ties_stay() -> None:
    model = TINY_MODELS["gpt2"]()
    other = twin(model)
    assert {id(p) for p in model.parameters()} == {id(p) for p in other.parameters()}
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    unshare(model.modules(), other)
    assert not {id(p) for p in model.parameters()} & {id(p) for p in other.parameters()}
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert not next(model.parameters()).requires_grad
