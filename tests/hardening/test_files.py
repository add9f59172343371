"""Full disks, folders that may not be written, several writers, and lines of 100 MB."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headsmith.errors import OutputError
from headsmith.files import new_folder
from headsmith.pruning.data import read_texts, tokenize

_WRITER = """
import sys, time
from pathlib import Path
from headsmith.errors import OutputError
from headsmith.files import new_folder
who, target, overwrite = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "overwrite"
done = 0
for _ in range(200):
    try:
        with new_folder(target, overwrite=overwrite) as aside:
            for name in ("a", "b", "c"):
                (aside / name).write_text(who)
        done += 1
    except OutputError:
        pass
print(done)
"""


@pytest.mark.parametrize("way", ["overwrite", "keep"])
def test_writers_of_one_folder(tmp_path: Path, way: str) -> None:
    """However many write: what stands there is whole, of one of them, and nothing else is left."""
    target = tmp_path / "out"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(who), str(target), way],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for who in range(3)
    ]
    counts = []
    for writer in writers:
        out, err = writer.communicate(timeout=120)
        assert err == ""
        counts.append(int(out))
    told = {(target / name).read_text() for name in ("a", "b", "c")}
    assert len(told) == 1
    assert sum(counts) == 1 if way == "keep" else max(counts) >= 1
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 900 kB, where this machine lets us make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = sys.platform == "linux" and shutil.which("mount") is not None
    if mounted:
        mounted = not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        ).returncode
    if not mounted:
        pytest.skip("only root can make a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(
    small_disk: Path, tiny_encoder: Path, texts_file: Path, headsmith: Callable[..., Any]
) -> None:
    (small_disk / "mine").write_bytes(b"x" * 750 * 1024)
    arguments = ["prune", tiny_encoder, "--data", texts_file, "--flops", "0.5", "--no-time"]
    arguments += ["-o", small_disk / "out"]
    for _ in range(2):
        answer = headsmith(*arguments)
        assert answer.code == 5
        assert "the disk is full" in answer.err
        # What was finished is kept, for when there is room again.
        assert "goes on from there" in answer.err
        assert sorted(p.name for p in small_disk.iterdir()) == ["mine", "out.work"]
    (small_disk / "mine").unlink()
    assert headsmith(*arguments).code == 0
    assert [p.name for p in small_disk.iterdir()] == ["out"]


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """As another user where this one is root, to whom nothing is forbidden."""
    tmp_path.chmod(0o555)
    code = textwrap.dedent(
        """
        import os, sys
        from pathlib import Path
        from headsmith.errors import OutputError
        from headsmith.files import new_folder
        if os.geteuid() == 0:
            os.setgid(65534), os.setuid(65534)
        try:
            with new_folder(Path(sys.argv[1]) / "out") as aside:
                pass
        except OutputError as error:
            print(error)
        """
    )
    if os.name != "posix":
        pytest.skip("permissions of POSIX")
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    # Other users may not even look into the folders that pytest makes.
    assert re.search("cannot be written to|Could not write .*: Permission denied", found.stdout)
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_comes_back_when_the_move_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    with new_folder(target) as aside:
        (aside / "old").write_text("precious")
    rename = Path.rename

    def fails(self: Path, to: Path) -> Path:
        if ".writing-" in self.name:
            raise OSError(5, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fails)
    with (
        pytest.raises(OutputError, match="Input/output error"),
        new_folder(target, overwrite=True) as aside,
    ):
        (aside / "new").write_text("x")
    assert (target / "old").read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]

    def fails_twice(self: Path, to: Path) -> Path:
        if ".writing-" in self.name or ".old-" in str(self):
            raise OSError(5, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fails_twice)
    with (
        pytest.raises(OutputError, match=r"What was there is in .*\.old-"),
        new_folder(target, overwrite=True) as aside,
    ):
        (aside / "new").write_text("x")
    (kept,) = tmp_path.rglob("old")
    assert kept.read_text() == "precious"


@pytest.mark.parametrize("name", ["t.txt", "t.jsonl", "t.csv"])
def test_a_line_of_a_hundred_megabytes(tmp_path: Path, tiny_encoder: Path, name: str) -> None:
    """It is read, and only its beginning is made tokens of."""
    from transformers import AutoTokenizer

    long = "the cat sleeps " * (100 * 2**20 // 15)
    head = {"t.txt": "", "t.jsonl": '"', "t.csv": 'text\n"'}[name]
    with (tmp_path / name).open("w", encoding="utf-8") as file:
        file.write(head + long + head[-1:] + "\n")
        for other in ("a boat", "the sea", "an old man", "snow"):
            file.write(head[-1:] + other + head[-1:] + "\n")
    texts = read_texts(tmp_path / name)
    (tmp_path / name).unlink()
    assert len(texts) == 5
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    found = tokenize(texts, tokenizer, max_length=16, held_out=1, seed=3)
    ids = tokenizer("the cat sleeps " * 10, truncation=True, max_length=16)["input_ids"]
    rows = [
        row[: int(mask.sum())].tolist()
        for batch in (*found.calibration, *found.held_out)
        for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    assert ids in rows
