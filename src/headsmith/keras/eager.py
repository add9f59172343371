"""May a function look at the values of its tensors?

A wrong index is told at once where numbers can be read: in eager mode on a CPU. In a captured
graph they do not exist yet, and on an accelerator reading them would wait for the device.
"""

from __future__ import annotations

import sys
from typing import Any

import keras

__all__ = ["may_read_values"]


def may_read_values(tensor: Any) -> bool:
    """Tell whether Python may read what a tensor holds, at no great cost.

    Args:
        tensor: A tensor of the backend.

    Returns:
        True in eager mode on a CPU.

    Example:
        >>> import keras
        >>> may_read_values(keras.KerasTensor((2,)))
        False
    """
    if not keras.ops.is_tensor(tensor):
        return False
    # The backend is there already: reading sys.modules imports nothing.
    backend = sys.modules.get(keras.backend.backend())
    if keras.backend.backend() == "tensorflow":
        return type(tensor).__name__ == "EagerTensor" and "CPU" in tensor.device
    if keras.backend.backend() == "jax":
        tracer = backend.core.Tracer if backend is not None else ()
        return not isinstance(tensor, tracer) and all(d.platform == "cpu" for d in tensor.devices())
    if keras.backend.backend() == "torch" and backend is not None:
        functorch = backend._C._functorch
        return (
            tensor.device.type == "cpu"
            and not backend.compiler.is_compiling()
            and not functorch.is_functorch_wrapped_tensor(tensor)
        )
    return False
