"""Timing: what is called, how often and in which order; never how long it took."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import nn

from headsmith.errors import DataError
from headsmith.pruning import latency
from headsmith.pruning.latency import Ratio, longest_input, measure, random_batch, ratio


class Spy(nn.Module):
    """A model that notes how it is called."""

    def __init__(self, name: str, calls: list[str], vocabulary: int = 50) -> None:
        super().__init__()
        self.config = transformers.PreTrainedConfig(vocab_size=vocabulary)
        self.config.use_cache = True
        self.weight = nn.Parameter(torch.ones(1))
        self.name = name
        self.calls = calls
        self.inputs: list[dict[str, Any]] = []

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert torch.is_inference_mode_enabled()
        assert self.config.use_cache is False
        self.calls.append(self.name)
        self.inputs.append(inputs)
        return self.weight


def _bert(**options: Any) -> nn.Module:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(
        vocab_size=9, intermediate_size=16, max_position_embeddings=12, **sizes, **options
    )
    return transformers.BertModel(config)


def test_models_take_turns_in_a_rotating_order() -> None:
    calls: list[str] = []
    models = {name: Spy(name, calls) for name in "abc"}
    found = measure(models, batch=1, length=2, rounds=3)
    assert "".join(calls) == "aabbcc" + "abc" + "bca" + "cab"
    assert list(found) == ["a", "b", "c"]
    assert all(t.rounds == 3 for t in found.values())


def test_all_models_get_the_same_ids_that_all_of_them_know() -> None:
    calls: list[str] = []
    models = {"a": Spy("a", calls, vocabulary=500), "b": Spy("b", calls, vocabulary=3)}
    measure(models, batch=4, length=50, rounds=1)
    first, second = models["a"].inputs[0], models["b"].inputs[0]
    assert torch.equal(first["input_ids"], second["input_ids"])
    assert set(first["input_ids"].unique().tolist()) == {0, 1, 2}
    assert first["attention_mask"].shape == (4, 50)
    assert bool(first["attention_mask"].all())


def test_models_are_left_as_they_were() -> None:
    model = Spy("a", [])
    model.train()
    measure({"a": model}, batch=1, length=2, rounds=1)
    assert model.training
    assert model.weight.requires_grad
    assert model.config.use_cache is True


def test_medians_and_quartiles(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0, 0, 0, 0, 0, 0.004, 0, 0.001, 0, 0.100, 0, 0.002, 0, 0.003])
    monkeypatch.setattr(latency.time, "perf_counter", lambda: next(times))
    (timing,) = measure({"a": Spy("a", [])}, batch=1, length=2, rounds=5).values()
    assert timing.median_ms == pytest.approx(3)  # of 4, 1, 100, 2 and 3
    assert timing.low_ms == pytest.approx(2)
    assert timing.high_ms == pytest.approx(4)


def test_one_round_has_no_spread() -> None:
    (timing,) = measure({"a": Spy("a", [])}, batch=1, length=2, rounds=1).values()
    assert timing.low_ms == timing.median_ms == timing.high_ms


@pytest.mark.parametrize(
    ("one_round", "rounds"),
    [
        (1e-6, 200),  # never more than that
        (0.01, 100),  # as many as a second holds
        (0.5, 10),  # the usual
        (2.0, 5),  # as many as ten seconds hold
        (100.0, 3),  # the fewest
        (0.0, 200),
    ],
)
def test_rounds_follow_the_time_there_is(one_round: float, rounds: int) -> None:
    assert latency._rounds(one_round, min_seconds=1.0, max_seconds=10.0) == rounds


def test_a_ratio_is_read_within_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is up to ten times slower in some rounds; one model takes 0.6 of the other."""
    now = [0.0]
    calls: list[str] = []
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])

    class Timed(Spy):
        def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
            pace = 1 + (len(self.calls) // 2) % 10
            now[0] += pace * (0.3 if self.name == "before" else 0.18)
            return super().forward(**inputs)

    models = (Timed(name, calls) for name in ("before", "after"))
    found = ratio(*models, batch=1, length=2)
    assert found.value == pytest.approx(0.6)
    assert found.error == pytest.approx(0)
    assert len(found.rounds) == 8
    assert calls[4:8] == ["before", "after", "after", "before"]  # warm, and in turns


def test_a_ratio_that_is_unsure_takes_all_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])
    calls: list[str] = []

    class Timed(Spy):
        def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
            now[0] += 0.1 if self.name == "before" else 0.05 * (1 + len(self.calls) % 3)
            return super().forward(**inputs)

    found = ratio(*(Timed(n, calls) for n in ("before", "after")), batch=1, length=2, max_seconds=9)
    assert now[0] > 9
    assert found.error > 0.005 * found.value


def test_the_error_of_a_ratio_is_that_of_a_median() -> None:
    """Of many samples of a known spread, medians scatter as much as `error` says."""
    generator = torch.Generator().manual_seed(0)
    samples = 0.5 + 0.02 * torch.randn(400, 40, generator=generator)
    # Rounds that are all as fast: which half is read does not depend on the ratio.
    found = [Ratio.of([(r**-0.5, r**0.5) for r in row.tolist()]) for row in samples]
    scatter = torch.tensor([f.value for f in found]).std().item()
    told = sum(f.error for f in found) / len(found)
    assert told == pytest.approx(scatter, rel=0.15)
    assert Ratio.of([(2.0, 1.0)]).error == float("inf")


def test_a_disturbed_measurement_does_not_spoil_a_clean_one() -> None:
    clean = [(1.0, 0.5 + 0.001 * i) for i in range(-4, 5)]
    disturbed = [(2.0, 3.0), (1.5, 0.9), (4.0, 1.7), (1.2, 1.3)] * 2
    assert Ratio.of([*clean, *disturbed]).value == pytest.approx(0.5, abs=0.003)


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    measure(
        {"a": Spy("a", [])}, batch=1, length=2, rounds=2, progress=lambda *step: told.append(step)
    )
    assert told == [("latency", 1, 2), ("latency", 2, 2)]


def test_ids_follow_the_seed() -> None:
    first, again, other = (
        random_batch([_bert()], batch=4, length=12, seed=seed)["input_ids"] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_positions_that_a_model_has() -> None:
    assert longest_input(_bert()) == 12
    assert longest_input(nn.Linear(2, 2)) is None
    config = transformers.GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2, n_positions=20)
    assert longest_input(transformers.GPT2LMHeadModel(config)) == 20


@pytest.mark.parametrize("padding", [0, 1])
def test_roberta_counts_positions_after_its_padding(padding: int) -> None:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.RobertaConfig(
        vocab_size=9,
        intermediate_size=16,
        max_position_embeddings=20,
        pad_token_id=padding,
        **sizes,
    )
    model = transformers.RobertaModel(config)
    longest = longest_input(model)
    assert longest == 19 - padding
    ids = torch.full((1, longest), 5)
    model(input_ids=ids)
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, longest + 1), 5))


def test_the_longest_input_can_be_timed() -> None:
    measure({"a": _bert()}, batch=1, length=12, rounds=1)
    with pytest.raises(DataError, match=r"at most 12 tokens.*Received 13"):
        measure({"a": _bert()}, batch=1, length=13, rounds=1)


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"length": 0}, {"rounds": 0}])
def test_numbers_below_one(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is at least 1. Received 0"):
        measure({"a": _bert()}, **{"batch": 1, "length": 2, **wrong})


def test_no_model_at_all() -> None:
    with pytest.raises(ValueError, match="at least one model"):
        measure({}, batch=1, length=2)


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")
def test_on_an_accelerator() -> None:
    device = torch.accelerator.current_accelerator()
    found = measure({"a": _bert().to(device), "b": _bert()}, batch=2, length=4, rounds=2)
    assert found["a"].median_ms > 0
