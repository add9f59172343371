"""How 4.34's TensorFlow layers draw their first weights."""

from __future__ import annotations

import keras

__all__ = ["get_initializer"]


def get_initializer(initializer_range: float = 0.02) -> keras.initializers.TruncatedNormal:
    """Make a truncated normal initializer.

    Args:
        initializer_range: Standard deviation.

    Returns:
        A new initializer.

    Example:
        >>> get_initializer(0.5).stddev
        0.5
    """
    return keras.initializers.TruncatedNormal(stddev=initializer_range)
