"""One exception tree, so that `except HeadsmithError` catches all that headsmith raises itself.

```
HeadsmithError
├─ MissingExtraError (ImportError)   an optional dependency is not installed
├─ DataError (ValueError)            a data file cannot be read or holds nothing of use
├─ UnknownFamilyError (ValueError)   no family describes this kind of model
├─ PlanError (ValueError)            a prune plan is broken or belongs to another model
├─ BudgetError (ValueError)          a budget is out of range or cannot be met
├─ CheckpointError (ValueError)      a checkpoint cannot be read as one of ours
└─ OutputError (OSError)             a result cannot be written where it was asked for
```

Wrong arguments to the drop-in functions of `headsmith.torch` raise what Transformers 4.34
raised (`ValueError`, `IndexError`, `TypeError`): code that catches those keeps working.
"""

from __future__ import annotations

__all__ = [
    "BudgetError",
    "CheckpointError",
    "DataError",
    "HeadsmithError",
    "MissingExtraError",
    "OutputError",
    "PlanError",
    "UnknownFamilyError",
]


class HeadsmithError(Exception):
    """The root: anything headsmith refuses knowingly."""


class MissingExtraError(HeadsmithError, ImportError):
    """An optional dependency is not installed; the message says what to install."""


class DataError(HeadsmithError, ValueError):
    """A data file is missing, empty, or not in a format that is understood."""


class UnknownFamilyError(HeadsmithError, ValueError):
    """No family knows where this model keeps its heads and neurons."""


class PlanError(HeadsmithError, ValueError):
    """A prune plan is malformed or does not fit the model it is used on."""


class BudgetError(HeadsmithError, ValueError):
    """A budget is not in its range, or no plan can meet it."""


class CheckpointError(HeadsmithError, ValueError):
    """A folder is not a checkpoint that can be opened, or holds a plan that was tampered with."""


class OutputError(HeadsmithError, OSError):
    """A result cannot be written: the place exists, is not writable, or the disk is full."""
