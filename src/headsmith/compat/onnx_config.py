"""Base classes that copied configurations inherit from, so that they can be imported.

Transformers 5 has no `transformers.onnx`. Configuration files of old models define how they were
exported beside what they configure; only the latter is of use now.
"""

from __future__ import annotations

from typing import Any, NoReturn

from headsmith.errors import HeadsmithError

__all__ = [
    "OnnxConfig",
    "OnnxConfigWithPast",
    "OnnxSeq2SeqConfigWithPast",
    "PatchingSpec",
    "compute_effective_axis_dimension",
]


class OnnxConfig:
    """Can be inherited from; refuses to be made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse(type(self).__name__)


class OnnxConfigWithPast(OnnxConfig):
    """As `OnnxConfig`."""


class OnnxSeq2SeqConfigWithPast(OnnxConfigWithPast):
    """As `OnnxConfig`."""


class PatchingSpec:
    """Refuses to be made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse(type(self).__name__)


def compute_effective_axis_dimension(*args: Any, **kwargs: Any) -> NoReturn:
    """Refuses: there is no exporter to compute it for."""
    _refuse("compute_effective_axis_dimension")


def _refuse(name: str) -> NoReturn:
    raise HeadsmithError(
        f"{name} belonged to transformers.onnx, which Transformers 5 does not have: only the "
        "name is kept, so that old files import. Export models with torch.onnx.export or optimum."
    )
