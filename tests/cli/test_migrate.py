"""`headsmith migrate` and `headsmith doctor PATH`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
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
    assert "1 names in 1 of 3 files would move (--write does it)" in answer.err
    assert "broken.py is left as it is: line 1" in answer.err
    assert (tree / "old.py").read_text(encoding="utf-8") == OLD


ODD = {
    "plain.py": OLD.encode(),
    "tabs.py": b"if True:\n\t" + OLD.encode() + b"\tx = 1\t# y\n",
    "long.py": b"x = '" + b"word " * 100 + b"'\n" + OLD.encode() + b"# " + b"y" * 500 + b"\n",
    "crlf.py": b"x = 1\r\n" + OLD.replace("\n", "\r\n").encode() + b"y = 2\r\n",
    "cr.py": b"x = 1\r" + OLD.replace("\n", "\r").encode() + b"y = 2\r",
    "unended.py": b"x = 1\n" + OLD.rstrip().encode(),
    "unended below.py": OLD.encode() + b"x = 1\ny = 2",
    "feed.py": b"x = 1\n\x0c\n" + OLD.encode() + b"\x0c\ny = 'a\x0cb'\n",
    "marks.py": "x = 'é\u2028\x85ü'\n".encode() + OLD.encode() + "# \u2029\n".encode(),
    "latin.py": b"# coding: latin-1\nx = '\xe9\x85'\n" + OLD.encode(),
    "né/bom.py": b"\xef\xbb\xbf" + OLD.encode(),
    "blank.py": OLD.encode() + b"\n\n   \n  ",
}


@pytest.mark.parametrize(
    ("tool", "where"),
    [
        (["patch", "-p1", "--binary", "-s", "-i"], "src"),
        (["git", "apply"], "./src/../src"),
        (["git", "apply"], "{here}/src"),
    ],
    ids=["patch", "git", "git, whole path"],
)
def test_a_piped_diff_is_a_patch(tmp_path: Path, tool: list[str], where: str) -> None:
    if shutil.which(tool[0]) is None:
        pytest.skip(f"needs {tool[0]}")
    for folder in ("applied", "written"):
        for name, data in ODD.items():
            path = tmp_path / folder / "src" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def migrated(folder: str, *more: str) -> bytes:
        here = tmp_path / folder
        run = [sys.executable, "-m", "headsmith.cli", "migrate", where.format(here=here), *more]
        done = subprocess.run(run, cwd=here, capture_output=True, check=True)
        assert f"{len(ODD)} names".encode() in (done.stdout if more else done.stderr)
        return done.stdout

    (tmp_path / "x.patch").write_bytes(migrated("applied"))
    subprocess.run([*tool, tmp_path / "x.patch"], cwd=tmp_path / "applied", check=True)
    migrated("written", "--write")
    for name, data in ODD.items():
        now = (tmp_path / "written" / "src" / name).read_bytes()
        assert now != data
        assert (tmp_path / "applied" / "src" / name).read_bytes() == now, name


def test_nothing_to_rewrite_is_an_empty_patch(headsmith: Run, tree: Path) -> None:
    answer = headsmith("migrate", tree / "new.py")
    assert answer.out == ""
    assert "Nothing to rewrite in 1 files." in answer.err


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
