"""head_mask and prune_heads for native models."""

from __future__ import annotations

import pytest
import tiny
import torch

from headsmith.errors import PlanError, UnknownFamilyError
from headsmith.pruning import describe, head_mask, load, plan_of, prune_heads
from headsmith.pruning.surgery import self_attention

MODELS = ["bert", "bert-classifier", "roberta", "electra", "distilbert", "gpt2"]


def _layers(model: torch.nn.Module) -> tuple[int, int]:
    blocks = self_attention(describe(model))
    return len(blocks), next(iter(blocks.values())).count


@pytest.mark.parametrize("name", MODELS)
def test_masked_equals_pruned_and_numbers_last(name: str) -> None:
    model = tiny.TINY_MODELS[name]()
    batch = tiny.batch_for(model)
    layers, heads = _layers(model)
    mask = torch.ones(layers, heads)
    mask[0, 1] = 0
    with head_mask(model, mask):
        first = tiny.output_of(model, batch)
    mask[0, 2], mask[1, 0] = 0, 0
    with head_mask(model, mask):
        second = tiny.output_of(model, batch)
    plain = tiny.output_of(model, batch)
    assert not torch.allclose(plain, first)
    prune_heads(model, {0: [1]})
    torch.testing.assert_close(tiny.output_of(model, batch), first)
    prune_heads(model, {0: [1, 2], 1: [0]})
    torch.testing.assert_close(tiny.output_of(model, batch), second)
    assert model.config.pruned_heads == {0: [1, 2], 1: [0]}
    assert plan_of(model) is not None


@pytest.mark.parametrize(
    "shape",
    [
        lambda m: m[0],
        lambda m: m,
        lambda m: m[:, None].expand(-1, 3, -1),
        lambda m: m[:, None, :, None, None],
        lambda m: list(m),
        lambda m: [m[0], m[1][None]],
        lambda m: m.int(),
    ],
    ids=["heads", "layers", "batch", "five", "list", "mixed", "integers"],
)
def test_every_shape_of_a_mask(shape: object) -> None:
    model = tiny.TINY_MODELS["bert"]()
    batch = tiny.batch_for(model)
    mask = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]])
    with head_mask(model, mask):
        expected = tiny.output_of(model, batch)
    with head_mask(model, shape(mask)):  # type: ignore[operator]
        torch.testing.assert_close(tiny.output_of(model, batch), expected)


def test_no_mask_changes_nothing_and_a_layer_may_have_none() -> None:
    model = tiny.TINY_MODELS["bert"]()
    batch = tiny.batch_for(model)
    plain = tiny.output_of(model, batch)
    for mask in (None, [None, None], torch.ones(3)):
        with head_mask(model, mask):
            torch.testing.assert_close(tiny.output_of(model, batch), plain)


def test_gradients_reach_the_mask() -> None:
    model = tiny.TINY_MODELS["bert"]()
    mask = torch.ones(2, 3, requires_grad=True)
    with head_mask(model, mask):
        model(**tiny.batch_for(model)).last_hidden_state.sum().backward()
    assert mask.grad is not None
    assert mask.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(3, 3), "2 layers"),
        (torch.ones(2, 4), "a mask is"),
        (torch.ones(2, 1, 3, 1), r"Received \(2, 1, 3, 1\)"),
        ([torch.ones(3)], "2 layers"),
    ],
)
def test_a_mask_that_does_not_fit(mask: object, message: str) -> None:
    model = tiny.TINY_MODELS["bert"]()
    with pytest.raises(PlanError, match=message), head_mask(model, mask):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize("heads", [{0: [3]}, {0: [-1]}, {2: [0]}])
def test_heads_that_do_not_exist(heads: dict[int, list[int]]) -> None:
    model = tiny.TINY_MODELS["bert"]()
    with pytest.raises(PlanError):
        prune_heads(model, heads)
    assert plan_of(model) is None


def test_unknown_models_are_told() -> None:
    with pytest.raises(UnknownFamilyError):
        prune_heads(torch.nn.Linear(2, 2), {0: [0]})


@pytest.mark.needs_v5("headsmith.load does; 4.57 prunes config.pruned_heads by itself, too")
def test_pruned_checkpoints_load(tmp_path: object) -> None:
    model = tiny.TINY_MODELS["bert"]()
    prune_heads(model, {0: [0, 1], 1: [2]})
    model.save_pretrained(tmp_path)  # type: ignore[operator]
    again = load(tmp_path, dtype=torch.float64)  # type: ignore[arg-type]
    batch = tiny.batch_for(model)
    torch.testing.assert_close(tiny.output_of(again, batch), tiny.output_of(model, batch))
