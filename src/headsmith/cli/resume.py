"""`OUTPUT.work`: what a run has finished, for the next one should this one be interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from headsmith.cli.output import Output
from headsmith.errors import HeadsmithError, OutputError
from headsmith.files import clear_unfinished

if TYPE_CHECKING:
    from headsmith.pruning.work import Work

__all__ = ["resumable"]


@contextmanager
def resumable(out: Path, output: Output, *, resume: bool) -> Iterator[Path]:
    """Have a folder beside `out` while work goes on; it is deleted when the block ends well.

    Args:
        out: the folder that the work ends in.
        output: says what is taken over, and what is left.
        resume: whether to take over what is there.

    Yields:
        The folder; it may not be there yet.

    Raises:
        OutputError: something else has its name.
    """
    from headsmith.pruning.processes import is_first
    from headsmith.pruning.work import Work

    # Not `out` itself: that appears whole, or not at all.
    folder = out.absolute().with_name(f"{out.absolute().name}.work")
    work = Work(folder)
    if work.is_there and is_first():
        clear_unfinished(out)
    if work.is_there and not resume:
        work.remove()
    elif work.is_there:
        output.note(
            f"{folder.name} is left from an interrupted run: what was finished with this model, "
            "data and settings is taken over (--no-resume begins anew)."
        )
    try:
        yield folder
    except HeadsmithError as error:
        if isinstance(error, OutputError):
            _tell(work, output)
        else:
            work.remove()  # the same command would end in the same way
        raise
    except BaseException:
        _tell(work, output)
        raise
    work.remove()


def _tell(work: Work, output: Output) -> None:
    if work.is_there:
        output.note(
            f"What was finished is kept in {work.folder}: the same command goes on from there."
        )
