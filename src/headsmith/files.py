"""Writing that is all or nothing: aside first, then moved into place."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headsmith.errors import OutputError

__all__ = ["check_target", "clear_unfinished", "new_folder", "replace_file", "write_file"]


def check_target(path: Path, *, overwrite: bool = False) -> None:
    """Refuse early what `new_folder` would refuse at the end of long work.

    Args:
        path: the folder to be written.
        overwrite: whether a folder that is there may be replaced.

    Raises:
        OutputError: it exists, or its parent cannot be written to.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise OutputError(f"{path} exists and is not a folder. Choose another output folder.")
    if path.is_dir() and any(path.iterdir()) and not overwrite:
        raise OutputError(
            f"The output folder {path} exists and is not empty. Nothing was changed. "
            "Choose another one, or replace it with --overwrite."
        )
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{parent} cannot be written to. Choose another output folder.")


@contextmanager
def new_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Write a folder aside and move it into place when the block ends well.

    Args:
        path: where the folder shall stand; it must not exist, be empty, or `overwrite`.
        overwrite: replace a folder that is there; it stays untouched until the new one is whole.

    Yields:
        An empty folder beside `path` to write into, its name hidden. If the block raises, it is
        deleted and `path` is as it was; a killed process leaves it, and `path` as it was.

    Raises:
        OutputError: the folder cannot be written: it exists, is not writable, or the disk is full.
    """
    check_target(path, overwrite=overwrite)
    path = path.absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.writing-", dir=path.parent))
    except OSError as error:
        raise OutputError(_explain(path, error)) from error
    try:
        yield aside
        _move(aside, path)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(_explain(path, error)) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def clear_unfinished(path: Path) -> None:
    """Delete what killed processes left of their writing of the folder `path`.

    Nobody else may be writing it: what they have written so far would go.
    """
    path = path.absolute()
    for entry in path.parent.iterdir() if path.parent.is_dir() else ():
        if entry.name.startswith(f".{path.name}.writing-") and entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)


def replace_file(path: Path, data: bytes) -> None:
    """Give a file that is there new contents, whole or not at all; its permissions stay.

    Args:
        path: the file; where it is a link, what it points to is replaced.
        data: all of the new contents.

    Raises:
        OutputError: it cannot be written; it is as it was then.
    """
    path = path.resolve()
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise OutputError(_explain(path, error)) from error
    _put(path, data, mode)


def write_file(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all, over one that may be there.

    Args:
        path: the file; its folder is there.
        data: all of the contents.

    Raises:
        OutputError: it cannot be written; it is as it was then.
    """
    _put(path, data, 0o666 & ~_umask())


def _put(path: Path, data: bytes, mode: int) -> None:
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.writing-", dir=path.parent)
    except OSError as error:
        raise OutputError(_explain(path, error)) from error
    aside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        aside.chmod(mode & 0o7777)
        aside.replace(path)
    except OSError as error:
        raise OutputError(_explain(path, error)) from error
    finally:
        aside.unlink(missing_ok=True)


def _move(aside: Path, path: Path) -> None:
    # mkdtemp makes private folders, and safetensors private files.
    mask = _umask()
    for entry in (aside, *aside.rglob("*")):
        entry.chmod((0o777 if entry.is_dir() else 0o666) & ~mask)
    if not path.exists():
        aside.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old-", dir=path.parent))
    path.rename(old / path.name)
    try:
        aside.rename(path)
    except OSError:
        (old / path.name).rename(path)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _explain(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason = "the disk is full"
    else:
        reason = error.strerror or str(error)
    return f"Could not write {path}: {reason}. Nothing was left behind."
