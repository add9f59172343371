"""One suite over all wings: each wing says how to make a module and how to call it.

A wing is a class with the methods of `TorchWing`; a further wing is one more entry of `WINGS`.
Arrays go in and come out as NumPy, weights under the state-dict names of 4.34. The Keras wing
runs on the backend of this process; `tests/keras/test_backends.py` sees to the others.
"""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from foreign_warnings import allow

os.environ.setdefault("KERAS_BACKEND", "torch")


def pytest_collection_modifyitems(items):
    allow(items, "contract")


class TorchWing:
    """headsmith.torch, in float64 unless told otherwise."""

    name = "torch"
    tolerance = 1e-6

    def __init__(self):
        self.torch = pytest.importorskip("torch")

    def module(self, name, config, weights, **settings):
        """Make the module called `name`, load the weights, and give a function of arrays."""
        from headsmith.torch import squad, summary

        home = summary if name == "SequenceSummary" else squad
        made = getattr(home, name)(SimpleNamespace(**config), **settings).double().eval()
        made.load_state_dict({key: self.tensor(value) for key, value in weights.items()})
        return lambda *args, **kwargs: self.numbers(
            made(*map(self.tensor, args), **{k: self.tensor(v) for k, v in kwargs.items()})
        )

    def loss(self, name):
        """Give the loss called `name` as a function of arrays."""
        from headsmith.torch import losses

        function = getattr(losses, name)
        return lambda *args, **kwargs: self.numbers(function(*map(self.tensor, args), **kwargs))

    def tensor(self, value):
        return self.torch.from_numpy(value) if isinstance(value, np.ndarray) else value

    def numbers(self, value):
        if isinstance(value, (tuple, list)):
            return [self.numbers(member) for member in value]
        return value.detach().numpy()


class KerasWing:
    """headsmith.keras on the backend of this process, in the precision users have there."""

    name = "keras"

    def __init__(self):
        self.keras = pytest.importorskip("keras")
        self.dtype = "float32" if self.keras.backend.backend() == "jax" else "float64"
        self.tolerance = 2e-5 if self.dtype == "float32" else 2e-6

    def module(self, name, config, weights, **settings):
        """Make the layer called `name`, load the weights, and give a function of arrays."""
        from headsmith import keras as wing
        from headsmith.convert import to_keras

        made = to_keras(weights, getattr(wing, name)(config, dtype=self.dtype, **settings))

        def call(args, kwargs):
            return made(*args, **kwargs)

        if self.keras.backend.backend() == "jax":
            import jax  # which in eager mode compiles every single operation

            call = jax.jit(call)
        return lambda *args, **kwargs: self.numbers(call(args, kwargs))

    def loss(self, name):
        """Give the loss called `name` as a function of arrays."""
        losses = pytest.importorskip("headsmith.keras.losses")
        function = getattr(losses, name)
        return lambda *args, **kwargs: self.numbers(function(*map(self.tensor, args), **kwargs))

    def tensor(self, value):
        floating = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        return self.keras.ops.convert_to_tensor(value, dtype=self.dtype) if floating else value

    def numbers(self, value):
        if isinstance(value, (tuple, list)):
            return [self.numbers(member) for member in value]
        return self.keras.ops.convert_to_numpy(value)


WINGS = {"torch": TorchWing, "keras": KerasWing}
# What a process for one Keras backend runs is that backend.
_HERE = ["keras"] if os.environ.get("HEADSMITH_ONE_BACKEND") else list(WINGS)


@pytest.fixture(params=_HERE)
def wing(request):
    return WINGS[request.param]()


@pytest.fixture
def weights_of(rng):
    """Random weights of the given shapes."""
    return lambda shapes: {name: rng.normal(size=size) * 0.5 for name, size in shapes.items()}
