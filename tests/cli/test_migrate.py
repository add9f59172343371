"""`headsmith migrate` and `headsmith doctor PATH`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

OLD = "from transformers.modeling_utils import PreTrainedModel, SQuADHead\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "old.py").write_text(OLD, encoding="utf-8")
    (folder / "broken.py").write_text("from transformers import (\n", encoding="utf-8")
    (folder / "new.py").write_text("x = 1\n", encoding="utf-8")
    return folder


def test_a_diff_is_shown_and_nothing_written(headsmith: Run, tree: Path) -> None:
    answer = headsmith("migrate", tree)
    assert answer.code == 0
    assert "-from transformers.modeling_utils import PreTrainedModel, SQuADHead" in answer.out
    assert "+from headsmith.torch import SQuADHead" in answer.out
    assert "1 names in 1 of 3 files would move (--write does it)" in answer.out
    assert "broken.py is left as it is: line 1" in answer.err
    assert (tree / "old.py").read_text(encoding="utf-8") == OLD


def test_write_then_nothing_to_do(headsmith: Run, tree: Path) -> None:
    answer = headsmith("migrate", "--write", tree)
    assert "1 names in 1 of 3 files moved." in answer.out
    assert "from headsmith.torch import SQuADHead" in (tree / "old.py").read_text(encoding="utf-8")
    assert "Nothing to rewrite in 3 files." in headsmith("migrate", tree, "--write").out


def test_json_and_quiet(headsmith: Run, tree: Path) -> None:
    told = json.loads(headsmith("migrate", tree, "--format", "json").out)
    assert told["files"] == 3
    assert told["written"] is False
    (changed,) = told["changed"]
    assert changed["changes"] == [
        {"line": 1, "old": "transformers.modeling_utils.SQuADHead",
         "new": "headsmith.torch.SQuADHead"}
    ]  # fmt: skip
    assert told["skipped"][0]["path"].endswith("broken.py")
    assert headsmith("migrate", tree, "-q").out.strip().endswith("old.py")


def test_a_path_that_is_not_there(headsmith: Run, tmp_path: Path) -> None:
    for name in ("migrate", "doctor"):
        answer = headsmith(name, tmp_path / "nothing")
        assert answer.code == 3
        assert "There is no file or folder" in answer.err
    assert headsmith("migrate").code == 2


def test_without_libcst_the_extra_is_named(
    headsmith: Run, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headsmith.extras.find_spec", lambda name: None)
    answer = headsmith("migrate", tree)
    assert answer.code == 4
    assert "headsmith[migrate]" in answer.err


def test_doctor_tells_file_line_and_cure(headsmith: Run, tree: Path) -> None:
    answer = headsmith("doctor", tree)
    assert answer.code == 0
    assert f"{tree / 'old.py'}:1  name" in answer.out
    assert "→ headsmith migrate --write: headsmith.torch.SQuADHead" in answer.out
    assert "1 findings in 3 files." in answer.out
    assert "broken.py was passed over: line 1" in answer.err
    assert headsmith("doctor", tree, "--strict").code == 3
    assert headsmith("doctor", tree / "new.py", "--strict").code == 0
    assert headsmith("doctor", tree, "-q").out == f"{tree / 'old.py'}:1: name\n"
    told = json.loads(headsmith("doctor", tree, "--format", "json").out)
    assert told["findings"][0]["line"] == 1
    assert "Nothing to mend" in headsmith("doctor", tree / "new.py").out


def test_doctor_without_a_path_looks_at_the_machine(headsmith: Run) -> None:
    assert "Extra" in headsmith("doctor").out
