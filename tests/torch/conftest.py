"""From recorded arrays to tensors and back."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor


@pytest.fixture
def convert(golden):
    """`convert.tensor(array)`, `convert.array(tensor)` and `convert.assert_case(...)`."""

    def tensor(value):
        """Make tensors of the recorded arrays in a nest of lists and dicts."""
        if isinstance(value, golden.Array):
            made = torch.from_numpy(value.values.copy()).to(getattr(torch, value.dtype))
            if value.transposed:
                made = made.transpose(1, 2).contiguous().transpose(1, 2)
            return made
        if isinstance(value, dict):
            return {key: tensor(member) for key, member in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(tensor(member) for member in value)
        return value

    def array(value):
        return value.detach().to(torch.float64).numpy()

    def assert_output(case, got):
        expected, oracle = case["outputs"], case.get("oracle_float64")
        assert isinstance(got, Tensor)
        assert got.dtype == getattr(torch, expected.dtype)
        golden.assert_close(
            array(got),
            expected.values.astype(np.float64),
            atol=case["atol"],
            rtol=case["rtol"],
            oracle=None if oracle is None else oracle.values,
        )

    def assert_grads(case, got, sources):
        """Ask for the recorded gradients; `sources` names the tensors by their recorded paths."""
        if "grads" not in case:
            return
        (cotangent,) = case["grads"]["cotangents"]
        expected = case["grads"]["wrt"]
        found = torch.autograd.grad(got, [sources[path] for path in expected], tensor(cotangent))
        for gradient, recorded in zip(found, expected.values(), strict=True):
            truth = recorded.values.astype(np.float64)
            scale = max(1.0, np.abs(truth).max(initial=0.0))
            golden.assert_close(
                array(gradient), truth, atol=5 * case["atol"] * scale, rtol=5 * case["rtol"]
            )

    return SimpleNamespace(
        tensor=tensor, array=array, assert_output=assert_output, assert_grads=assert_grads
    )
