from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from headsmith.spec import reference
from headsmith.spec.configs import SUMMARY_TYPES, SummaryConfig
from headsmith.torch.activations import ACTIVATIONS, get_activation
from headsmith.torch.summary import (
    AttentionPooling,
    SequenceSummary,
    attention_pool,
    last_token,
    summarize,
)

PLAIN_TYPES = [kind for kind in SUMMARY_TYPES if kind != "attn"]


def pooling(size, heads, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    module = AttentionPooling(size, heads).to(dtype)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def numbers(module):
    return {name: value.detach().double().numpy() for name, value in module.state_dict().items()}


masks = st.sampled_from(["none", "left", "right", "both", "holes", "empty"])


def mask_of(kind, batch, length, rng):
    place = np.arange(length)
    first = rng.integers(0, length, (batch, 1))
    last = rng.integers(0, length, (batch, 1))
    return {
        "none": None,
        "left": place >= first,
        "right": place <= last,
        "both": (place >= np.minimum(first, last)) & (place <= np.maximum(first, last)),
        "holes": rng.random((batch, length)) < 0.5,
        "empty": np.zeros((batch, length), bool),
    }[kind]


@given(
    kind=st.sampled_from(PLAIN_TYPES),
    mask_kind=masks,
    batch=st.integers(1, 4),
    length=st.integers(1, 7),
    given_index=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_every_type_is_the_truth(kind, mask_kind, batch, length, given_index, seed):
    rng = np.random.default_rng(seed)
    h = rng.normal(size=(batch, length, 3))
    mask = mask_of(mask_kind, batch, length, rng)
    index = rng.integers(0, length, batch) if given_index else None
    got = summarize(
        torch.from_numpy(h),
        kind,
        cls_index=None if index is None else torch.from_numpy(index),
        attention_mask=None if mask is None else torch.from_numpy(mask),
    )
    truth = reference.summarize(h, kind, cls_index=index, attention_mask=mask)
    np.testing.assert_allclose(got, truth, atol=1e-12)


@given(
    mask_kind=masks,
    batch=st.integers(1, 3),
    length=st.integers(1, 7),
    heads=st.integers(1, 4),
    width=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
def test_attention_pooling_is_the_truth(mask_kind, batch, length, heads, width, seed):
    """The truth makes keys and values for every token."""
    rng = np.random.default_rng(seed)
    module = pooling(heads * width, heads, seed=seed)
    h = rng.normal(size=(batch, length, heads * width))
    mask = mask_of(mask_kind, batch, length, rng)
    got = module(torch.from_numpy(h), None if mask is None else torch.from_numpy(mask))
    truth = reference.attention_pool(h, numbers(module), mask)
    np.testing.assert_allclose(got.detach(), truth, atol=1e-11)


def config(kind, **fields):
    return SummaryConfig(
        **{
            "hidden_size": 8,
            "summary_type": kind,
            "summary_use_proj": True,
            "summary_num_heads": 2,
            **fields,
        }
    )


@pytest.mark.parametrize("kind", SUMMARY_TYPES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(kind, side):
    """4.34's answer for "last" and "mean" moves with the padding."""
    module = SequenceSummary(config(kind)).double()
    x = torch.randn(2, 4, 8, dtype=torch.float64)
    padding = torch.full((2, 3, 8), float("inf"), dtype=torch.float64)
    both = (padding, x) if side == "left" else (x, padding)
    ones, zeros = torch.ones(2, 4), torch.zeros(2, 3)
    mask = torch.cat((zeros, ones) if side == "left" else (ones, zeros), 1)
    torch.testing.assert_close(module(torch.cat(both, 1), attention_mask=mask), module(x))
    for dtype in (torch.bool, torch.int64, torch.float16):
        torch.testing.assert_close(
            module(torch.cat(both, 1), attention_mask=mask.to(dtype)), module(x)
        )


@pytest.mark.parametrize("kind", SUMMARY_TYPES)
def test_a_full_mask_changes_nothing(kind):
    module, x = SequenceSummary(config(kind)).double(), torch.randn(2, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(module(x, attention_mask=torch.ones(2, 5)), module(x))


@pytest.mark.parametrize("kind", SUMMARY_TYPES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes_and_rows_without_tokens(kind, dtype):
    module = SequenceSummary(config(kind)).to(dtype)
    x = torch.randn(2, 5, 8, dtype=dtype, requires_grad=True)
    out = module(x, attention_mask=torch.tensor([[0] * 5, [1] * 5]))
    assert out.dtype == dtype
    assert torch.isfinite(out).all()
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.isfinite(gradient).all()


def test_a_long_mean_in_half_precision_is_summed_in_float32():
    x = torch.full((1, 4096, 1), 100.0, dtype=torch.float16)
    mask = torch.ones(1, 4096)
    assert summarize(x, "mean", attention_mask=mask).item() == 100.0


@pytest.mark.parametrize("kind", SUMMARY_TYPES)
def test_gradcheck(kind):
    module = SequenceSummary(config(kind, summary_activation="tanh")).double()
    x = torch.randn(2, 4, 8, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1]])
    for m in (None, mask):
        assert torch.autograd.gradcheck(lambda x, m=m: module(x, attention_mask=m), x)


@pytest.mark.parametrize("kind", SUMMARY_TYPES)
def test_one_graph_and_export(kind):
    torch.compiler.reset()
    module, x = SequenceSummary(config(kind)), torch.randn(2, 5, 8)
    kwargs = {"attention_mask": torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]])}
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, **kwargs), module(x, **kwargs))
    program = torch.export.export(module, (x,), kwargs)
    torch.testing.assert_close(program.module()(x, **kwargs), module(x, **kwargs))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module(x, **kwargs).dtype == torch.bfloat16


def test_multiple_choice_shapes():
    x = torch.randn(2, 3, 5, 8)
    index = torch.tensor([[0, 1, 2], [4, 3, 2]])
    expected = torch.stack([x[i, j, index[i, j]] for i in range(2) for j in range(3)])
    for given_index in (index, index.unsqueeze(-1)):
        torch.testing.assert_close(
            summarize(x, "cls_index", cls_index=given_index), expected.view(2, 3, 8)
        )
    mask = torch.ones(2, 3, 5)
    mask[0, 1, 2:] = 0
    assert torch.equal(summarize(x, "last", attention_mask=mask)[0, 1], x[0, 1, 1])
    assert torch.equal(summarize(x, "cls_index", attention_mask=mask)[0, 1], x[0, 1, 1])
    torch.testing.assert_close(summarize(x, "mean", attention_mask=mask)[0, 1], x[0, 1, :2].mean(0))
    assert AttentionPooling(8, 2)(x, mask).shape == (2, 3, 8)
    assert torch.equal(summarize(x, "last"), x[:, -1])  # as in 4.34: dimension 1


def test_cls_index_with_a_dimension_to_spare():
    """4.34 raised on (batch, 1) with three dimensions, where its TensorFlow half did not."""
    x, index = torch.randn(3, 5, 8), torch.tensor([1, 0, 4])
    torch.testing.assert_close(
        summarize(x, "cls_index", cls_index=index.unsqueeze(1)), x[torch.arange(3), index]
    )


def test_dropouts_and_parts():
    module = SequenceSummary(
        config("mean", summary_first_dropout=0.5, summary_last_dropout=1.0, num_labels=3)
    )
    assert module.first_dropout.p == 0.5
    assert not module(torch.randn(2, 5, 8)).any()
    assert module.eval()(torch.randn(2, 5, 8)).any()
    assert module.summary.out_features == 8
    labelled = SequenceSummary(config("mean", summary_proj_to_labels=True, num_labels=3))
    assert {n: tuple(p.shape) for n, p in labelled.state_dict().items()} == {
        "summary.weight": (3, 8),
        "summary.bias": (3,),
    }
    assert isinstance(SequenceSummary(SimpleNamespace()).summary, nn.Identity)


def test_attention_has_the_configs_heads():
    fields = {"hidden_size": 8, "summary_type": "attn"}
    assert SequenceSummary(SimpleNamespace(**fields)).attention.query.shape == (1, 8)
    with_heads = SimpleNamespace(**fields, num_attention_heads=4)
    assert SequenceSummary(with_heads).attention.query.shape == (4, 2)
    with_heads.summary_num_heads = 2
    assert SequenceSummary(with_heads).attention.query.shape == (2, 4)
    with_heads.summary_num_heads = 3
    with pytest.raises(ValueError, match=r"`config.summary_num_heads` to divide"):
        SequenceSummary(with_heads)
    with pytest.raises(ValueError, match="Received: 3 and 8"):
        AttentionPooling(8, 3)


@pytest.mark.parametrize("mask_kind", ["none", "left", "empty"])
def test_attention_calls_layers_that_are_not_plain(mask_kind):
    """Of an adapter around `key` or `value` the weights tell half, of a quantised layer nothing."""

    class Adapter(nn.Module):
        def __init__(self, base, change):
            super().__init__()
            self.base, self.change, self.weight, self.bias = base, change, base.weight, base.bias

        def forward(self, x):
            return self.base(x) + x @ self.change.T

    x = torch.randn(2, 5, 8, dtype=torch.float64)
    rng = np.random.default_rng(0)
    mask = mask_of(mask_kind, 2, 5, rng)
    mask = None if mask is None else torch.from_numpy(mask)
    for name in ("key", "value"):
        plain, adapted, merged = pooling(8, 2), pooling(8, 2), pooling(8, 2)
        change = torch.randn(8, 8, dtype=torch.float64)
        setattr(adapted, name, Adapter(getattr(adapted, name), change))
        with torch.no_grad():
            getattr(merged, name).weight += change
        torch.testing.assert_close(adapted(x, mask), merged(x, mask))
        calls = []
        getattr(plain, name).register_forward_hook(lambda *_, calls=calls: calls.append(1))
        torch.testing.assert_close(plain(x, mask), pooling(8, 2)(x, mask))
        assert calls == [1]


def test_attention_never_makes_keys_for_every_token():
    module, seen = pooling(64, 4, torch.float32), []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.data_ptr() != x.data_ptr():  # no view
                seen.append(out.numel())
            return out

    x = torch.randn(2, 512, 64)
    with torch.no_grad(), Watch():
        attention_pool(x, module.query, module.key.weight, module.value.weight, module.value.bias)
    assert max(seen) < x.numel() / 4


def test_errors():
    with pytest.raises(ValueError, match=r"one of 'last', 'first'.*Received: 'bogus'"):
        SequenceSummary(SimpleNamespace(summary_type="bogus"))
    with pytest.raises(ValueError, match="Received: 'bogus'"):
        summarize(torch.ones(1, 2, 3), "bogus")
    with pytest.raises(AttributeError, match="reads `hidden_size`"):
        SequenceSummary(SimpleNamespace(summary_type="attn"))
    with pytest.raises(KeyError, match="Received: 'bogus'"):
        SequenceSummary(SimpleNamespace(summary_activation="bogus"))
    with pytest.raises(ValueError, match=r"Received: \(1, 3\) beside \(1, 2, 3\)"):
        summarize(torch.ones(1, 2, 3), "last", attention_mask=torch.ones(1, 3))
    with pytest.raises(RuntimeError, match="out of bounds"):
        summarize(torch.ones(1, 2, 3), "cls_index", cls_index=torch.tensor([-1]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_transformers(name):
    from transformers.activations import ACT2FN

    if name not in ACT2FN:
        pytest.skip("this Transformers does not know it yet")
    x = torch.linspace(-12, 12, 201, dtype=torch.float64)
    torch.testing.assert_close(get_activation(name)(x), ACT2FN[name](x))


def test_last_token():
    mask = torch.tensor([[[1, 0, 1, 0], [0, 0, 0, 0]]])
    assert last_token(mask).tolist() == [[2, 3]]
