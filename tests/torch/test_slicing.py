from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as masking

from headsmith.torch import Conv1D, prune_conv1d_layer, prune_layer, prune_linear_layer

KINDS = {
    "Linear": lambda nx, nf, **options: nn.Linear(nx, nf, **options),
    "Conv1D": lambda nx, nf, **options: Conv1D(nf, nx, **options),
}
OUTPUT_DIM = {"Linear": 0, "Conv1D": 1}
FUNCTION = {"Linear": prune_linear_layer, "Conv1D": prune_conv1d_layer}

each_kind = pytest.mark.parametrize("kind", KINDS)
each_dim = pytest.mark.parametrize("dim", [0, 1])
filled = partial(torch.tensor, dtype=torch.long)


def recorded_layer(case, convert):
    options = case["layer"]
    sizes, dtype = (options["in_features"], options["out_features"]), options["dtype"]
    if options["kind"] == "Linear":
        layer = nn.Linear(*sizes, bias=options["bias"])
    elif options["kind"] == "Conv1D":
        layer = Conv1D(sizes[1], sizes[0])
    elif options["kind"] == "Embedding":
        layer = nn.Embedding(*sizes)
    else:
        layer = nn.LayerNorm(sizes[0])
    layer.to(getattr(torch, dtype)).load_state_dict(convert.tensor(case["weights"]))
    return layer.requires_grad_(not options["frozen"])


@pytest.mark.golden("torch_prune")
def test_as_in_transformers_4_34(case, convert, golden):
    function = {
        "prune_layer": prune_layer,
        "prune_linear_layer": prune_linear_layer,
        "prune_conv1d_layer": prune_conv1d_layer,
    }[case["item"]]
    layer = recorded_layer(case, convert)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    (index,) = convert.tensor(case["args"])

    if "raises" in case:
        with pytest.raises(Exception) as raised:  # noqa: PT011 (the case says which)
            function(layer, index, **case["kwargs"])
        golden.assert_raised(raised.value, case["raises"])
        assert case["raises"]["type"] in [cls.__name__ for cls in type(raised.value).__mro__]
        if case["raises"]["strict"]:
            assert str(raised.value).startswith(case["raises"]["message"])
        return

    got = function(layer, index, **case["kwargs"])

    expected, attributes = case["outputs"], case["attributes"]
    # Mended: 4.34 made float32 of every dtype. The values are those of the layer's own dtype.
    assert got.weight.dtype == getattr(torch, case["layer"]["dtype"])
    assert {name for name, _ in got.named_parameters()} == set(expected)
    for name, recorded in expected.items():
        values = convert.array(got.get_parameter(name))
        golden.assert_close(
            values, recorded.values.astype(np.float64), atol=case["atol"], rtol=case["rtol"]
        )
    assert got is not layer
    assert type(got).__name__ == attributes["class"]
    assert got.training == attributes["training"]
    assert {name: value.requires_grad for name, value in got.named_parameters()} == attributes[
        "requires_grad"
    ]
    for size in {"in_features", "out_features", "nf"} & set(attributes):
        assert getattr(got, size) == attributes[size]
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name])


@st.composite
def cuts(draw):
    """(kind, nx, nf, bias, dim, index): any layer and any features of it, in any order."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    nx, nf = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    dim = draw(st.integers(0, 1))
    size = nf if dim == OUTPUT_DIM[kind] else nx
    index = draw(st.lists(st.integers(0, size - 1), max_size=8))
    bias = kind == "Conv1D" or draw(st.booleans())
    return kind, nx, nf, bias, dim, index


def made(kind, nx, nf, bias=True, **options):
    layer = KINDS[kind](nx, nf, **({"bias": bias} if kind == "Linear" else {}), **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return layer


@given(cuts())
def test_the_cut_layer_computes_with_the_kept_features_alone(cut):
    kind, nx, nf, bias, dim, index = cut
    layer = made(kind, nx, nf, bias, dtype=torch.float64)
    x = torch.randn(3, nx, dtype=torch.float64)
    weight = layer.weight.detach().numpy()
    weight = weight.T if kind == "Linear" else weight  # (nx, nf)
    offset = layer.bias.detach().numpy() if bias else np.zeros(nf)

    got = prune_layer(layer, filled(index), dim=dim)

    if dim == OUTPUT_DIM[kind]:
        truth, x_kept = (x.numpy() @ weight + offset)[:, index], x
    else:
        truth, x_kept = x.numpy()[:, index] @ weight[index] + offset, x[:, index]
    np.testing.assert_allclose(got(x_kept).detach().numpy(), truth, rtol=1e-12, atol=1e-12)


@given(cuts(), st.data())
def test_cutting_twice_is_cutting_once(cut, data):
    kind, nx, nf, bias, dim, index = cut
    layer = made(kind, nx, nf, bias)
    places = st.lists(st.integers(0, len(index) - 1)) if index else st.just([])
    first, second = filled(index), filled(data.draw(places))

    twice = prune_layer(prune_layer(layer, first, dim), second, dim)
    once = prune_layer(layer, first[second], dim)

    assert torch.equal(twice.weight, once.weight)
    assert (twice.bias is None and once.bias is None) or torch.equal(twice.bias, once.bias)
    assert repr(twice) == repr(once)


@given(
    cuts(),
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    st.sampled_from(["cpu", "meta"]),
    st.booleans(),
    st.booleans(),
)
def test_dtype_device_and_mode_survive_and_gradients_are_wanted(
    cut, dtype, device, training, frozen
):
    kind, nx, nf, bias, dim, index = cut
    layer = made(kind, nx, nf, bias).to(device=device, dtype=dtype).train(training)
    layer.requires_grad_(not frozen)

    got = prune_layer(layer, filled(index), dim=dim)

    assert type(got) is type(layer)
    assert got.training == training
    for name, parameter in got.named_parameters():
        assert (parameter.dtype, parameter.device.type) == (dtype, device), name
        assert parameter.requires_grad
        assert parameter.is_leaf
    sizes = [len(index), nx] if dim == OUTPUT_DIM[kind] else [nf, len(index)]
    assert list(got.weight.shape) == (sizes if kind == "Linear" else sizes[::-1])


@each_kind
def test_the_old_layer_shares_no_memory_with_the_new_one(kind):
    layer = made(kind, 4, 4)
    for dim in (0, 1):
        got = prune_layer(layer, torch.arange(4), dim=dim)
        addresses = {parameter.data_ptr() for parameter in layer.parameters()}
        assert not addresses & {parameter.data_ptr() for parameter in got.parameters()}


@each_kind
def test_the_new_layer_trains(kind):
    got = prune_layer(made(kind, 4, 6).requires_grad_(False), filled([0, 3]))

    got(torch.ones(2, 4)).sum().backward()

    assert got.weight.grad.shape == got.weight.shape
    assert got.bias.grad.tolist() == [2.0, 2.0]


@each_kind
def test_no_random_number_is_drawn(kind):
    layer = made(kind, 4, 6)
    before = torch.get_rng_state()

    prune_layer(layer, filled([0, 3]))

    assert torch.equal(torch.get_rng_state(), before)


@each_kind
@each_dim
def test_a_negative_dim_counts_from_the_end(kind, dim):
    layer = made(kind, 4, 6)

    got, truth = (FUNCTION[kind](layer, filled([2, 0]), dim=d) for d in (dim - 2, dim))

    assert torch.equal(got.weight, truth.weight)
    assert torch.equal(got.bias, truth.bias)


@each_kind
@each_dim
def test_an_int32_index_will_do(kind, dim):
    layer = made(kind, 4, 4)

    got = prune_layer(layer, torch.tensor([1, 3], dtype=torch.int32), dim)

    assert torch.equal(got.weight, layer.weight.index_select(dim, filled([1, 3])))


class TestMeta:
    @each_kind
    @each_dim
    def test_a_cpu_layer_is_cut_under_a_meta_default_device(self, kind, dim):
        layer, index = made(kind, 4, 4), filled([1, 3])
        with torch.device("meta"):
            got = prune_layer(layer, index, dim)

        assert torch.equal(got.weight, layer.weight.index_select(dim, index))
        assert got.bias.device.type == "cpu"

    @each_kind
    def test_a_meta_layer_takes_an_index_from_anywhere(self, kind):
        layer = made(kind, 4, 6).to("meta")
        for device in ("cpu", "meta"):
            assert prune_layer(layer, filled([1, 3], device=device)).bias.shape == (2,)

    def test_a_meta_index_says_nothing_to_a_layer_with_values(self):
        with pytest.raises(ValueError, match=r"an index with values .* device='cpu'"):
            prune_layer(nn.Linear(4, 6), filled([1, 3], device="meta"))


class Scaled(nn.Linear):
    """A subclass with a setting and a method of its own."""

    def __init__(self, *sizes, scale):
        super().__init__(*sizes)
        self.scale = scale
        self.rule = self.half

    def half(self):
        return self.scale / 2

    def forward(self, x):
        return super().forward(x) * self.scale


class LowRank(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.down = nn.Linear(sizes[0], 1)
        self.up = nn.Parameter(torch.ones(sizes[1], 1))


class TestSubclasses:
    def test_a_subclass_stays_one_and_keeps_its_settings(self):
        layer, x = Scaled(4, 6, scale=3.0), torch.randn(2, 4)

        got = prune_layer(layer, filled([5, 0]))

        assert type(got) is Scaled
        torch.testing.assert_close(got(x), layer(x)[:, [5, 0]])

    def test_what_is_bound_to_the_old_layer_stays_with_it(self):
        layer, x = Scaled(4, 6, scale=3.0), torch.randn(2, 4)
        # What Accelerate's hooks do to a module.
        layer.old_forward, layer.forward = layer.forward, partial(Scaled.forward, layer)
        layer.register_forward_hook(lambda *_: pytest.fail("the hook of the old layer ran"))

        got = prune_layer(layer, filled([5, 0]))

        assert not {"forward", "old_forward", "rule"} & set(vars(got))
        assert got(x).shape == (2, 2)

    def test_a_subclass_with_parameters_of_its_own_is_refused(self):
        with pytest.raises(ValueError, match=r"LowRank with \['down', 'up'\] .* Merge these"):
            prune_layer(LowRank(4, 6), filled([0]))

    def test_a_subclass_of_conv1d_keeps_its_settings(self):
        class Named(Conv1D):
            label = ""

        layer = Named(6, 4)
        layer.label = "query"

        got = prune_layer(layer, filled([0, 1]))

        assert (type(got), got.label, got.nf) == (Named, "query", 2)

    def test_a_parametrized_weight_is_taken_at_its_present_value(self):
        class Doubled(nn.Module):
            def forward(self, weight):
                return weight * 2

        layer = nn.Linear(4, 6)
        before = layer.weight.detach().clone()
        parametrize.register_parametrization(layer, "weight", Doubled())

        got = prune_layer(layer, filled([1]))

        assert type(got) is nn.Linear
        assert torch.equal(got.weight, before[[1]] * 2)

    def test_a_parametrized_subclass_is_a_plain_subclass_afterwards(self):
        layer = Scaled(4, 6, scale=3.0)
        parametrize.register_parametrization(layer, "weight", nn.Identity())

        assert type(prune_layer(layer, filled([1]))) is Scaled

    def test_a_mask_of_torch_is_applied_for_good(self):
        layer = nn.Linear(4, 6)
        masking.random_unstructured(layer, "weight", amount=0.5)

        got = prune_layer(layer, filled([1, 2]))

        assert torch.equal(got.weight, layer.weight[[1, 2]])
        assert set(dict(got.named_parameters())) == {"weight", "bias"}

    def test_a_shared_bias_of_none_stays_none(self):
        assert prune_layer(nn.Linear(4, 6, bias=False), filled([1])).bias is None


def foreign_conv1d(*, with_nx):
    """A class that looks like Conv1D of Transformers 4 (without nx) or 5 (with it)."""

    def __init__(self, nf, nx):  # noqa: N807 (becomes a method below)
        nn.Module.__init__(self)
        self.nf = nf
        if with_nx:
            self.nx = nx
        self.weight = nn.Parameter(torch.randn(nx, nf))
        self.bias = nn.Parameter(torch.randn(nf))

    return type("Conv1D", (nn.Module,), {"__init__": __init__})


class TestTransformersConv1D:
    @pytest.mark.parametrize("with_nx", [True, False])
    @each_dim
    def test_one_that_looks_like_it_is_cut_and_stays_of_its_class(self, with_nx, dim):
        cls = foreign_conv1d(with_nx=with_nx)
        layer = cls(6, 4)

        got = prune_layer(layer, filled([0, 3]), dim)

        assert type(got) is cls
        assert (got.nf, hasattr(got, "nx")) == (2 if dim == 1 else 6, with_nx)
        assert not with_nx or got.nx == (2 if dim == 0 else 4)
        assert torch.equal(got.weight, layer.weight.index_select(dim, filled([0, 3])))

    def test_the_real_one(self):
        utilities = pytest.importorskip("transformers.pytorch_utils")
        layer, x = utilities.Conv1D(6, 4), torch.randn(2, 4)

        got = prune_layer(layer, filled([5, 0]))

        assert type(got) is utilities.Conv1D
        torch.testing.assert_close(got(x), layer(x)[:, [5, 0]])

    @pytest.mark.parametrize("shape", [(3, 4, 5), (4, 3)])
    def test_the_name_alone_is_not_enough(self, shape):
        fake = type("Conv1D", (nn.Module,), {})()
        fake.weight, fake.nf = nn.Parameter(torch.ones(shape)), 4

        with pytest.raises(ValueError, match="Can't prune layer of class"):
            prune_layer(fake, filled([0]))


class TestMessages:
    @each_kind
    @each_dim
    @pytest.mark.parametrize(
        ("values", "told"),
        [
            ([0, 4], "[4]"),
            ([-1, 2, -5], "[-1, -5]"),
            (list(range(4, 24)), "[4, 5, 6, 7, 8, 9, 10, 11] and more"),
        ],
    )
    def test_an_index_out_of_range(self, kind, dim, values, told):
        with pytest.raises(IndexError) as raised:
            prune_layer(made(kind, 4, 4), filled(values), dim)
        assert str(raised.value) == f"Expected index values in 0 … 3. Received: {told}."

    @pytest.mark.parametrize(
        ("index", "message"),
        [
            (torch.tensor([True, False]), "Received: torch.bool. For a mask, pass mask.nonzero()"),
            (torch.tensor([0.0]), "Received: torch.float32. Convert it: index.long()"),
            (torch.tensor([0], dtype=torch.uint8), "Received: torch.uint8"),
            ([0, 1], "Received: list. Wrap it: torch.tensor"),
        ],
    )
    def test_an_index_of_another_type(self, index, message):
        with pytest.raises(TypeError) as raised:
            prune_layer(nn.Linear(4, 6), index)
        assert message in str(raised.value)

    @pytest.mark.parametrize("index", [filled(3), filled([[0, 1]])])
    def test_an_index_of_another_rank(self, index):
        with pytest.raises(ValueError, match=r"one dimension\. Received: shape .* Flatten it"):
            prune_layer(nn.Linear(4, 6), index)

    @each_kind
    @pytest.mark.parametrize("dim", [2, -3])
    def test_a_dim_out_of_range(self, kind, dim):
        with pytest.raises(IndexError, match=rf"dim to be 0 or 1.*Received: {dim}"):
            prune_layer(made(kind, 4, 6), filled([0]), dim)

    def test_a_layer_of_another_class(self):
        with pytest.raises(ValueError) as raised:  # noqa: PT011 (the message is compared whole)
            prune_layer(nn.Identity(), filled([0]))
        assert str(raised.value) == (
            "Can't prune layer of class <class 'torch.nn.modules.linear.Identity'>. "
            "Expected a torch.nn.Linear or a Conv1D, or a subclass of one."
        )

    def test_a_layer_for_the_other_function(self):
        with pytest.raises(TypeError, match=r"Expected a torch.nn.Linear\. Received: .*Conv1D"):
            prune_linear_layer(Conv1D(6, 4), filled([0]))
        with pytest.raises(TypeError, match=r"Expected a Conv1D, .*Received: .*Linear"):
            prune_conv1d_layer(nn.Linear(4, 6), filled([0]))

    def test_a_quantized_weight(self):
        layer = nn.Linear(4, 6)
        layer.weight = nn.Parameter(torch.zeros(12, 1, dtype=torch.uint8), requires_grad=False)
        with pytest.raises(ValueError, match=r"torch.uint8 of shape \(12, 1\).*Dequantize"):
            prune_layer(layer, filled([0]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@each_kind
@each_dim
@pytest.mark.parametrize("index_device", ["cpu", "cuda"])
def test_a_layer_on_a_gpu_stays_there_and_the_index_is_moved(kind, dim, index_device):
    layer = made(kind, 4, 4).to("cuda")

    got = prune_layer(layer, filled([3, 1], device=index_device), dim)

    assert got.weight.is_cuda
    assert got.bias.is_cuda
    assert torch.equal(got.weight, layer.weight.index_select(dim, filled([3, 1], device="cuda")))
    with pytest.raises(IndexError, match=r"Received: \[4\]"):
        prune_layer(layer, filled([4], device=index_device), dim)
