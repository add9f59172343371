"""Scores against slow truths, and the laws every score must keep."""

from __future__ import annotations

import itertools
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import TINY_MODELS, batch_for
from torch import nn

from headsmith.pruning import (
    SCORES,
    LossObjective,
    MatchEmbedding,
    describe,
    masked,
    objective_for,
    rank,
)
from headsmith.pruning.families.stack import Block
from headsmith.pruning.score.obs import _keep_, _remove_all
from headsmith.pruning.statistics import collect

obs_module = sys.modules["headsmith.pruning.score.obs"]
moments_module = sys.modules["headsmith.pruning.moments"]


@pytest.mark.parametrize("score", sorted(SCORES))
def test_every_score_ranks_every_group_once(
    score: str, model: nn.Module, batches: list[dict[str, torch.Tensor]]
) -> None:
    before = {name: p.clone() for name, p in model.state_dict().items()}
    rankings = rank(model, batches[:3], score=score)
    for block in describe(model).blocks:
        found = rankings[block.name]
        assert sorted(found.order) == list(range(block.count))
        assert len(found.importance) == block.count
        assert found.best(0) == ()
        assert found.best(block.count) == tuple(range(block.count))
        assert np.all(np.diff([found.importance[i] for i in found.order]) >= 0)
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("score", sorted(SCORES))
def test_a_group_that_does_nothing_goes_first(score: str) -> None:
    if score == "random":
        pytest.skip("chance does not look")
    model = TINY_MODELS["bert"]()
    layer = model.encoder.layer[1]
    with torch.no_grad():
        for part in (layer.attention.self.query, layer.attention.self.key):
            part.weight[4:8] = 0
        layer.attention.self.value.weight[4:8] = 0
        layer.attention.self.value.bias[4:8] = 0
        layer.attention.output.dense.weight[:, 4:8] = 0
        layer.intermediate.dense.weight[7] = 0
        layer.output.dense.weight[:, 7] = 0
    rankings = rank(model, [batch_for(model, size=8)], score=score)
    assert rankings["encoder.layer.1.attention"].order[0] == 1
    assert rankings["encoder.layer.1.intermediate"].order[0] == 7


def test_mask_gradients_equal_finite_differences() -> None:
    """`gradient` and `fisher` rest on them; one example at a time, by moving each mask."""
    model = TINY_MODELS["bert-classifier"]()
    batch = batch_for(model, size=3)
    labels = torch.tensor([0, 2, 1])

    def losses(output: object, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return nn.functional.cross_entropy(output.logits, labels, reduction="none")

    objective = LossObjective(lambda output, batch: losses(output, batch).mean())
    description = describe(model)
    found = collect(model, description, [batch], objective)
    for name in ("encoder.layer.0.attention", "encoder.layer.1.intermediate"):
        block = description[name]
        slopes = np.zeros((3, block.count))
        for group in range(block.count):
            sides = []
            for shift in (1e-5, -1e-5):
                mask = torch.ones(block.count, dtype=torch.float64)
                mask[group] += shift
                with torch.no_grad(), masked(model, {name: mask}):
                    sides.append(losses(model(**batch), batch).numpy())
            slopes[:, group] = (sides[0] - sides[1]) / 2e-5
        np.testing.assert_allclose(found[name].gradient, np.abs(slopes).sum(0), rtol=1e-5)
        np.testing.assert_allclose(
            found[name].gradient_squared, np.square(slopes).sum(0), rtol=1e-5
        )


def test_inputs_are_what_the_writer_read_padding_left_out() -> None:
    model = TINY_MODELS["gpt2"]()
    batch = batch_for(model, size=3)
    description = describe(model)
    block = description["h.1.mlp"]
    seen: list[torch.Tensor] = []
    handle = description.base.get_submodule(block.writer).register_forward_pre_hook(
        lambda module, args: seen.append(args[0].detach())
    )
    model(**batch)
    handle.remove()
    rows = seen[0][batch["attention_mask"].bool()].numpy()
    found = collect(model, description, [batch], objective_for(model))[block.name].inputs
    assert found.rows == len(rows)
    np.testing.assert_allclose(found.covariance, np.cov(rows.T, bias=True), atol=1e-10)


@pytest.mark.parametrize("width", [1, 3])
def test_the_surgeon_removes_the_cheapest_group_each_time(width: int) -> None:
    """Truth: for every candidate, refit what would stay and measure the error itself."""
    rng = np.random.default_rng(width)
    count = 5
    x = rng.normal(size=(400, count * width)) @ rng.normal(size=(count * width,) * 2)
    weight = rng.normal(size=(4, count * width))
    x -= x.mean(0)
    covariance = x.T @ x / len(x)
    found = _remove_all(
        torch.from_numpy(weight.copy()),  # it is used up
        torch.from_numpy(np.linalg.inv(covariance)),
        count,
        width,
    )
    left = list(range(count))
    for group in found.order[:-1]:
        errors = {}
        for candidate in left:
            stays = [g for g in left if g != candidate]
            columns = [g * width + i for g in stays for i in range(width)]
            fitted = np.linalg.lstsq(x[:, columns], x @ weight.T, rcond=None)[0]
            errors[candidate] = np.square(x[:, columns] @ fitted - x @ weight.T).sum()
        assert min(errors, key=errors.__getitem__) == group
        left.remove(group)


def test_two_heads_that_stand_in_for_each_other_are_not_both_removed() -> None:
    rng = np.random.default_rng(0)
    twin = rng.normal(size=(300, 1))
    x = np.hstack([twin, twin + 1e-3 * rng.normal(size=(300, 1)), 0.8 * rng.normal(size=(300, 1))])
    inverse = np.linalg.inv(np.cov(x.T))
    found = _remove_all(
        torch.ones(1, 3, dtype=torch.float64), torch.from_numpy(inverse), count=3, width=1
    )
    assert found.order[0] in (0, 1)
    assert found.order[1] == 2


def test_an_unknown_score_lists_the_known() -> None:
    model = TINY_MODELS["bert"]()
    with pytest.raises(ValueError, match=r"score is one of obs, fisher.*Received 'best'"):
        rank(model, [batch_for(model)], score="best")


def test_same_seed_same_ranking() -> None:
    model = TINY_MODELS["bert"]()
    batch = [batch_for(model)]
    for score, seed in itertools.product(SCORES, (0, 1)):
        assert rank(model, batch, score=score, seed=seed) == rank(
            model, batch, score=score, seed=seed
        )
    assert rank(model, batch, score="random", seed=0) != rank(model, batch, score="random", seed=1)


def test_random_projections_sample_the_gauss_newton_matrix() -> None:
    """E[g gᵀ] of the hidden-state probe is Jᵀ J, J being the output's Jacobian."""
    model = TINY_MODELS["bert"]()
    batch = batch_for(model, size=1, length=3)
    batch["attention_mask"][:] = 1
    description = describe(model)
    block: Block = description["encoder.layer.1.intermediate"]
    writer = description.base.get_submodule(block.writer)
    shift = torch.zeros(3, 12, dtype=torch.float64)

    def output(added: torch.Tensor) -> torch.Tensor:
        handle = writer.register_forward_hook(lambda module, args, out: out + added)
        try:
            return model(**batch).last_hidden_state[0]
        finally:
            handle.remove()

    jacobian = torch.autograd.functional.jacobian(output, shift).reshape(36, 3, 12)
    expected = torch.einsum("otk,otl->kl", jacobian, jacobian) / 3
    found = collect(model, description, [batch] * 1000, objective_for(model))
    got = found[block.name].cotangents.second_moment
    assert float((got - expected).norm() / expected.norm()) < 0.15


def test_embedding_probes_weigh_what_changes_similarities() -> None:
    """The gradient at an embedding is a random mix of the batch's embeddings, over √batch."""
    embeddings = torch.randn(6, 5, dtype=torch.float64)
    batch = {"attention_mask": torch.ones(6, 1)}
    generator = torch.Generator().manual_seed(0)
    found = torch.zeros(5, 5, dtype=torch.float64)
    unit = nn.functional.normalize(embeddings, dim=-1)
    # Pooling one token and normalising a unit vector change nothing but the radial gradient.
    tangent = torch.eye(5) - unit[:, :, None] * unit[:, None, :]
    for _ in range(4000):
        states = unit.clone().requires_grad_()
        output = SimpleNamespace(last_hidden_state=states[:, None])
        (gradient,) = torch.autograd.grad(MatchEmbedding().probe(output, batch, generator), states)
        found += gradient.T @ gradient / 4000
    mixed = unit.T @ unit / 6
    expected = torch.einsum("bij,jk,bkl->il", tangent, mixed, tangent)
    assert float((found - expected).norm() / expected.norm()) < 0.1


def test_rows_and_columns_are_moved_together_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obs_module, "_ROWS", 3)
    whole = torch.arange(400.0).reshape(20, 20)
    columns = torch.tensor([0, 1, 5, 6, 7, 11, 12, 13, 18, 19])
    expected = whole[columns][:, columns]
    found = _keep_(whole, columns)
    assert torch.equal(found, expected)
    assert found.data_ptr() == whole.data_ptr()


def test_very_wide_blocks_are_ranked_in_float32_almost_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = TINY_MODELS["bert"]()
    data = [batch_for(model, size=8, length=12, seed=i) for i in range(4)]
    exact = rank(model, data)
    monkeypatch.setattr(moments_module, "WIDE", 4)
    monkeypatch.setattr(moments_module, "_ROWS", 5)
    for name, found in rank(model, data).items():
        np.testing.assert_allclose(found.importance, exact[name].importance, rtol=1e-2)
