"""A model as files on the hub have it, of the years between tuples and Cache objects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from headsmith.compat import is_legacy

pytestmark = pytest.mark.filterwarnings(
    "ignore:The attention mask API:FutureWarning"
)  # it is there, and older code calls it
CLASSES = ["HubForCausalLM", "HubForCausalLMWithPlaces"]


@pytest.fixture
def build(model_file: Callable[[str], ModuleType]) -> Callable[[str], Any]:
    def make(name: str) -> Any:
        module = model_file("hub_like")
        torch.manual_seed(0)
        return getattr(module, name)(module.HubConfig()).eval()

    return make


def _by_hand(model: Any, ids: torch.Tensor, mask: torch.Tensor, count: int) -> torch.Tensor:
    """Greedy search without a cache, step by step."""
    for _ in range(count):
        places = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
        logits = model(ids, mask, places, use_cache=False).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], 1)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
    return ids


@pytest.mark.parametrize("name", CLASSES)
def test_generates_with_and_without_a_cache(build: Callable[[str], Any], name: str) -> None:
    model = build(name)
    assert is_legacy(type(model))
    ids = torch.tensor([[0, 0, 5, 6], [7, 8, 9, 10]])
    mask = (ids > 0).long()
    with torch.no_grad():
        expected = _by_hand(model, ids, mask, 6)
        common: dict[str, Any] = {
            "attention_mask": mask, "max_new_tokens": 6, "do_sample": False, "pad_token_id": 0,
        }  # fmt: skip
        assert torch.equal(model.generate(ids, **common), expected)
        assert torch.equal(model.generate(ids, use_cache=False, **common), expected)
        one = model.generate(ids, num_beams=3, **common)
        two = model.generate(ids, num_beams=3, use_cache=False, **common)
        assert torch.equal(one, two)
        from_vectors = model.generate(inputs_embeds=model.model.embed(ids), **common)
        assert torch.equal(from_vectors, expected[:, ids.shape[1] :])


def test_a_cache_of_its_own_may_be_handed_in(build: Callable[[str], Any]) -> None:
    model = build("HubForCausalLM")
    ids = torch.tensor([[7, 8, 9, 10]])
    with torch.no_grad():
        whole = model(ids, use_cache=False).logits
        cache = DynamicCache()
        model(ids[:, :3], past_key_values=cache)
        last = model(ids[:, 3:], past_key_values=cache).logits
    assert cache.get_seq_length() == 4
    torch.testing.assert_close(last[:, -1], whole[:, -1])


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_:FutureWarning")
def test_checkpointing_switched_module_by_module(build: Callable[[str], Any]) -> None:
    model = build("HubForCausalLM").train()
    model.gradient_checkpointing_enable()
    assert model.model.gradient_checkpointing
    model(torch.tensor([[1, 2, 3]]), use_cache=False).logits.sum().backward()
    assert model.model.checkpointed == 2
    model.gradient_checkpointing_disable()
    assert not model.model.gradient_checkpointing


def test_saved_and_loaded(build: Callable[[str], Any], tmp_path: Path) -> None:
    model = build("HubForCausalLM")
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    ids = torch.tensor([[4, 5, 6]])
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)


@pytest.mark.usefixtures("restored")
def test_caches_become_tuples_and_back() -> None:
    states = [(torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4)) for _ in range(2)]
    cache = DynamicCache.from_legacy_cache(states)
    assert cache.seen_tokens == 3
    assert cache.get_usable_length(2) == 3
    assert cache.get_max_cache_shape() in (None, -1)
    for layer, (key, value) in enumerate(states):
        assert torch.equal(cache[layer][0], key)
        assert torch.equal(cache.key_cache[layer], key)
        assert torch.equal(cache.value_cache[layer], value)
        assert torch.equal(cache.to_legacy_cache()[layer][1], value)
    empty = DynamicCache.from_legacy_cache(None)
    assert empty.to_legacy_cache() == ()
    assert empty.get_usable_length(1) == 0
    cross = [(torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 4)) for _ in range(2)]
    both = [(*a, *b) for a, b in zip(states, cross, strict=True)]
    double = EncoderDecoderCache.from_legacy_cache(both)
    assert all(double.is_updated.values())
    for layer, parts in enumerate(double.to_legacy_cache()):
        assert all(torch.equal(a, b) for a, b in zip(parts, both[layer], strict=True))
    half = EncoderDecoderCache.from_legacy_cache(states)
    assert [len(layer) for layer in half.to_legacy_cache()] == [2, 2]
