"""What a rewrite of imports cannot mend: found in source files, with the line and what to do.

Files are parsed, never run or imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from headsmith.compat.checks import CHECKS, SourceFile
from headsmith.compat.sources import (
    Progress,
    find_sources,
    parse_source,
    read_source,
    without_collecting,
    work_through,
)
from headsmith.errors import DataError

__all__ = ["KINDS", "Examination", "Finding", "examine", "examine_source"]

KINDS = {
    "name": "a name that Transformers moved or dropped",
    "copy": "a wrong copy of find_pruneable_heads_and_indices",
    "init": "init_weights() without post_init()",
    "tied-list": "_tied_weights_keys as a list",
    "untied": "output embeddings that are silently not tied",
    "generate": "generate without GenerationMixin",
    "buffer": "a buffer that no checkpoint holds",
    "native-block": "a class that inherits from a block of a native model",
    "head-mask": "a head_mask for a model that may ignore it",
    "method": "a method that Transformers 5 removed",
}
"""Kind of finding → what it is about."""


@dataclass(frozen=True)
class Finding:
    """One thing to be mended by hand, or by `headsmith migrate`.

    Args:
        path: the file.
        line: the line, from 1.
        kind: a key of `KINDS`.
        what: what is there.
        remedy: what to do.
    """

    path: str
    line: int
    kind: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Examination:
    """What was found in a tree.

    Args:
        files: how many Python files there are.
        findings: by file and line.
        skipped: path and reason of the files that could not be read or parsed.
    """

    files: int
    findings: tuple[Finding, ...]
    skipped: tuple[tuple[str, str], ...]


def examine(
    paths: Iterable[str | Path], *, workers: int = 1, progress: Progress | None = None
) -> Examination:
    """Examine all Python files at and below `paths`.

    Args:
        paths: files and folders.
        workers: how many processes may be used.
        progress: told ("files", done, total).

    Raises:
        DataError: a path does not exist.
    """
    files = find_sources([Path(p) for p in paths])
    results = work_through(files, _examine_batch, workers=workers, progress=progress)
    return Examination(
        len(files),
        tuple(f for r in results if not isinstance(r, tuple) for f in r),
        tuple(r for r in results if isinstance(r, tuple)),
    )


def _examine_batch(files: list[Path]) -> list[list[Finding] | tuple[str, str]]:
    found: list[list[Finding] | tuple[str, str]] = []
    with without_collecting():
        for path in files:
            try:
                found.append(examine_source(read_source(path), str(path)))
            except DataError as error:
                found.append((str(path), str(error)))
            except RecursionError:
                found.append((str(path), "nested too deeply"))
    return found


def examine_source(source: bytes | str, path: str = "<source>") -> list[Finding]:
    """Examine one file.

    Args:
        source: its contents.
        path: what to call it.

    Returns:
        What was found, by line.

    Raises:
        DataError: it may hold something, and is not Python that can be parsed.

    Example:
        >>> from headsmith.compat.doctor import examine_source
        >>> (found,) = examine_source("from transformers.optimization import AdamW")
        >>> found.line, found.kind
        (1, 'name')
    """
    data = source.encode() if isinstance(source, str) else source
    checks = [check for check in CHECKS if check.concerns(data)]
    if not checks:
        return []
    file = SourceFile(parse_source(source))
    found = [
        Finding(path, line, kind, what, remedy)
        for check in checks
        for line, kind, what, remedy in check.look(file)
    ]
    return sorted(set(found), key=lambda f: (f.line, f.kind, f.what))
