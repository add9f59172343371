"""All or nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from headsmith.errors import OutputError
from headsmith.files import check_file, check_target, new_folder, write_file


def test_the_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep/er/out"
    with new_folder(target) as aside:
        (aside / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    assert [p.name for p in target.parent.iterdir()] == ["out"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o777 & ~mask
    assert stat.S_IMODE((target / "a").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:

    def write() -> None:
        with new_folder(tmp_path / "out") as aside:
            (aside / "a").write_text("1")
            raise error

    with pytest.raises(error):
        write()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as aside:
        (aside / "a").write_text("1")
    assert (tmp_path / "out/a").exists()


def test_what_is_there_stays_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("1")
    with pytest.raises(OutputError, match=r"not empty\. Nothing was changed"):
        check_target(tmp_path / "out")
    with pytest.raises(ValueError, match="late"), new_folder(tmp_path / "out", overwrite=True):
        raise ValueError("late")
    assert (tmp_path / "out/old").exists()
    with new_folder(tmp_path / "out", overwrite=True) as aside:
        (aside / "new").write_text("2")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("1")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="is not a folder"):
            check_target(tmp_path / "out", overwrite=overwrite)
    with pytest.raises(OutputError, match="cannot be written to"):
        check_target(tmp_path / "out/below")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written to"):
        check_target(tmp_path / "out")


def test_a_file_that_cannot_be_written_is_told_early(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("old")
    check_file(tmp_path / "new")
    check_file(there, overwrite=True)
    for path, message in (
        (there, "exists. Nothing was changed"),
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "new", "none cannot be written to, or is no folder"),
        (there / "new", "there cannot be written to, or is no folder"),
    ):
        with pytest.raises(OutputError, match=message):
            check_file(path)
        with pytest.raises(OutputError, match=message):
            write_file(path, "new")
    assert (there.read_text(), len(list(tmp_path.iterdir()))) == ("old", 1)


def test_half_a_surrogate_pair_is_written_as_a_question_mark(tmp_path: Path) -> None:
    write_file(tmp_path / "a", "a \udcff é")
    assert (tmp_path / "a").read_bytes() == "a ? é".encode()
