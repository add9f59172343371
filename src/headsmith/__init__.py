"""The parts around a transformer: heads, chunked execution, and heads removed for good.

Importing this package takes no framework with it; the public names below load theirs
on first use:

- `headsmith.torch`: the PyTorch layers and helpers of the Transformers 4.34 page
  "Custom Layers and Utilities".
- `headsmith.pruning`: score, remove and repair attention heads and feed-forward neurons.
- `headsmith.keras`: the TensorFlow half of that page on Keras 3, for its TensorFlow, JAX and
  PyTorch backends; `headsmith.convert` moves weights between the two.
- `headsmith.compat`: model code of Transformers 4 on Transformers 5.
- `headsmith.load`: open a checkpoint that headsmith wrote.

Example:
    >>> import headsmith
    >>> headsmith.__version__.count(".")
    2
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headsmith.errors import HeadsmithError as HeadsmithError
    from headsmith.pruning import load as load
    from headsmith.pruning import prune as prune
    from headsmith.spec.plan import PrunePlan as PrunePlan

__version__ = "0.1.0"
"""The version of this package, as installed."""

__all__ = ["HeadsmithError", "PrunePlan", "__version__", "load", "prune"]

_HOMES = {
    "HeadsmithError": "headsmith.errors",
    "PrunePlan": "headsmith.spec.plan",
    "load": "headsmith.pruning",
    "prune": "headsmith.pruning",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'headsmith' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
