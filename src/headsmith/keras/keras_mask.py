"""The mask that Keras hangs on a tensor: `Masking`, `Embedding(mask_zero=True)`, losses.

Keras reads and writes it by functions that are not public; this is the one place that knows.
"""

from __future__ import annotations

from typing import Any

try:
    from keras.src.backend import get_keras_mask, set_keras_mask
except ImportError:  # they moved: the mask itself has always been this attribute

    def get_keras_mask(x: Any) -> Any:
        """Give the mask, or None."""
        return getattr(x, "_keras_mask", None)

    def set_keras_mask(x: Any, mask: Any) -> None:
        """Hang a mask on a tensor."""
        x._keras_mask = mask


__all__ = ["get_keras_mask", "mask_of", "set_keras_mask"]


def mask_of(hidden_states: Any, attention_mask: Any) -> Any:
    """Give the attention mask, or the Keras mask of the states if there is none.

    Example:
        >>> import keras
        >>> mask_of(keras.ops.ones((1, 2, 4)), [[1, 0]])
        [[1, 0]]
    """
    return get_keras_mask(hidden_states) if attention_mask is None else attention_mask
