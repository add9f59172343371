"""Which classes are Transformers' own."""

from __future__ import annotations

__all__ = ["is_native", "is_of_a_model_file"]


def is_native(cls: type) -> bool:
    """Whether a class is Transformers' own."""
    return cls.__module__ == "transformers" or cls.__module__.startswith("transformers.")


def is_of_a_model_file(cls: type) -> bool:
    """Whether a class is that of one of Transformers' models, and not of their common base."""
    return cls.__module__.startswith("transformers.models.")
