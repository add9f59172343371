"""Source files of a tree: found, sieved by a look at their bytes, parsed, worked on in parallel."""

from __future__ import annotations

import ast
import gc
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from headsmith.errors import DataError

__all__ = [
    "Progress",
    "find_sources",
    "imports_transformers",
    "parse_source",
    "read_source",
    "without_collecting",
    "work_through",
]

Progress = Callable[[str, int, int], None]
"""Told (stage, files done, files in all)."""

_Result = TypeVar("_Result")

_NEVER = {"__pycache__", "node_modules", "site-packages", "venv"}
_FROM = re.compile(rb"(?:from|import)[ \t\\\r\n]+transformers\b")
_AMONG_OTHERS = re.compile(rb"import[ \t][^\n#]*,[ \t\\\r\n]*transformers\b")
_LARGEST = 8 * 2**20  # bytes; what is larger was not written by hand
_MANY = 64  # files from which other processes pay for their start
_BATCH = 16


def find_sources(paths: Iterable[Path]) -> list[Path]:
    """The Python files at and below `paths`, sorted, each once.

    Folders whose name begins with a dot, environments and caches are passed over, links to
    folders are not followed; a file that is named itself is always taken.

    Args:
        paths: files and folders.

    Raises:
        DataError: a path does not exist.
    """
    found: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found.update(_below(path))
        elif path.exists():
            found.add(path)
        else:
            raise DataError(f"There is no file or folder {str(path)!r}.")
    return sorted(found)


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _NEVER
            and not os.path.exists(os.path.join(place, name, "pyvenv.cfg"))
        ]
        yield from (Path(place, name) for name in files if name.endswith(".py"))


def read_source(path: Path) -> bytes:
    """The contents of a file.

    Raises:
        DataError: the file cannot be read, is a pipe or device, or is too large to be source code.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError("not a regular file")  # reading a pipe would wait for its writer
        if status.st_size > _LARGEST:
            raise DataError(f"larger than {_LARGEST // 2**20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise DataError(error.strerror or str(error)) from error


def parse_source(source: bytes | str) -> ast.Module:
    """The syntax tree of a file.

    Args:
        source: a whole file; bytes in any encoding that Python reads.

    Raises:
        DataError: it is not Python that can be parsed.

    Example:
        >>> from headsmith.compat.sources import parse_source
        >>> len(parse_source(b"import os, sys").body)
        1
    """
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        message = getattr(error, "msg", None) or str(error)
        raise DataError(f"line {line}: {message}" if line else message) from error
    except (RecursionError, MemoryError) as error:  # the parser's stack, not the machine's memory
        raise DataError("nested too deeply") from error


def imports_transformers(source: bytes) -> bool:
    r"""Whether a file may have a statement that imports from Transformers by absolute name.

    A look at the bytes, which costs a hundredth of parsing them: what it refuses need not be
    parsed.

    Args:
        source: a whole file.

    Example:
        >>> from headsmith.compat.sources import imports_transformers
        >>> imports_transformers(b"try:\n    from transformers import AdamW")
        True
        >>> imports_transformers(b"from .modeling_utils import AdamW  # from transformers")
        False
    """
    if b"transformers" not in source:
        return False
    return any(
        _begins(source, found.start())
        for pattern in (_FROM, _AMONG_OTHERS)
        for found in pattern.finditer(source)
    )


def _begins(source: bytes, place: int) -> bool:
    """Whether a statement may begin there: nothing stands before it, or what ends another."""
    line = source[source.rfind(b"\n", 0, place) + 1 : place]
    before = line[line.rfind(b"\r") + 1 :].rstrip(b" \t\f\xef\xbb\xbf")
    return not before or before.endswith((b";", b":"))


@contextmanager
def without_collecting() -> Iterator[None]:
    """Let no garbage be looked for meanwhile: syntax trees are large and have no cycles.

    Looking through them again and again takes a third of the time of parsing.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def work_through(
    files: Sequence[Path],
    work: Callable[[list[Path]], list[_Result]],
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[_Result]:
    """Work on files in batches, in this process or several.

    Args:
        files: the files.
        work: a function of a module, given a batch of files; gives a list.
        workers: how many processes may be used; few files are done in this one.
        progress: told ("files", done, total) after each batch.

    Returns:
        All results in the order of the files.
    """
    batches = [list(files[i : i + _BATCH]) for i in range(0, len(files), _BATCH)]
    results: list[_Result] = []
    done = 0
    if workers > 1 and len(files) >= _MANY:
        # Started afresh: copies of a process that runs threads may hang.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            answers = pool.map(work, batches)
            for batch, answer in zip(batches, answers, strict=True):
                results += answer
                done += len(batch)
                if progress:
                    progress("files", done, len(files))
        return results
    for batch in batches:
        results += work(batch)
        done += len(batch)
        if progress:
            progress("files", done, len(files))
    return results
