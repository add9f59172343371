"""Write one file, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from headsmith.errors import OutputError

__all__ = ["write_file"]


def write_file(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write `text` aside and move it into place.

    Args:
        path: the file; its folder must exist.
        text: what to write, as UTF-8.
        overwrite: replace a file that is there; it stays whole until the new one is.

    Raises:
        OutputError: it exists, or it cannot be written; then nothing has changed.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder. Name a file to write, such as {path}/report.html.")
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists. Nothing was changed. Choose another file, or replace it with "
            "--overwrite."
        )
    try:
        handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(aside, 0o666 & ~mask)  # mkstemp makes private files
        os.replace(aside, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        Path(aside).unlink(missing_ok=True)
