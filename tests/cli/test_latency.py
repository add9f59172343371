"""`headsmith latency`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Run = Callable[..., Any]


def test_side_by_side(headsmith: Run, tiny_encoder: Path, tiny_gpt2: Path) -> None:
    answer = headsmith("latency", tiny_encoder, tiny_gpt2, "--length", 16, "--rounds", 3)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.count("tiny-encoder") == 2  # batch 1 and batch 32
    assert answer.out.count("1.00×") >= 2
    assert "16 tokens a sequence; cpu" in answer.out


def test_json(headsmith: Run, tiny_encoder: Path) -> None:
    answer = headsmith(
        "latency",
        tiny_encoder,
        tiny_encoder,
        *("--batch", 2, "--batch", 3, "--batch", 2, "--length", 8, "--rounds", 2),
        *("--format", "json"),
    )
    found = json.loads(answer.out)
    name = str(tiny_encoder)
    assert [(r["model"], r["batch"]) for r in found["latency"]] == [
        (name, 2),
        (f"{name} (2)", 2),
        (name, 3),
        (f"{name} (2)", 3),
    ]
    for row in found["latency"]:
        assert 0 < row["low_ms"] <= row["median_ms"] <= row["high_ms"]
        assert (row["rounds"], row["length"]) == (2, 8)
    first, second = found["latency"][:2]
    assert first["speedup"] == 1
    assert second["speedup"] == first["median_ms"] / second["median_ms"]
    assert {"device", "processor", "cores", "threads"} <= set(found["machine"])


def test_threads_are_set_and_put_back(headsmith: Run, tiny_encoder: Path) -> None:
    before = torch.get_num_threads()
    answer = headsmith(
        "latency", tiny_encoder, *("--length", 4, "--rounds", 1, "--threads", 2, "--batch", 1)
    )
    assert "2 threads" in answer.out
    assert torch.get_num_threads() == before


def test_quiet(headsmith: Run, tiny_encoder: Path) -> None:
    answer = headsmith("latency", tiny_encoder, "--length", 4, "--rounds", 1, "--batch", 2, "-q")
    model, batch, length, median = answer.out.split("\t")
    assert (model, batch, length) == (str(tiny_encoder), "2", "4")
    assert float(median) > 0


def test_more_tokens_than_positions(headsmith: Run, tiny_encoder: Path) -> None:
    answer = headsmith("latency", tiny_encoder, "--length", 33)
    assert (answer.code, answer.out) == (3, "")
    assert "at most 32 tokens" in answer.err


def test_a_model_is_needed(headsmith: Run) -> None:
    assert headsmith("latency").code == 2
    assert headsmith("latency", " ").code == 2
    assert headsmith("latency", "./nowhere").code == 3
