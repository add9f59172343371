"""What files import for constrained beam search, which Transformers 5 has not.

The classes are there to be imported, inherited from and asked for with `isinstance`; making one
says that there is no such search.
"""

from __future__ import annotations

from typing import Any

from headsmith.compat.beam_search import BeamScorer

__all__ = [
    "ConstrainedBeamSearchScorer",
    "Constraint",
    "ConstraintListState",
    "DisjunctiveConstraint",
    "PhrasalConstraint",
]


class Constraint:
    """What the constraints of Transformers 4 inherited from; a class of one's own can, too."""


class _Refused:
    def __init__(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError(
            "Expected a search without constraints: Transformers 5 has none with them. "
            f"Received: {type(self).__name__}. Run it on Transformers 4.34."
        )


class PhrasalConstraint(_Refused, Constraint):
    """Refused: words that must occur."""


class DisjunctiveConstraint(_Refused, Constraint):
    """Refused: one of several phrases must occur."""


class ConstraintListState(_Refused):
    """Refused: how far a text has come with its constraints."""


class ConstrainedBeamSearchScorer(_Refused, BeamScorer):
    """Refused: beam search with constraints."""
