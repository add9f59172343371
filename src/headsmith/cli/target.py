"""Whether a command may write its output folder, asked before the work."""

from __future__ import annotations

from pathlib import Path

from headsmith.errors import OutputError
from headsmith.files import check_target

__all__ = ["check_out"]


def check_out(out: Path, *, overwrite: bool, source: str | None = None) -> None:
    """Refuse an output folder that could not be written, or whose replacement would be a loss.

    Args:
        out: the folder of a model, to be written.
        overwrite: whether a model that is there may be replaced.
        source: the model that is read; a folder, or an id of the hub.

    Raises:
        OutputError: it cannot be written, holds something else than a model, or holds `source`.
    """
    check_target(out, overwrite=overwrite)
    if not out.is_dir() or not any(out.iterdir()):
        return
    read = Path(source).resolve() if source is not None else None
    if read is not None and read.is_dir() and read.is_relative_to(out.resolve()):
        where = "is the model itself" if read == out.resolve() else f"holds the model {source}"
        raise OutputError(f"{out} {where}. Choose another output folder.")
    if not (out / "config.json").exists():
        raise OutputError(
            f"{out} holds no model, so it is not replaced. Choose another output folder."
        )
