"""The Keras wing's tests: one process has one backend, `KERAS_BACKEND`, read when Keras comes in.

`pytest` runs them on PyTorch's; `test_backends.py` runs them once more, in a fresh process, on
each other backend that is installed.
"""

import contextlib
import os

import numpy as np
import pytest
from foreign_warnings import allow

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


# Compiling tiny graphs costs XLA more than running them.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)


def pytest_collection_modifyitems(items):
    allow(items, "keras")


class Engine:
    """What a test needs of a backend beside Keras: compiled calls and gradients."""

    def __init__(self):
        import keras

        self.keras = keras
        self.ops = keras.ops
        self.name = keras.backend.backend()

    def tensor(self, value, dtype=None):
        return self.ops.convert_to_tensor(value, dtype=dtype)

    def array(self, value):
        """Give float64, int or bool NumPy values."""
        if self.keras.backend.standardize_dtype(value.dtype) == "bfloat16":
            value = self.ops.cast(value, "float32")  # which NumPy knows
        found = self.ops.convert_to_numpy(value)
        return found if found.dtype.kind in "iub" else found.astype(np.float64)

    def arrays(self, nest):
        return self.keras.tree.map_structure(self.array, nest)

    def precise(self, dtype):
        """Open a scope in which float64 is there; JAX has it on request only."""
        if self.name != "jax" or dtype != "float64":
            return contextlib.nullcontext()
        import jax.experimental

        # The first is of today, the second of JAX 0.6.
        home = jax if hasattr(jax, "enable_x64") else jax.experimental
        return home.enable_x64(True)

    def compiled(self, layer, args, kwargs):
        """Call a layer within one compiled graph: XLA, or TorchDynamo on PyTorch."""
        is_tensor = self.ops.is_tensor
        leaves = self.keras.tree.flatten((args, kwargs))
        given = [leaf for leaf in leaves if is_tensor(leaf)]

        def call(*tensors):
            rest = iter(tensors)
            filled = [next(rest) if is_tensor(leaf) else leaf for leaf in leaves]
            args_, kwargs_ = self.keras.tree.pack_sequence_as((args, kwargs), filled)
            return layer(*args_, **kwargs_)

        if self.name == "tensorflow":
            import tensorflow as tf

            return tf.function(call, jit_compile=True)(*given)
        if self.name == "jax":
            import jax

            return jax.jit(call)(*given)
        import torch

        if tuple(map(int, self.keras.__version__.split(".")[:2])) < (3, 15):
            pytest.skip("TorchDynamo is not known to trace so old a Keras")
        torch.compiler.reset()
        return torch.compile(call, backend="eager")(*given)

    def gradients(self, call, sources, cotangents):
        """Give d(floating outputs · cotangents) / d(sources), None where there is none.

        `sources` are variables or tensors; `call(*sources)` gets tensors for the latter and
        returns a flat list of floating outputs.
        """
        variables = [s for s in sources if isinstance(s, self.keras.Variable)]
        tensors = [s for s in sources if not isinstance(s, self.keras.Variable)]
        if self.name == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                tape.watch(tensors)
                outputs = call(*tensors)
            found = tape.gradient(outputs, tensors + [v.value for v in variables], cotangents)
        elif self.name == "jax":
            import jax

            def pure(tensors, values):
                pairs = list(zip(variables, values, strict=True))
                with self.keras.StatelessScope(state_mapping=pairs):
                    return call(*tensors)

            @jax.jit
            def derive(tensors, values, cotangents):
                return jax.vjp(pure, tensors, values)[1](cotangents)

            values = [v.value for v in variables]
            found = [g for part in derive(tensors, values, cotangents) for g in part]
        else:
            import torch

            tensors = [t.detach().clone().requires_grad_() for t in tensors]
            outputs = call(*tensors)
            found = torch.autograd.grad(
                outputs, tensors + [v.value for v in variables], cotangents, allow_unused=True
            )
            found = [None if g is None else g.detach() for g in found]
        arrays = iter([None if g is None else self.array(g) for g in found])
        by_tensor = [next(arrays) for _ in tensors]
        by_variable = [next(arrays) for _ in variables]
        return [
            (by_variable if isinstance(s, self.keras.Variable) else by_tensor).pop(0)
            for s in sources
        ]


@pytest.fixture(scope="session")
def engine():
    return Engine()


@pytest.fixture
def rng(seed):
    return np.random.default_rng(seed)
