"""Writing that is all or nothing: aside first, then moved into place."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headsmith.errors import OutputError

__all__ = [
    "check_file",
    "check_target",
    "clear_unfinished",
    "disk_is_full",
    "new_folder",
    "replace_file",
    "write_file",
]

_TRIES = 100  # to replace a folder that others replace at the same time


def check_target(path: Path, *, overwrite: bool = False) -> None:
    """Refuse early what `new_folder` would refuse at the end of long work.

    Args:
        path: the folder to be written.
        overwrite: whether a folder that is there may be replaced.

    Raises:
        OutputError: it exists, or its parent cannot be written to.
    """
    try:
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
    except OutputError:
        raise
    except OSError as error:  # a folder above may not even be looked into, or went away
        raise OutputError(_explain(path, error)) from error


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
        _move(aside, path, overwrite)
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


def check_file(path: Path, *, overwrite: bool = False) -> None:
    """Refuse early what `write_file` would refuse at the end of long work.

    Args:
        path: the file to be written.
        overwrite: whether a file that is there may be replaced.

    Raises:
        OutputError: it exists, or its folder is not there or cannot be written to.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder. Name a file to write, such as {path}/report.html.")
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists. Nothing was changed. Choose another file, or replace it with "
            "--overwrite."
        )
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(
            f"{folder} cannot be written to, or is no folder. Make it, or choose another file."
        )


def write_file(path: Path, contents: str | bytes, *, overwrite: bool = False) -> None:
    """Write a new file, whole or not at all.

    Args:
        path: the file; its folder must exist.
        contents: what to write; text as UTF-8, with a question mark for half a surrogate pair,
            which names of files and strange data may hold.
        overwrite: replace a file that is there; it stays whole until the new one is.

    Raises:
        OutputError: it exists, or it cannot be written; then nothing has changed.
    """
    check_file(path, overwrite=overwrite)
    data = contents.encode(errors="replace") if isinstance(contents, str) else contents
    _write_whole(path, data, 0o666 & ~_umask())


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
        mode = path.stat().st_mode & 0o7777
    except OSError as error:
        raise OutputError(_explain(path, error)) from error
    _write_whole(path, data, mode)


def _write_whole(path: Path, data: bytes, mode: int) -> None:
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.writing-", dir=path.absolute().parent)
    except OSError as error:
        raise OutputError(_explain(path, error)) from error
    aside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        aside.chmod(mode)  # mkstemp makes private files
        aside.replace(path)
    except OSError as error:
        raise OutputError(_explain(path, error)) from error
    finally:
        aside.unlink(missing_ok=True)


def _move(aside: Path, path: Path, overwrite: bool) -> None:
    # mkdtemp makes private folders, and safetensors private files.
    mask = _umask()
    for entry in (aside, *aside.rglob("*")):
        entry.chmod((0o777 if entry.is_dir() else 0o666) & ~mask)
    if not (overwrite and path.exists()):
        with suppress(OSError):
            path.rmdir()  # an empty folder may be filled; Windows renames to no name that exists
        if path.exists():
            raise OutputError(
                f"{path} was written by someone else meanwhile. It is left as it is, and nothing "
                "else was left behind."
            )
        aside.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old-", dir=path.parent))
    needed = False
    try:
        for number in range(_TRIES):
            saved = old / str(number)
            with suppress(FileNotFoundError):
                path.rename(saved)
            try:
                aside.rename(path)
                return
            except OSError as error:
                if path.exists():
                    continue  # another writer was faster; ours is the later word
                needed = saved.exists() and not _moved(saved, path) and not path.exists()
                if needed:
                    raise OutputError(
                        f"Could not write {path}: {error.strerror or error}. What was there is "
                        f"in {saved}."
                    ) from error
                raise
        raise OutputError(f"Could not write {path}: others write it all the time.")
    finally:
        if not needed:
            shutil.rmtree(old, ignore_errors=True)


def _moved(source: Path, target: Path) -> bool:
    try:
        source.rename(target)
    except OSError:
        return False
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def disk_is_full(error: OSError) -> bool:
    """Whether an error is that no more can be written where it was tried."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _explain(path: Path, error: OSError) -> str:
    reason = "the disk is full" if disk_is_full(error) else error.strerror or str(error)
    return f"Could not write {path}: {reason}. Nothing was left behind."
