import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from headsmith.torch import Conv1D, conv1d


@pytest.mark.golden("torch_Conv1D")
def test_as_in_transformers_4_34(case, convert, golden):
    layer = Conv1D(**case["init"]).to(getattr(torch, case["dtype"]))
    layer.load_state_dict(convert.tensor(case["weights"]))
    (x,) = convert.tensor(case["args"])
    if x.dtype == layer.weight.dtype:
        x.requires_grad_()

    if "raises" in case and not x.is_contiguous():
        # Mended: 4.34 raised on an input that is not contiguous.
        torch.testing.assert_close(layer(x), layer(x.contiguous()))
    elif "raises" in case:
        with pytest.raises(Exception) as raised:  # noqa: PT011 (the case says which)
            layer(x)
        golden.assert_raised(raised.value, case["raises"])
    else:
        got = layer(x)
        convert.assert_output(case, got)
        parameters = {f"weights.{name}": value for name, value in layer.named_parameters()}
        convert.assert_grads(case, got, {"args.0": x, **parameters})


@given(
    leading=st.lists(st.integers(0, 4), max_size=3),
    nx=st.integers(0, 5),
    nf=st.integers(0, 5),
    with_bias=st.booleans(),
)
def test_the_function_is_a_matrix_product_for_every_shape(leading, nx, nf, with_bias):
    rng = np.random.default_rng(len(leading) + 7 * nx + 31 * nf)
    x, weight, bias = (rng.normal(size=size) for size in ((*leading, nx), (nx, nf), (nf,)))

    got = conv1d(
        torch.from_numpy(x),
        torch.from_numpy(weight),
        torch.from_numpy(bias) if with_bias else None,
    )

    truth = np.einsum("...x,xf->...f", x, weight) + bias * with_bias
    np.testing.assert_allclose(got.numpy(), truth, rtol=1e-12, atol=1e-12)


def test_without_inputs_the_bias_alone_comes_out():
    layer = Conv1D(3, 0)
    nn.init.normal_(layer.bias)

    torch.testing.assert_close(layer(torch.ones(2, 5, 0)), layer.bias.expand(2, 5, 3))


def test_at_first_the_weight_is_normal_and_the_bias_zero():
    layer = Conv1D(400, 500)

    assert layer.weight.mean().abs() < 1e-3
    assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not layer.bias.any()


def test_the_same_seed_draws_the_weights_that_4_34_drew():
    torch.manual_seed(5)
    got = Conv1D(6, 4).weight
    torch.manual_seed(5)

    assert torch.equal(got, torch.empty(4, 6).normal_(std=0.02))


def test_names_shapes_and_sizes():
    layer = Conv1D(nf=6, nx=4)

    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
        "weight": (4, 6),
        "bias": (6,),
    }
    assert (layer.nf, layer.nx) == (6, 4)
    assert repr(layer) == "Conv1D(nf=6, nx=4)"


def test_dtype_and_device_can_be_given():
    layer = Conv1D(6, 4, device="meta", dtype=torch.bfloat16)

    for parameter in layer.parameters():
        assert (parameter.device.type, parameter.dtype) == ("meta", torch.bfloat16)
    assert layer(torch.ones(2, 4, device="meta", dtype=torch.bfloat16)).shape == (2, 6)


def test_a_copy_and_a_pickle_compute_the_same():
    layer, x = Conv1D(6, 4), torch.randn(2, 4)

    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))  # noqa: S301 (our own)


def test_autocast_computes_in_its_dtype():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Conv1D(6, 4)(torch.ones(2, 4)).dtype == torch.bfloat16


def test_compiles_into_one_graph():
    layer, x = Conv1D(6, 4), torch.randn(2, 5, 4)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)

    torch.testing.assert_close(compiled(x), layer(x))


@pytest.mark.parametrize("shape", [(2, 5, 3), ()])
def test_an_input_of_another_width_is_told_the_sizes(shape):
    with pytest.raises(RuntimeError) as raised:
        Conv1D(6, 4)(torch.ones(shape))
    assert str(raised.value) == f"Expected an input of shape (..., nx=4). Received: {shape}."
