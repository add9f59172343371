"""`headsmith report`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headsmith.errors import OutputError
from headsmith.files import write_file
from headsmith.spec.run import FILE_NAME, BlockRun, RunRecord

Run = Callable[..., Any]


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A folder with the record of a run."""
    record = RunRecord(
        model="tiny",
        model_type="bert",
        model_class="BertModel",
        headsmith="0.1.0",
        versions={},
        machine={},
        created="2025-06-01T12:00:00+00:00",
        command="",
        settings={},
        data={},
        blocks=[BlockRun("encoder.layer.0.attention", "heads", 0, 4, [0, 2])],
        before={"flops": 100},
        after={"flops": 50},
    )
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / FILE_NAME).write_text(record.to_json(), encoding="utf-8")
    return folder


def test_from_a_folder_or_a_file(headsmith: Run, run_folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    answer = headsmith("report", run_folder, "-o", page)
    assert (answer.code, answer.err) == (0, "")
    assert "Half the FLOPs." in answer.out
    first = page.read_text(encoding="utf-8")
    assert "<h1>Half the FLOPs.</h1>" in first
    again = headsmith("report", run_folder / FILE_NAME, "-o", page, "--overwrite", "--format=json")
    assert json.loads(again.out) == {"report": str(page), "headline": "Half the FLOPs."}
    assert page.read_text(encoding="utf-8") == first


def test_a_page_that_is_there_stays(headsmith: Run, run_folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")
    answer = headsmith("report", run_folder, "-o", page)
    assert (answer.code, answer.out) == (5, "")
    assert "--overwrite" in answer.err
    assert page.read_text() == "mine"
    answer = headsmith("report", run_folder, "-o", tmp_path, "--overwrite")
    assert (answer.code, "Name a file to write" in answer.err) == (5, True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no run record"),
        ("{", "not valid JSON"),
        ("[]", '"format": "headsmith-run"'),
        ('{"format": "headsmith-run", "version": 99}', "Received version 99"),
        ('{"format": "headsmith-run", "version": 1}', "incomplete or malformed"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_bad_records(
    headsmith: Run, tmp_path: Path, content: str | bytes | None, message: str
) -> None:
    if isinstance(content, str):
        content = content.encode()
    if content is not None:
        (tmp_path / FILE_NAME).write_bytes(content)
    answer = headsmith("report", tmp_path, "-o", tmp_path / "page.html")
    assert (answer.code, answer.out) == (3, "")
    assert message in answer.err
    assert not (tmp_path / "page.html").exists()


def test_a_record_of_wrong_values(headsmith: Run, run_folder: Path, tmp_path: Path) -> None:
    data = json.loads((run_folder / FILE_NAME).read_text())
    data["blocks"][0]["kept"] = 7
    (run_folder / FILE_NAME).write_text(json.dumps(data))
    answer = headsmith("report", run_folder, "-o", tmp_path / "page.html")
    assert answer.code == 3
    assert "kept: expected list[int]. Received 7" in answer.err


def test_nowhere_to_write(headsmith: Run, run_folder: Path, tmp_path: Path) -> None:
    answer = headsmith("report", run_folder, "-o", tmp_path / "no" / "such" / "page.html")
    assert answer.code == 5
    assert "cannot be written to, or is no folder" in answer.err


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OutputError, match="the disk is full"):
        write_file(page, "new", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert page.read_text() == "old"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        write_file(tmp_path, "text", overwrite=True)


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    import os

    mask = os.umask(0o027)
    try:
        write_file(tmp_path / "page.html", "text")
    finally:
        os.umask(mask)
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o640
