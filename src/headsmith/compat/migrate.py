"""Rewrite imports of names that Transformers moved or dropped.

Only `from … import …` statements of absolute modules are rewritten, and nothing else in a file:
comments, layout, guards and aliases stay, and the file's code without its imports is compared
before and after. What cannot be mended so is for `headsmith.compat.doctor` to tell.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headsmith.compat.names import lookup
from headsmith.compat.patches import unified_patch
from headsmith.compat.sources import (
    Progress,
    find_sources,
    imports_transformers,
    parse_source,
    read_source,
    without_collecting,
    work_through,
)
from headsmith.errors import DataError, HeadsmithError
from headsmith.extras import require
from headsmith.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Change", "Migrated", "Migration", "migrate", "rewrite"]

_END = b"\n0"
"""A statement put behind a file meanwhile: LibCST drops blank lines and a CR that end a file."""


@dataclass(frozen=True)
class Change:
    """One name that is imported from another place now.

    Args:
        line: where its statement was.
        old: `"module.name"` it was imported from.
        new: `"module.name"` it is imported from now.
    """

    line: int
    old: str
    new: str


@dataclass(frozen=True)
class Migrated:
    """What became, or would become, of one file.

    Args:
        path: the file.
        changes: the names that move; empty if nothing does.
        diff: the change as a unified diff, to be read; empty if there is none.
        patch: the same in the file's own bytes, for `patch -p1` and `git apply`.
        skipped: why the file was left alone, or empty.
        written: whether it was written.
    """

    path: str
    changes: tuple[Change, ...] = ()
    diff: str = ""
    patch: bytes = b""
    skipped: str = ""
    written: bool = False


@dataclass(frozen=True)
class Migration:
    """What became, or would become, of a tree.

    Args:
        files: how many Python files there are.
        changed: those that change.
        skipped: those that could not be read, parsed or written.
    """

    files: int
    changed: tuple[Migrated, ...]
    skipped: tuple[Migrated, ...]


def migrate(
    paths: Iterable[str | Path],
    *,
    write: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> Migration:
    """Rewrite the imports of all Python files at and below `paths`.

    Args:
        paths: files and folders.
        write: whether files are written; else only told.
        workers: how many processes may be used.
        progress: told ("files", done, total).

    Returns:
        What changes, and what was left alone and why.

    Raises:
        DataError: a path does not exist.
        MissingExtraError: LibCST is not installed.
    """
    require("libcst", "migrate")
    files = find_sources([Path(p) for p in paths])
    work = _write_batch if write else _plan_batch
    results = work_through(files, work, workers=workers, progress=progress)
    return Migration(
        len(files),
        tuple(r for r in results if r.changes and not r.skipped),
        tuple(r for r in results if r.skipped),
    )


def _plan_batch(files: list[Path]) -> list[Migrated]:
    with without_collecting():
        return [_migrate_file(path, write=False) for path in files]


def _write_batch(files: list[Path]) -> list[Migrated]:
    with without_collecting():
        return [_migrate_file(path, write=True) for path in files]


def _migrate_file(path: Path, *, write: bool) -> Migrated:
    try:
        data = read_source(path)
        if not imports_transformers(data):
            return Migrated(str(path))
        new, changes = rewrite(data)
        if not changes:
            return Migrated(str(path))
        if write:
            replace_file(path, new)
    except (HeadsmithError, UnicodeError) as error:
        return Migrated(str(path), skipped=str(error))
    patch = unified_patch(path, data, new)
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    diff = patch.decode(encoding, errors="replace")
    return Migrated(str(path), tuple(changes), diff, patch, written=write)


def rewrite(source: bytes) -> tuple[bytes, list[Change]]:
    r"""Rewrite the imports of one file.

    Args:
        source: the whole file, in any encoding that Python reads.

    Returns:
        The new file, and the names that moved; the same bytes where none did.

    Raises:
        DataError: the file is not Python that can be parsed, or what came of it is not.
        MissingExtraError: LibCST is not installed.

    Example:
        >>> from headsmith.compat.migrate import rewrite
        >>> old = b"from transformers.modeling_utils import PreTrainedModel, SQuADHead  # both\n"
        >>> print(rewrite(old)[0].decode(), end="")
        from transformers.modeling_utils import PreTrainedModel  # both
        from headsmith.torch import SQuADHead
    """
    tree = parse_source(source)
    if not _moving(tree):
        return source, []
    require("libcst", "migrate")
    import libcst

    from headsmith.compat.rewriting import ImportRewriter

    try:
        new = libcst.parse_module(source + _END).visit(ImportRewriter()).bytes
        whole = new.endswith(_END)
        new = new.removesuffix(_END)
        same = whole and _same_around(tree, source, new)
        same = same and _same_but_imports(tree, parse_source(new))
    except libcst.ParserSyntaxError as error:
        raise DataError(f"line {error.raw_line}: {error.message}") from error
    except RecursionError as error:
        raise DataError("nested too deeply") from error
    if not same:
        raise DataError("the rewritten file would differ in more than its imports")
    changes = [
        Change(line, f"{statement.module}.{alias.name}", target)
        for statement in _imports(tree)
        for line, alias, target in _targets(statement)
    ]
    return new, changes


def _imports(tree: ast.Module) -> list[ast.ImportFrom]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and not n.level]


def _targets(statement: ast.ImportFrom) -> list[tuple[int, ast.alias, str]]:
    found = []
    for alias in statement.names:
        row = lookup(statement.module or "", alias.name)
        if row is not None and row.target:
            found.append((statement.lineno, alias, row.target.replace(":", ".")))
    return found


def _moving(tree: ast.Module) -> bool:
    return any(_targets(statement) for statement in _imports(tree))


def _same_around(tree: ast.Module, old: bytes, new: bytes) -> bool:
    """Whether all lines without a moving import are there as before, byte for byte."""
    lines = re.findall(rb"[^\r\n]*(?:\r\n|\r|\n|\Z)", old)
    moving = [s for s in _imports(tree) if _targets(s)]
    ends = [0, *(s.end_lineno or s.lineno for s in moving)]
    starts = [*(s.lineno - 1 for s in moving), len(lines)]
    first, *between, last = (
        b"".join(lines[end:start]) for end, start in zip(ends, starts, strict=True)
    )
    if not (new.startswith(first) and new.endswith(last)):
        return False
    place = len(first)
    for part in between:
        place = new.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return place <= len(new) - len(last)


def _same_but_imports(before: ast.Module, after: ast.Module) -> bool:
    """Whether two files bind the same imported names and are otherwise the same code."""
    return _without_imports(before) == _without_imports(after)


def _without_imports(tree: ast.Module) -> tuple[str, list[str]]:
    """The code with each run of imports made one statement, and the names that are bound."""
    bound: list[str] = []

    class Plain(ast.NodeTransformer):
        def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
            if node.level:
                return node
            bound.extend(alias.asname or alias.name for alias in node.names)
            return ast.Pass()

        def generic_visit(self, node: ast.AST) -> ast.AST:
            super().generic_visit(node)
            for name in ("body", "orelse", "finalbody"):
                held = getattr(node, name, None)
                if isinstance(held, list):
                    runs = [
                        s
                        for i, s in enumerate(held)
                        if not (isinstance(s, ast.Pass) and i and isinstance(held[i - 1], ast.Pass))
                    ]
                    setattr(node, name, runs)
            return node

    plain = Plain().visit(ast.parse(ast.unparse(tree)))
    return ast.dump(plain), sorted(bound)
