import weakref
from collections import OrderedDict, namedtuple
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from headsmith.torch import apply_chunking_to_forward

Pair = namedtuple("Pair", ["first", "second"])

# The functions that the recorded cases name.
RECORDED = {
    "double": lambda x: x * 2,
    "tanh_sq": lambda x: torch.tanh(x) ** 2,
    "add": lambda a, b: a + b,
    "sum_last_keep": lambda x: x.sum(-1, keepdim=True),
    "cumsum1": lambda x: torch.cumsum(x, 1),
    "mean_pair": lambda a, b: (a.mean(-1, keepdim=True) + b.mean(-1, keepdim=True)) / 2,
    "default_arg": lambda a, b=None: a if b is None else a + b,
    "varargs": lambda *xs: sum(xs),
}


@pytest.mark.golden("torch_apply_chunking_to_forward")
def test_as_in_transformers_4_34(case, convert, golden):
    inputs = convert.tensor(case["args"])
    function = RECORDED[case["forward"]]
    call = partial(
        apply_chunking_to_forward, function, case["chunk_size"], case["chunk_dim"], *inputs
    )
    if "raises" not in case:
        for needs_grad in (False, inputs[0].is_floating_point()):
            for x in inputs:
                x.requires_grad_(needs_grad)
            got = call()
            convert.assert_output(case, got)
        convert.assert_grads(case, got, {f"args.{i}": x for i, x in enumerate(inputs)})
    elif case["raises"]["strict"] or not inputs:
        with pytest.raises(ValueError, match="Expected") as raised:
            call()
        golden.assert_raised(raised.value, case["raises"])
    else:
        # Mended: remainders, default arguments and *args.
        torch.testing.assert_close(call(), function(*inputs))


@st.composite
def sliced(draw):
    """(shape, dim, chunk size): any chunking of any tensor."""
    shape = draw(st.lists(st.integers(0, 7), min_size=1, max_size=3))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    return shape, dim, draw(st.integers(-1, 9))


@given(sliced(), st.booleans())
def test_chunked_is_whole_for_every_chunk_size(chunking, needs_grad):
    shape, dim, chunk_size = chunking
    rng = np.random.default_rng(sum(shape))
    x, y = (torch.from_numpy(rng.normal(size=shape)).requires_grad_(needs_grad) for _ in range(2))

    got = apply_chunking_to_forward(lambda x, y: torch.tanh(x) * y, chunk_size, dim, x, y)

    truth = np.tanh(x.detach().numpy()) * y.detach().numpy()
    np.testing.assert_allclose(got.detach().numpy(), truth, rtol=1e-12)
    assert got.requires_grad == needs_grad
    if needs_grad:
        gradient, _ = torch.autograd.grad(got.sum(), (x, y))
        np.testing.assert_allclose(
            gradient.numpy(), (1 - np.tanh(x.detach().numpy()) ** 2) * y.detach().numpy()
        )


@given(sliced(), st.sampled_from([torch.float16, torch.bfloat16, torch.float64, torch.int32]))
def test_dtype_and_device_survive(chunking, dtype):
    shape, dim, chunk_size = chunking
    for device in ("cpu", "meta"):
        got = apply_chunking_to_forward(
            torch.neg, chunk_size, dim, torch.ones(shape, dtype=dtype, device=device)
        )
        assert (got.dtype, got.device.type, list(got.shape)) == (dtype, device, shape)


def by_parts(function, chunk_size, dim, x):
    return torch.cat([function(part) for part in x.split(chunk_size, dim)], dim)


@pytest.mark.parametrize("needs_grad", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.sum(1, keepdim=True),  # one position a chunk
        lambda x: x[:, ::2],
        lambda x: x.repeat(1, 3, 1),
        lambda x: x[:, :0],
        lambda x: x[:, : 5 - x.shape[1]],  # as long as the chunk only in the last one
        lambda x: x[:, : x.shape[1] // 3 * 3],  # as long as the chunk, but not in the last one
        lambda x: x.double() if x.shape[1] < 3 else x,  # torch.cat promotes
        lambda x: x.transpose(0, 2).contiguous().transpose(0, 2),
    ],
)
def test_what_comes_out_is_always_the_concatenation_of_the_parts(function, needs_grad):
    x = torch.randn(2, 8, 4, requires_grad=needs_grad)

    got = apply_chunking_to_forward(function, 3, 1, x)

    truth = by_parts(function, 3, 1, x)
    assert got.dtype == truth.dtype
    assert torch.equal(got, truth)
    if needs_grad:
        assert torch.equal(*(torch.autograd.grad(y.sum(), x)[0] for y in (got, truth)))


def test_a_gradient_wanted_by_a_later_chunk_alone_is_not_lost():
    scale = torch.tensor(3.0, requires_grad=True)

    got = apply_chunking_to_forward(
        lambda x: x * scale if x[0] >= 4 else x, 2, 0, torch.arange(6.0)
    )

    assert got.tolist() == [0, 1, 2, 3, 12, 15]
    assert torch.autograd.grad(got.sum(), scale)[0] == 9


def test_gradients_flow_through_one_concatenation():
    # A chain of writes into the result would pass a gradient of full size through each.
    x = torch.ones(6, requires_grad=True)

    got = apply_chunking_to_forward(torch.neg, 2, 0, x)

    assert got.grad_fn.name() == "CatBackward0"
    assert len(got.grad_fn.next_functions) == 3


def test_parts_are_written_into_one_result_where_no_gradient_is_needed():
    parts = []

    def function(x):
        # Were parts held until the end, those of all chunks would be alive here.
        assert not [part for part in parts if part() is not None]
        part = x + 1
        parts.append(weakref.ref(part))
        return part, x - 1

    with torch.no_grad():
        got, _ = apply_chunking_to_forward(function, 2, 0, torch.ones(12, requires_grad=True))

    assert got.tolist() == [2.0] * 12
    assert len(parts) == 6


class TestCallables:
    x = torch.arange(12.0).reshape(2, 6)

    def test_a_module(self):
        layer = nn.Linear(4, 3)
        x = torch.randn(2, 7, 4)

        torch.testing.assert_close(apply_chunking_to_forward(layer, 3, 1, x), layer(x))

    def test_hooks_of_a_module_run(self):
        layer, calls = nn.Identity(), []
        layer.register_forward_hook(lambda *_: calls.append(1))

        apply_chunking_to_forward(layer, 2, 1, self.x)

        assert len(calls) == 3

    def method(self, x):
        return x + 1

    @pytest.mark.parametrize(
        "function",
        [
            torch.neg,  # a built-in tells no signature
            lambda a, b=2: a * b,
            lambda a, *, b=2: a * b,
            lambda *xs: xs[0],
            lambda *xs, **_: xs[0],
            partial(torch.add, other=1),
            partial(lambda a, b: a - b, b=1),
        ],
    )
    def test_a_function_of_any_signature(self, function):
        assert torch.equal(apply_chunking_to_forward(function, 4, 1, self.x), function(self.x))

    def test_a_bound_method(self):
        assert torch.equal(apply_chunking_to_forward(self.method, 4, 1, self.x), self.x + 1)

    def test_a_compiled_call_is_one_graph(self):
        layer = nn.Linear(6, 3)

        @partial(torch.compile, backend="eager", fullgraph=True)
        def compiled(x):
            return apply_chunking_to_forward(layer, 1, 0, x)

        torch.testing.assert_close(compiled(self.x), layer(self.x))

    def test_transforms_of_functions(self):
        def chunked(x):
            return apply_chunking_to_forward(torch.tanh, 4, 0, x)

        torch.testing.assert_close(torch.func.vmap(chunked)(self.x), torch.tanh(self.x))
        torch.testing.assert_close(
            torch.func.jacrev(chunked)(self.x[0]), torch.func.jacrev(torch.tanh)(self.x[0])
        )


class TestOutputs:
    x = torch.arange(12.0).reshape(2, 6)

    @pytest.mark.parametrize("needs_grad", [False, True])
    @pytest.mark.parametrize(
        "function",
        [
            lambda x: (x, x + 1),
            lambda x: [x, (x + 1, x.long())],
            lambda x: Pair(x, None),
            lambda x: {"hidden": x, "more": (x + 1, None), 3: x},
            lambda x: OrderedDict(b=x, a=x + 1),
            lambda x: (),
        ],
    )
    def test_a_nest_of_tensors_is_joined_member_by_member(self, function, needs_grad):
        x = self.x.clone().requires_grad_(needs_grad)
        got, truth = apply_chunking_to_forward(function, 4, 1, x), function(x)

        assert type(got) is type(truth)
        torch.testing.assert_close(got, truth, rtol=0, atol=0, allow_subclasses=False)

    def test_none_stays_none(self):
        assert apply_chunking_to_forward(lambda x: None, 4, 1, self.x) is None

    def test_an_output_of_transformers(self):
        outputs = pytest.importorskip("transformers.modeling_outputs")

        got = apply_chunking_to_forward(
            lambda x: outputs.BaseModelOutput(last_hidden_state=x, attentions=(x + 1,)),
            4,
            1,
            self.x,
        )

        assert type(got) is outputs.BaseModelOutput
        assert list(got) == ["last_hidden_state", "attentions"]
        assert torch.equal(got.last_hidden_state, self.x)
        assert torch.equal(got["attentions"][0], self.x + 1)
        assert got.hidden_states is None

    def test_one_chunk_is_a_plain_call(self):
        result = object()
        for chunk_size in (0, -1, 6, 7):
            assert apply_chunking_to_forward(lambda x: result, chunk_size, 1, self.x) is result

    def test_without_chunks_nothing_is_asked_of_the_lengths(self):
        assert apply_chunking_to_forward(lambda a, b: b, 0, 1, self.x, "anything") == "anything"

    def test_an_empty_input_is_a_plain_call(self):
        assert apply_chunking_to_forward(nn.Linear(4, 3), 2, 1, torch.ones(2, 0, 4)).shape == (
            2,
            0,
            3,
        )


class TestMessages:
    x = torch.zeros(2, 6)

    @pytest.mark.parametrize("chunk_size", [0, 2])
    @pytest.mark.parametrize(
        ("function", "count", "message"),
        [
            (lambda a, b: a, 1, r"forward_fn\(a, b\) takes\. Received: 1 \(missing .* 'b'\)"),
            (lambda a: a, 2, r"forward_fn\(a\) takes\. Received: 2 \(too many positional"),
            (lambda a, *, b: a, 1, r"Received: 1 \(missing .* 'b'\)"),
            (nn.Identity(), 2, r"Received: 2 \(too many positional"),
        ],
    )
    def test_a_number_of_tensors_that_does_not_fit(self, function, count, message, chunk_size):
        with pytest.raises(ValueError, match=message):
            apply_chunking_to_forward(function, chunk_size, 1, *[self.x] * count)

    def test_no_tensors(self):
        with pytest.raises(ValueError, match="at least one input tensor after chunk_dim"):
            apply_chunking_to_forward(torch.neg, 2, 1)

    def test_unequal_lengths(self):
        with pytest.raises(ValueError) as raised:  # noqa: PT011 (the message is compared whole)
            apply_chunking_to_forward(torch.add, 2, 1, self.x, torch.zeros(2, 4))
        assert str(raised.value) == (
            "Expected all input tensors to have the same length along dimension 1. "
            "Received: lengths [6, 4]."
        )

    def test_a_missing_dimension(self):
        with pytest.raises(IndexError, match=r"chunk_dim=2\. Received: shape \(2, 6\) as input 0"):
            apply_chunking_to_forward(torch.neg, 2, 2, self.x)
        with pytest.raises(IndexError, match=r"every output .* an output of shape \(\)"):
            apply_chunking_to_forward(torch.sum, 2, 1, self.x)

    def test_an_input_that_is_no_tensor(self):
        with pytest.raises(TypeError, match=r"Received: NoneType as input 1\. Bind"):
            apply_chunking_to_forward(lambda a, b: a, 2, 1, self.x, None)

    def test_an_output_that_cannot_be_joined(self):
        with pytest.raises(TypeError, match="Received: float, which cannot be joined"):
            apply_chunking_to_forward(lambda x: (x, 0.5), 2, 1, self.x)

    def test_outputs_of_changing_structure(self):
        with pytest.raises(ValueError, match=r"tensor for positions 4 … 5 after \('tuple'"):
            apply_chunking_to_forward(
                lambda x: (x, x) if x.shape[1] == 4 else x, 4, 1, torch.zeros(2, 6)
            )
