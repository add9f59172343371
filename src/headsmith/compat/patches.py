"""A change of one file as `patch` and `git apply` take it.

They know lines that end in LF and nothing else: a CR or a form feed is a byte of its line.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

__all__ = ["unified_patch"]

_UNFINISHED = b"\n\\ No newline at end of file\n"


def unified_patch(path: Path, old: bytes, new: bytes) -> bytes:
    r"""The change of a file as a unified diff, to be applied from the current folder.

    Args:
        path: the file; one that is not below the current folder is told from the root.
        old: what it holds.
        new: what it is to hold.

    Returns:
        The diff, for `patch -p1` or `git apply`; empty if nothing changes.

    Example:
        >>> from pathlib import Path
        >>> from headsmith.compat.patches import unified_patch
        >>> print(unified_patch(Path("a.py"), b"x = 1\n", b"x = 2").decode(), end="")
        --- a/a.py
        +++ b/a.py
        @@ -1 +1 @@
        -x = 1
        +x = 2
        \ No newline at end of file
    """
    name = _name(path)
    lines = difflib.diff_bytes(
        difflib.unified_diff,
        _lines(old),
        _lines(new),
        fromfile=_told(b"a/" + name),
        tofile=_told(b"b/" + name),
    )
    return b"".join(line if line.endswith(b"\n") else line + _UNFINISHED for line in lines)


def _lines(data: bytes) -> list[bytes]:
    *whole, last = data.split(b"\n")
    return [line + b"\n" for line in whole] + ([last] if last else [])


def _name(path: Path) -> bytes:
    whole, here = Path(os.path.abspath(path)), Path.cwd()
    told = whole.relative_to(here) if whole.is_relative_to(here) else whole
    return os.fsencode(told.as_posix().lstrip("/"))


def _told(name: bytes) -> bytes:
    """A file name as a heading has it: odd ones in quotes, a tab to end those with spaces."""
    if any(c < 32 or c in b'"\\' for c in name):
        odd = (b"\\%03o" % c if c < 32 or c in b'"\\' else bytes([c]) for c in name)
        return b'"' + b"".join(odd) + b'"'
    return name + b"\t" if b" " in name else name
