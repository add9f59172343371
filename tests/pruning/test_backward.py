"""Stage by stage against one graph of the whole model."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import torch
from tiny import MORE_MODELS, TINY_MODELS, batch_for
from torch import nn
from transformers.models.mt5.modeling_mt5 import MT5Attention

from headsmith.pruning import LossObjective, describe, masked, objective_for
from headsmith.pruning import backward as backward_module
from headsmith.pruning.backward import Outputs
from headsmith.pruning.families import Description
from headsmith.pruning.families.t5 import _hands_on_masks
from headsmith.pruning.objective import Objective
from headsmith.pruning.processes import seed_of
from headsmith.pruning.replay import Replay, inference
from headsmith.pruning.statistics import collect
from headsmith.pruning.tokens import rows_of

_KIN = ("bert-cross", "gpt2-cross", "mt5", "whisper", "siglip", "albert-groups", "gpt-neox")


def _whole(
    model: nn.Module,
    description: Description,
    batches: list[dict[str, torch.Tensor]],
    objective: Objective,
) -> dict[str, dict[str, torch.Tensor]]:
    """The same statistics from one graph of everything, by summing rows in float64."""
    found: dict[str, dict[str, Any]] = {
        b.name: {"inputs": [], "cotangents": [], "gradient": [], "squared": []}
        for b in description.blocks
    }
    for place, batch in enumerate(batches):
        size = len(next(iter(batch.values())))
        masks = {
            b.name: torch.ones(size, b.count, dtype=torch.float64, requires_grad=True)
            for b in description.blocks
        }
        outputs: dict[str, list[torch.Tensor]] = {}
        with ExitStack() as stack:
            for block in description.blocks:

                def hook(
                    module: nn.Module, args: Any, output: torch.Tensor, name: str = block.name
                ) -> None:
                    outputs.setdefault(name, []).append(output)  # noqa: B023
                    found[name]["inputs"].append((args[0].detach(), batch))  # noqa: B023

                writer = description.base.get_submodule(block.writer)
                stack.callback(writer.register_forward_hook(hook).remove)
            stack.enter_context(masked(model, masks))
            scalar = objective.probe(model(**batch), batch, seed_of(0, place))
            for block in description.blocks:
                wanted = [masks[block.name], *outputs.get(block.name, [])]
                mask, *rest = torch.autograd.grad(
                    scalar, wanted, retain_graph=True, allow_unused=True
                )
                if mask is not None:
                    found[block.name]["gradient"].append(mask.abs().sum(0))
                    found[block.name]["squared"].append(mask.square().sum(0))
                for gradient, output in zip(rest, outputs.get(block.name, []), strict=True):
                    own = torch.zeros_like(output) if gradient is None else gradient
                    found[block.name]["cotangents"].append((own, batch))
    exact = {}
    for block in description.blocks:
        own = found[block.name]
        exact[block.name] = {}
        for kind in ("inputs", "cotangents"):
            rows = [rows_of(t.detach(), b, block.tokens) for t, b in own[kind]]
            exact[block.name][kind] = torch.cat(rows) if rows else torch.zeros(0, 1)
        for kind in ("gradient", "squared"):
            exact[block.name][kind] = sum(own[kind], torch.zeros(block.count))
    return exact


@pytest.mark.parametrize("name", [*sorted(TINY_MODELS), *_KIN])
def test_equals_one_graph_of_the_whole_model(name: str) -> None:
    model = {**TINY_MODELS, **MORE_MODELS}[name]()
    batches = [batch_for(model, size=3, seed=i) for i in range(2)]
    description, objective = describe(model), objective_for(model)
    found = collect(model, description, batches, objective)
    with inference(model):
        exact = _whole(model, description, batches, objective)
    assert list(found) == [b.name for b in description.blocks]
    largest = 0.0
    for block_name, statistics in found.items():
        truth = exact[block_name]
        for kind in ("inputs", "cotangents"):
            moments, rows = getattr(statistics, kind), truth[kind].double()
            assert moments.rows == len(rows)
            if len(rows):
                torch.testing.assert_close(moments.mean, rows.mean(0))
                torch.testing.assert_close(moments.second_moment, rows.T @ rows / len(rows))
                spread = torch.cov(rows.T, correction=0).reshape(rows.shape[1], -1)
                # A mean far above the spread costs digits; T5's norms compute in float32.
                digits = 1e-5 if "t5" in name else 1e-12
                near = digits * float(moments.second_moment.abs().max())
                torch.testing.assert_close(moments.covariance, spread, rtol=1e-7, atol=near)
        torch.testing.assert_close(statistics.gradient, truth["gradient"].double())
        torch.testing.assert_close(
            statistics.gradient_squared, truth["squared"].double(),
            # T5's attention of early Transformers 5 rounds more often.
            rtol=1e-6 if "t5" in name and _hands_on_masks(MT5Attention.forward) else 1e-7,
            atol=1e-7,
        )  # fmt: skip
        largest = max(largest, float(statistics.cotangents.second_moment.abs().max()))
    assert largest > 0


def test_only_what_is_asked_for_is_collected() -> None:
    model = TINY_MODELS["bert"]()
    batches = [batch_for(model)]
    description, objective = describe(model), objective_for(model)
    whole = collect(model, description, batches, objective)["encoder.layer.0.intermediate"]
    for needs in ({"inputs"}, {"cotangents"}, {"gradient"}):
        found = collect(model, description, batches, objective, needs=needs)
        own = found["encoder.layer.0.intermediate"]
        for kind in ("inputs", "cotangents"):
            if kind in needs:
                torch.testing.assert_close(
                    getattr(own, kind).second_moment, getattr(whole, kind).second_moment
                )
            else:
                assert getattr(own, kind).rows == 0
        assert bool(own.gradient.any()) == ("gradient" in needs)


def test_what_has_no_room_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven layers of which two fit: the same inputs come to every stage."""
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    model = LlamaModel(
        LlamaConfig(
            vocab_size=50, hidden_size=12, num_hidden_layers=7, num_attention_heads=3,
            intermediate_size=20,
        )
    ).double().eval()  # fmt: skip
    batches = {i: batch_for(model, seed=i) for i in range(2)}
    replay = Replay(model, describe(model))
    size = 3 * 7 * 12 * 8
    runs: list[str] = []
    for number, layer in enumerate(model.layers):
        layer.register_forward_hook(lambda *_, number=number: runs.append(str(number)))
    with inference(model), torch.no_grad():
        whole = Outputs(replay, batches)
        expected = [whole.before(stage) for stage in reversed(range(8))]
        assert runs == list("0123456" * 2)
        monkeypatch.setattr(backward_module, "_KEPT_BYTES", 2 * size * 2)
        little = Outputs(replay, batches)
        kept = [len(little._kept)]
        for stage, wanted in zip(reversed(range(8)), expected, strict=True):
            got = little.before(stage)
            kept.append(len(little._kept))
            for place in batches:
                if stage:
                    assert torch.equal(got[place]["layers"], wanted[place]["layers"])
                else:
                    assert got[place] is None
    assert max(kept) <= 3


def test_weights_get_no_gradients_and_go_on_as_they_were() -> None:
    model = TINY_MODELS["gpt2"]()
    objective = LossObjective(lambda output, batch: output.logits.square().mean())
    before = {n: p.clone() for n, p in model.named_parameters()}
    collect(model, describe(model), [batch_for(model)], objective)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
