"""One suite over all wings: each wing says how to make a module and how to call it.

A wing is a class with the methods of `TorchWing`; a further wing is one more entry of `WINGS`.
Arrays go in and come out as NumPy, weights under the state-dict names of 4.34.
"""

from types import SimpleNamespace

import numpy as np
import pytest


class TorchWing:
    """headsmith.torch, in float64 unless told otherwise."""

    name = "torch"

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


WINGS = {"torch": TorchWing}


@pytest.fixture(params=WINGS)
def wing(request):
    return WINGS[request.param]()


@pytest.fixture
def weights_of(rng):
    """Random weights of the given shapes."""
    return lambda shapes: {name: rng.normal(size=size) * 0.5 for name, size in shapes.items()}
