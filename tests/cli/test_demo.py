"""The demo's parts; the whole of it is `make demo`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headsmith.cli.demo as demo
from headsmith.cli.demo_text import sentences
from headsmith.pruning import load, plan_of


def test_the_text_is_english_prose() -> None:
    found = sentences()
    assert len(found) > 1000
    assert len(set(found)) == len(found)
    assert not any(mark in text for text in found for mark in (">>>", "::=", "|"))
    assert any("statement" in text for text in found)


def test_a_python_without_its_documentation(
    headsmith: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    answer = headsmith("demo", "-o", tmp_path / "out")
    assert answer.code == 3
    assert "no pydoc_data.topics" in answer.err


def test_the_demo_on_a_tiny_model(
    headsmith: Callable[..., Any],
    tiny_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo, "_model_folder", lambda: tiny_encoder)
    monkeypatch.setattr("headsmith.cli.demo_text.sentences", lambda: sentences()[:80])
    out = tmp_path / "demo-out"
    for _ in range(2):  # a second demo replaces the first
        answer = headsmith("demo", "-o", out)
        assert answer.code == 0, answer.err
    assert "× as fast" in answer.out
    assert not plan_of(load(out / "model")).is_empty
    assert {p.name for p in out.iterdir()} == {
        "model",
        "report.html",
        "headsmith-plan.json",
        "headsmith-run.json",
    }


def test_a_folder_of_the_users_is_left_alone(headsmith: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    answer = headsmith("demo", "-o", tmp_path)
    assert answer.code == 5
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_model_beside_other_files_is_no_earlier_demo(
    headsmith: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "thesis.txt").write_text("years of work")
    answer = headsmith("demo", "-o", tmp_path)
    assert (answer.code, "exists and is not empty" in answer.err) == (5, True)
    assert (tmp_path / "thesis.txt").exists()


def test_without_the_package(
    headsmith: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    answer = headsmith("demo", "-o", tmp_path / "out")
    assert answer.code == 4
    assert "pip install 'headsmith[demo]'" in answer.err
    answer = headsmith("demo", "--flops", 0, "-o", tmp_path / "out")
    assert answer.code == 3
