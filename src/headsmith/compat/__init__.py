"""Model code of Transformers 4 on Transformers 5 and late 4.x.

- `restore`, `restored`, `undo`, or `import headsmith.compat.auto`: old code runs unchanged.
- `mark_legacy`: say of a class that it is of Transformers 4, where that does not show.
- `headsmith migrate` and `headsmith doctor PATH` rewrite and examine source files; here they are
  `headsmith.compat.migrate` and `headsmith.compat.doctor`.

Importing this takes neither torch nor Transformers with it.
"""

from __future__ import annotations

from headsmith.compat.legacy import is_legacy, mark_legacy
from headsmith.compat.restoration import Restoration, is_restored, restore, restored, undo

__all__ = [
    "Restoration",
    "is_legacy",
    "is_restored",
    "mark_legacy",
    "restore",
    "restored",
    "undo",
]
