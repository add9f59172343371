"""May a function look at the values of its tensors? The answer of each Keras backend.

Refusing a label that is out of range needs its value. That is there in eager mode, and not
while `tf.function`, `jax.jit` or `torch.compile` capture a graph.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

__all__ = ["may_read_values", "values"]


def may_read_values(*tensors: Any) -> bool:
    """Tell whether Python may branch on what the tensors hold.

    Args:
        tensors: Tensors of the Keras backend, or NumPy arrays.

    Returns:
        False while a graph is captured, for symbolic Keras tensors, and for the tensors of a
        transformation such as `jax.grad` or `torch.func.vmap`. On PyTorch also False off the
        CPU, where reading a value would make the device wait. True otherwise.

    Example:
        >>> import keras
        >>> may_read_values(keras.ops.ones(2)), may_read_values(keras.KerasTensor((2,)))
        (True, False)
    """
    return all(isinstance(tensor, np.ndarray) or _readable(tensor) for tensor in tensors)


def _readable(tensor: Any) -> bool:
    if isinstance(tensor, keras.KerasTensor):
        return False
    backend = keras.config.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return bool(tf.executing_eagerly()) and hasattr(tensor, "numpy")
    if backend == "jax":
        import jax

        return not isinstance(tensor, jax.core.Tracer)
    if backend == "torch":
        import torch

        return (
            not torch.compiler.is_compiling()
            and type(tensor) in (torch.Tensor, torch.nn.Parameter)
            and tensor.device.type == "cpu"
            and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        )
    return True


def values(tensor: Any) -> np.ndarray[Any, Any]:
    """Give what a tensor holds, once `may_read_values` has said yes.

    Example:
        >>> import keras
        >>> values(keras.ops.ones(2)).tolist()
        [1.0, 1.0]
    """
    if keras.config.backend() == "torch" and not isinstance(tensor, np.ndarray):
        # NumPy 2 warns of the way Keras takes: `np.array` of a PyTorch tensor.
        tensor = tensor.detach().cpu()
        return np.asarray((tensor.float() if tensor.is_floating_point() else tensor).numpy())
    return np.asarray(keras.ops.convert_to_numpy(tensor))
