"""Weights between a PyTorch module, a Keras layer and a state dict of arrays."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from headsmith.convert.names import as_keras, as_state, state_name, state_shape
from headsmith.extras import require

__all__ = ["state_dict", "to_keras", "to_torch"]

Array = npt.NDArray[np.generic]
Layer = TypeVar("Layer")


def state_dict(source: Any, *, prefix: str = "") -> dict[str, Array]:
    """Give the weights of a module, layer or mapping as arrays under PyTorch's names.

    Args:
        source: A PyTorch module, a Keras layer or model, or a mapping of PyTorch's names to
            arrays or tensors, such as `module.state_dict()` or what
            `read_tensorflow_checkpoint` gives.
        prefix: Only names below this one, and without it: "multiple_choice_head" makes
            "summary.weight" of "multiple_choice_head.summary.weight".

    Returns:
        Name → array. 16-bit floats come as float32.

    Raises:
        TypeError: The source is none of these.
        ValueError: Two weights of a Keras layer would have the same name.

    Example:
        >>> state_dict({"head.dense.bias": np.zeros(2), "body.bias": np.ones(1)}, prefix="head")
        {'dense.bias': array([0., 0.])}
    """
    if isinstance(source, Mapping):
        weights = {str(name): _array(value) for name, value in source.items()}
    elif _is(source, "keras", "layers.Layer"):  # which on one backend are PyTorch modules, too
        _build(source)
        weights = {
            state_name(path): as_state(path, _array(variable))
            for path, variable in _variables(source).items()
        }
    elif _is(source, "torch", "nn.Module"):
        weights = {name: _array(value) for name, value in source.state_dict().items()}
    else:
        raise TypeError(
            "Expected a PyTorch module, a Keras layer, or a mapping of names to arrays. "
            f"Received: {source!r} (of type {type(source).__name__})."
        )
    if not prefix:
        return weights
    start = prefix.rstrip(".") + "."
    return {
        name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)
    }


def to_keras(source: Any, layer: Layer, *, prefix: str = "") -> Layer:
    """Fill a Keras layer with the weights of another module, layer or state dict.

    Args:
        source: See `state_dict`.
        layer: A Keras layer or model; a layer of this package is built if it is not yet.
        prefix: See `state_dict`.

    Returns:
        The layer. Values are cast to the dtype of its weights.

    Raises:
        TypeError: `source` or `layer` is something else.
        ValueError: A name is missing, left over, or has another shape: nothing is changed.
        MissingExtraError: Keras is not installed.

    Example:
        >>> from headsmith.keras import Conv1D
        >>> layer = to_keras({"weight": np.ones((4, 6)), "bias": np.zeros(6)}, Conv1D(6, 4))
        >>> tuple(layer.bias.shape)
        (1, 6)
    """
    keras: Any = require("keras", "keras")
    if not isinstance(layer, keras.layers.Layer):
        raise TypeError(
            f"to_keras expects a Keras layer to fill. Received: {type(layer).__name__}."
        )
    _build(layer)
    variables = _variables(layer)
    values = state_dict(source, prefix=prefix)
    shapes = {
        state_name(path): state_shape(path, tuple(variable.shape))
        for path, variable in variables.items()
    }
    _check(values, shapes, f"the Keras layer {layer.name!r}")
    for path, variable in variables.items():
        variable.assign(as_keras(path, values[state_name(path)], tuple(variable.shape)))
    filled: Any = layer
    return filled  # type: ignore[no-any-return]


def to_torch(source: Any, module: Layer, *, prefix: str = "") -> Layer:
    """Fill a PyTorch module with the weights of another module, layer or state dict.

    Args:
        source: See `state_dict`.
        module: A PyTorch module.
        prefix: See `state_dict`.

    Returns:
        The module. Values are cast to the dtype of its parameters and go to their device.

    Raises:
        TypeError: `source` or `module` is something else.
        ValueError: A name is missing, left over, or has another shape: nothing is changed.
        MissingExtraError: PyTorch is not installed.

    Example:
        >>> from headsmith.torch import Conv1D
        >>> module = to_torch({"weight": np.ones((4, 6)), "bias": np.zeros(6)}, Conv1D(6, 4))
        >>> module.weight.shape
        torch.Size([4, 6])
    """
    torch: Any = require("torch", "torch")
    if not isinstance(module, torch.nn.Module) or _is(module, "keras", "layers.Layer"):
        raise TypeError(
            f"to_torch expects a PyTorch module to fill. Received: {type(module).__name__}."
        )
    values = state_dict(source, prefix=prefix)
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    _check(values, shapes, f"the PyTorch module {type(module).__name__}")
    module.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in values.items()})
    filled: Any = module
    return filled  # type: ignore[no-any-return]


def _is(value: Any, package: str, name: str) -> bool:
    """Tell whether a value is of a class of a package, without importing the package."""
    kind: Any = sys.modules.get(package)
    for part in name.split("."):
        kind = getattr(kind, part, None)
    return kind is not None and isinstance(value, kind)


def _array(value: Any) -> Array:
    """Give the values of a tensor of any framework; 16-bit floats as float32."""
    if _is(value, "keras", "Variable"):
        value = value.value
    if _is(value, "torch", "Tensor"):
        value = value.detach().cpu()
        if value.is_floating_point() and value.dtype.itemsize < 4:
            value = value.float()
        return np.asarray(value.numpy())
    if hasattr(value, "numpy"):  # TensorFlow; the tensors of JAX are arrays
        value = value.numpy()
    array = np.asarray(value)
    if array.dtype.itemsize < 4 and array.dtype.kind in "fV":
        array = array.astype(np.float32)
    return array


def _build(layer: Any) -> None:
    """Make the weights of a layer of ours, which needs no input for that; refuse others."""
    if not layer.built and any(c.__module__.startswith("headsmith.") for c in type(layer).__mro__):
        layer.build()
    if not layer.built:
        raise ValueError(f"The layer {layer.name!r} has no weights yet. Call it once, or build it.")


def _variables(layer: Any) -> dict[str, Any]:
    """Give the variables of a layer by their paths below it."""
    own = f"{layer.path}/" if getattr(layer, "path", None) else ""
    found: dict[str, Any] = {}
    for variable in layer.weights:
        path = variable.path.removeprefix(own)
        if state_name(path) in {state_name(other) for other in found}:
            raise ValueError(
                f"The layer {layer.name!r} has two weights of the path {path!r}. Name its layers "
                "apart."
            )
        found[path] = variable
    return found


def _check(values: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], target: str) -> None:
    """Refuse names or shapes that do not fit, all at once."""
    faults = [f"{name!r} is missing" for name in sorted(shapes.keys() - values.keys())]
    faults += [f"{name!r} has no place" for name in sorted(values.keys() - shapes.keys())]
    faults += [
        f"{name!r} is {values[name].shape} and should be {shapes[name]}"
        for name in sorted(shapes.keys() & values.keys())
        if tuple(values[name].shape) != shapes[name]
    ]
    if faults:
        raise ValueError(
            f"Expected exactly the weights of {target}: {', '.join(sorted(shapes)) or 'none'}. "
            f"Received others: {'; '.join(faults)}. Nothing was changed."
        )
