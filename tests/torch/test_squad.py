"""The SQuAD head beyond the recorded cases: laws, mends, dtypes."""

import copy
import itertools
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.utils.prune
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.autograd import forward_ad

from headsmith.spec import reference
from headsmith.spec.configs import SquadHeadConfig
from headsmith.torch import end_logits as end_logits_module
from headsmith.torch.end_logits import EndWeights, end_scores, row_scores
from headsmith.torch.squad import (
    PoolerAnswerClass,
    PoolerEndLogits,
    PoolerStartLogits,
    SQuADHead,
    soft_start_state,
)
from headsmith.torch.squad_output import pair_spans

EPS = 1e-12
CONFIG = SquadHeadConfig(hidden_size=8, layer_norm_eps=EPS, start_n_top=3, end_n_top=2)


def make(config=CONFIG, dtype=torch.float64, seed=0, **settings):
    """A head whose parameters are all random, LayerNorm's too."""
    torch.manual_seed(seed)
    head = SQuADHead(config, **settings).to(dtype)
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.5)
    return head


def numbers(head):
    return {name: value.detach().double().numpy() for name, value in head.state_dict().items()}


def labels(batch, length, seed=0, p_mask=None):
    """Labels at positions that are not masked."""
    rng = torch.Generator().manual_seed(seed)
    scores = torch.rand(3, batch, length, generator=rng)
    if p_mask is not None:
        scores = scores.masked_fill(p_mask != 0, -1.0)
    picked = iter(scores.argmax(-1))
    pick = lambda: next(picked)  # noqa: E731
    return {
        "start_positions": pick(),
        "end_positions": pick(),
        "cls_index": pick(),
        "is_impossible": torch.randint(0, 2, (batch,), generator=rng),
    }


def grads(loss, head, x):
    return torch.autograd.grad(loss, [x, *head.parameters()], allow_unused=True)


# Laws against the float64 truth

shapes = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 4),
        "length": st.integers(1, 9),
        "hidden": st.integers(1, 7),
        "starts": st.integers(1, 6),
        "ends": st.integers(1, 6),
        "mask": st.sampled_from([None, "some", "most", "all", "degrees"]),
        "cls": st.booleans(),
        "seed": st.integers(0, 2**16),
    }
)


def p_mask_of(kind, batch, length, rng):
    if kind is None:
        return None
    if kind == "degrees":
        return rng.choice([0.0, 0.25, 1.0], size=(batch, length))
    share = {"some": 0.3, "most": 0.8, "all": 1.0}[kind]
    return (rng.random((batch, length)) < share).astype(np.float64)


def as_tensor(x):
    return None if x is None else torch.from_numpy(np.asarray(x))


@given(shapes)
@pytest.mark.parametrize("grad", [True, False])
def test_predictions_are_the_truth(grad, s):
    rng = np.random.default_rng(s["seed"])
    config = SquadHeadConfig(s["hidden"], 1e-5, s["starts"], s["ends"])
    head = make(config, seed=s["seed"])
    h = rng.normal(size=(s["batch"], s["length"], s["hidden"]))
    p_mask = p_mask_of(s["mask"], s["batch"], s["length"], rng)
    cls = rng.integers(0, s["length"], s["batch"]) if s["cls"] else None
    with torch.set_grad_enabled(grad):
        got = head(as_tensor(h), cls_index=as_tensor(cls), p_mask=as_tensor(p_mask))
    truth = reference.squad_predict(
        h,
        numbers(head),
        eps=1e-5,
        start_n_top=s["starts"],
        end_n_top=s["ends"],
        cls_index=cls,
        p_mask=p_mask,
    )
    starts = min(s["starts"], s["length"])
    ends = min(s["ends"], s["length"])
    assert [tuple(x.shape) for x in got] == [
        *2 * [(s["batch"], starts)],
        *2 * [(s["batch"], starts * ends)],
        (s["batch"],),
    ]
    np.testing.assert_allclose(got[0].detach(), truth.start_probs, atol=1e-12)
    np.testing.assert_allclose(got[4].detach(), truth.cls_logits, atol=1e-12)
    # Equal scores, as of masked positions, may be taken in another order: then the truth of
    # the ends is that of the starts that were taken.
    if np.array_equal(got[1], truth.start_index):
        np.testing.assert_allclose(got[2].detach(), truth.end_probs, atol=1e-9)


@given(shapes, st.booleans(), st.booleans())
def test_the_loss_is_the_truth(s, soft, outside):
    rng = np.random.default_rng(s["seed"])
    head = make(
        SquadHeadConfig(s["hidden"], 1e-5, 1, 1),
        seed=s["seed"],
        answer_start="soft" if soft else "gold",
    )
    low, high = (-2, s["length"] + 2) if outside else (0, s["length"])
    h = rng.normal(size=(s["batch"], s["length"], s["hidden"]))
    p_mask = p_mask_of(s["mask"], s["batch"], s["length"], rng)
    start, end = rng.integers(low, high, (2, s["batch"]))
    extra = {}
    if s["cls"]:
        extra["cls_index"] = rng.integers(0, s["length"], s["batch"])
        extra["is_impossible"] = rng.integers(0, 2, s["batch"])
    (got,) = head(
        as_tensor(h),
        as_tensor(start),
        as_tensor(end),
        p_mask=as_tensor(p_mask),
        **{name: as_tensor(value) for name, value in extra.items()},
    )
    truth = reference.squad_loss(
        h, numbers(head), start, end, eps=1e-5, p_mask=p_mask, soft_start=soft, **extra
    )
    np.testing.assert_allclose(got.item(), truth, rtol=1e-9, atol=1e-9)


@given(shapes)
def test_gradients_do_not_depend_on_the_way(s):
    """Rows left out, all rows at once, chunks, and the pooler as 4.34 calls it: one gradient."""
    rng = np.random.default_rng(s["seed"])
    h = rng.normal(size=(s["batch"], s["length"], s["hidden"]))
    p_mask = p_mask_of(s["mask"], s["batch"], s["length"], rng)
    label = labels(s["batch"], s["length"], s["seed"])
    found = []
    for way in ("packed", "poolers", "chunks", "layers"):
        config = SquadHeadConfig(s["hidden"], 1e-5, 1, 1)
        head = make(config, seed=s["seed"], chunk_size=2 if way == "chunks" else None)
        if way == "poolers":
            head.start_logits.register_forward_hook(lambda *_: None)
        if way == "layers":
            head.end_logits.dense_0.register_forward_hook(lambda *_: None)
        x = as_tensor(h).requires_grad_()
        (loss,) = head(x, **label, p_mask=as_tensor(p_mask))
        found.append(grads(loss, head, x))
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_gradcheck_and_second_derivatives():
    head = make(SquadHeadConfig(4, 1e-3, 2, 2))
    x = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[0, 0, 1, 0, 1], [1, 0, 0, 0, 0]], dtype=torch.bool)
    label = labels(2, 5, p_mask=mask)

    for p_mask in (None, mask):
        assert torch.autograd.gradcheck(lambda x, p=p_mask: head(x, **label, p_mask=p)[0], x)
        assert torch.autograd.gradgradcheck(lambda x, p=p_mask: head(x, **label, p_mask=p)[0], x)
        assert torch.autograd.gradcheck(lambda x, p=p_mask: head(x, p_mask=p)[2], x)


def test_forward_derivatives_are_those_of_the_backward_pass():
    x, tangent = torch.randn(2, 2, 5, 8, dtype=torch.float64)
    mask = torch.tensor([[0, 0, 1, 0, 1], [1, 0, 0, 0, 0]])
    label = labels(2, 5, p_mask=mask)
    calls = (lambda h, x: h(x, **label, p_mask=mask)[0], lambda h, x: h(x, p_mask=mask)[2].sum())
    for call, frozen in itertools.product(calls, (False, True)):
        head = make().requires_grad_(not frozen)
        with forward_ad.dual_level():
            out = call(head, forward_ad.make_dual(x, tangent))
            found = forward_ad.unpack_dual(out).tangent
        (gradient,) = torch.autograd.grad(call(head, y := x.clone().requires_grad_()), y)
        torch.testing.assert_close(found, (gradient * tangent).sum())


# The end scores, each way to them


def weights_of(size, dtype, seed=0, scale=0.5):
    rng = torch.Generator().manual_seed(seed)
    r = lambda *shape: (torch.randn(*shape, generator=rng, dtype=torch.float64) * scale).to(dtype)  # noqa: E731
    return EndWeights(r(size, 2 * size), r(size), r(size), r(size), r(1, size), r(1), EPS)


def truth_of(h, s, w):
    names = ["dense_0.weight", "dense_0.bias", "LayerNorm.weight", "LayerNorm.bias"]
    names += ["dense_1.weight", "dense_1.bias"]
    state = {n: v.double().numpy() for n, v in zip(names, w[:-1], strict=True)}
    return torch.from_numpy(
        reference.end_logits(h.double().numpy(), s.double().numpy(), state, w.eps)
    )


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 0.3, 3.0, 100.0])
@pytest.mark.parametrize("size", [1, 5, 63, 384])
def test_end_scores_in_float32_for_states_of_any_size(scale, size):
    """tanh near zero, where the factored form loses digits, and tanh saturated."""
    w = weights_of(size, torch.float32, scale=size**-0.5)
    w = w._replace(dense_0_bias=w.dense_0_bias * scale)
    h, s = torch.randn(2, 40, 1, size) * scale, torch.randn(2, 1, 5, size) * scale
    truth = truth_of(h, s, w)

    plain = torch.tanh(nn.functional.linear(torch.cat(torch.broadcast_tensors(h, s), -1), *w[:2]))
    plain = nn.functional.linear(nn.functional.layer_norm(plain, [size], *w[2:4], EPS), *w[4:6])
    worst = (plain.squeeze(-1) - truth).abs().max()
    with torch.no_grad():
        got = end_scores(h, s, w)
    # No farther from the truth than the plain way in the same dtype, up to a few roundings.
    assert (got - truth).abs().max() <= 3 * worst + 5e-6
    graph = end_scores(h.requires_grad_(), s, w)
    assert (graph.detach() - truth).abs().max() <= 3 * worst + 5e-6


def error_of(h, s, w):
    with torch.no_grad():
        return (end_scores(h, s, w) - truth_of(h, s, w)).abs().max().item()


def test_the_factored_form_needs_its_guard_against_lost_digits(monkeypatch):
    w = weights_of(384, torch.float32, scale=0.05)
    w = w._replace(dense_0_bias=w.dense_0_bias * 1e-4)
    h, s = torch.randn(1, 40, 1, 384) * 1e-4, torch.randn(1, 1, 5, 384) * 1e-4
    guarded = error_of(h, s, w)
    monkeypatch.setattr(end_logits_module, "_LEAST_VARIANCE", 0.0)
    assert guarded < 1e-6 < 1e-5 < error_of(h, s, w)


def test_the_factored_form_needs_its_guard_against_a_common_shift(monkeypatch):
    """Every tanh near 1 - 1e-3: their variance is no difference of two large sums."""
    w = weights_of(384, torch.float32, scale=0.05)
    w = w._replace(dense_0_bias=torch.full_like(w.dense_0_bias, 4.0))
    h, s = torch.randn(1, 40, 1, 384), torch.randn(1, 1, 5, 384)
    guarded = error_of(h, s, w)
    monkeypatch.setattr(end_logits_module, "_LEAST_VARIANCE", 0.0)
    monkeypatch.setattr(end_logits_module, "_MOST_SHIFTED", float("inf"))
    assert 10 * guarded < error_of(h, s, w)


def test_the_factored_form_needs_its_guard_against_overflow(monkeypatch):
    """A token and a start that nearly cancel: infinity times almost nothing."""
    w = weights_of(64, torch.float32, scale=0.05)
    half = torch.eye(64)
    w = w._replace(dense_0_weight=torch.cat([half, half], 1), dense_0_bias=torch.zeros(64))
    h, s = torch.randn(1, 40, 1, 64), torch.zeros(1, 1, 5, 64)
    h[..., :32] -= 50.0
    s[..., :32] += 50.0
    guarded = error_of(h, s, w)
    monkeypatch.setattr(end_logits_module, "_LARGEST", float("inf"))
    assert guarded < 1e-5 < 1e-2 < error_of(h, s, w)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("grad", [True, False])
def test_sixteen_bits_are_no_worse_than_the_plain_way(dtype, grad):
    size = 252
    w = weights_of(size, dtype, scale=size**-0.5)
    h, s = torch.randn(3, 123, 1, size).to(dtype), torch.randn(3, 1, 5, size).to(dtype)
    truth = truth_of(h, s, w)
    plain = torch.tanh(nn.functional.linear(torch.cat(torch.broadcast_tensors(h, s), -1), *w[:2]))
    plain = nn.functional.linear(nn.functional.layer_norm(plain, [size], *w[2:4], EPS), *w[4:6])

    with torch.set_grad_enabled(grad):
        got = end_scores(h.requires_grad_(grad), s, w)

    assert got.dtype == dtype
    worst = (plain.squeeze(-1).double() - truth).abs()
    mine = (got.double() - truth).abs()
    assert mine.max() <= worst.max()
    assert mine.mean() <= worst.mean()


def test_expanded_states_are_recognised():
    """4.34 and its callers expand both tensors to (batch, seq, starts, hidden)."""
    w = weights_of(6, torch.float64)
    h, s = torch.randn(2, 7, 6, dtype=torch.float64), torch.randn(2, 3, 6, dtype=torch.float64)
    small = end_scores(h.unsqueeze(2), s.unsqueeze(1), w)
    large = end_scores(
        h.unsqueeze(2).expand(-1, -1, 3, -1), s.unsqueeze(1).expand(-1, 7, -1, -1), w
    )
    copied = end_scores(
        h.unsqueeze(2).expand(-1, -1, 3, -1).clone(),
        s.unsqueeze(1).expand(-1, 7, -1, -1).clone(),
        w,
    )
    torch.testing.assert_close(small, large, rtol=0, atol=0)
    torch.testing.assert_close(small, copied)


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 1000])
def test_chunks_change_nothing(chunk_size):
    w = weights_of(6, torch.float64)
    h, s = (
        torch.randn(2, 7, 1, 6, dtype=torch.float64),
        torch.randn(2, 1, 3, 6, dtype=torch.float64),
    )
    skip = torch.rand(2, 7, 1) < 0.4
    for grad, mask in itertools.product((True, False), (None, skip)):
        with torch.set_grad_enabled(grad):
            x = h.clone().requires_grad_(grad)
            torch.testing.assert_close(
                end_scores(x, s, w, skip=mask, chunk_size=chunk_size),
                end_scores(x, s, w, skip=mask),
            )


def test_loose_rows():
    w = weights_of(4, torch.float64)
    h, s = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 5, 4, dtype=torch.float64)
    example = torch.arange(2).repeat_interleave(3)
    whole = end_scores(h.unsqueeze(2), s.unsqueeze(1), w).view(6, 5)
    torch.testing.assert_close(row_scores(h.view(6, 4), example, s, w), whole)
    torch.testing.assert_close(row_scores(h.view(6, 4), example, s, w, chunk_size=4), whole)


def test_the_error_of_the_whole_head_in_float32():
    """At the size of a small encoder, with the weights a model has: at most 5e-6."""
    torch.manual_seed(0)
    head = SQuADHead(SquadHeadConfig(384, EPS, 5, 5))
    x = torch.randn(2, 384, 384)
    mask = torch.zeros(2, 384)
    mask[:, 200:] = 1
    for p_mask in (None, mask):
        truth = copy.deepcopy(head).double()(x.double(), p_mask=p_mask)
        with torch.no_grad():
            got = head(x, p_mask=p_mask)
            ends = head.end_logits(x, start_positions=torch.tensor([3, 9]))
        for mine, theirs in zip(got, truth, strict=True):
            assert (mine - theirs).abs().max() <= 5e-6
        theirs = (
            copy.deepcopy(head)
            .double()
            .end_logits(x.double(), start_positions=torch.tensor([3, 9]))
        )
        assert (ends - theirs).abs().max() <= 5e-6


def test_nothing_large_is_made_at_inference(monkeypatch):
    """No tensor of (batch, seq, starts, hidden), let alone of twice that."""
    batch, length, size, starts = 4, 128, 64, 5
    seen = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            seen.extend(
                x.untyped_storage().nbytes()
                for x in torch.utils._pytree.tree_leaves(out)
                if isinstance(x, torch.Tensor)
            )
            return out

    monkeypatch.setattr(end_logits_module, "_BLOCK_BYTES", 1 << 14)
    head = make(SquadHeadConfig(size, EPS, starts, 5), dtype=torch.float32)
    x = torch.randn(batch, length, size)
    with torch.no_grad(), Watch():
        head(x)
    assert max(seen) < batch * length * starts * size * 4 / 4


# What is mended


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.int64])
def test_p_mask_of_any_dtype(dtype):
    head, x = make(), torch.randn(2, 6, 8, dtype=torch.float64)
    mask = torch.tensor([[0, 1, 0, 0, 1, 1], [1, 0, 0, 0, 0, 0]])
    for kwargs in ({}, labels(2, 6)):
        expected = head(x, p_mask=mask.double(), **kwargs)
        for got, truth in zip(head(x, p_mask=mask.to(dtype), **kwargs), expected, strict=True):
            torch.testing.assert_close(got, truth)


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float32, torch.float64]
)
def test_is_impossible_of_any_dtype(dtype):
    head, x = make(), torch.randn(2, 6, 8, dtype=torch.float64)
    label = labels(2, 6)
    label["is_impossible"] = torch.tensor([1, 0])
    expected = head(x, **label)
    label["is_impossible"] = label["is_impossible"].to(dtype)
    torch.testing.assert_close(head(x, **label), expected)


def test_labels_are_not_changed():
    head, x = make(), torch.randn(2, 6, 8, dtype=torch.float64)
    label = {name: value.unsqueeze(-1) for name, value in labels(2, 6).items()}
    before = copy.deepcopy(label)
    torch.testing.assert_close(head(x, **label), head(x, **labels(2, 6)))
    for name, value in label.items():
        assert torch.equal(value, before[name])
    # 4.34 raised on these shapes without labels, too.
    torch.testing.assert_close(
        head(x, cls_index=label["cls_index"]), head(x, cls_index=label["cls_index"].squeeze(-1))
    )


def test_more_beams_than_tokens():
    head, x = make(SquadHeadConfig(8, EPS, 5, 7)), torch.randn(2, 3, 8, dtype=torch.float64)
    out = head(x, return_dict=True)
    assert out.start_top_index.shape == (2, 3)
    assert out.end_top_index.shape == (2, 9)
    assert sorted(out.start_top_index[0].tolist()) == [0, 1, 2]
    torch.testing.assert_close(out.start_top_log_probs.sum(1), torch.ones(2).double())


@pytest.mark.parametrize("position", [-100, -1, 6, 512])
def test_positions_outside_are_ignored(position):
    head, x = make(), torch.randn(3, 6, 8, dtype=torch.float64)
    label = labels(3, 6)
    outside = copy.deepcopy(label)
    outside["start_positions"][1] = position
    keep = torch.tensor([0, 2])
    expected = head(x[keep], **{name: value[keep] for name, value in label.items()})
    torch.testing.assert_close(head(x, **outside), expected)

    # An end alone leaves the start.
    outside = copy.deepcopy(label)
    outside["end_positions"][:] = position
    del outside["cls_index"], outside["is_impossible"]
    start_logits = head.start_logits(x)
    torch.testing.assert_close(
        head(x, **outside)[0],
        nn.functional.cross_entropy(start_logits, label["start_positions"]) / 2,
    )


def test_all_positions_outside_give_zero():
    head, x = make(), torch.randn(3, 6, 8, dtype=torch.float64, requires_grad=True)
    nothing = torch.full((3,), -100)
    (loss,) = head(x, nothing, nothing, torch.zeros(3).long(), torch.ones(3))
    assert loss.item() == 0
    assert not any(g is not None and g.any() for g in grads(loss, head, x))


def test_the_soft_start_uses_all_examples_whatever_their_positions():
    head = make(answer_start="soft")
    x = torch.randn(2, 6, 8, dtype=torch.float64)
    nothing, label = torch.full((2,), -100), labels(2, 6)
    (loss,) = head(x, nothing, nothing, label["cls_index"], label["is_impossible"])
    probs = head.start_logits(x).softmax(1)
    logits = head.answer_class(
        x, start_states=soft_start_state(x, probs), cls_index=label["cls_index"]
    )
    expected = nn.functional.binary_cross_entropy_with_logits(
        logits, label["is_impossible"].double()
    )
    torch.testing.assert_close(loss, 0.5 * expected)


def test_the_soft_start_is_what_inference_sees():
    """The gold start leaks: the class sees CLS exactly where there is no answer."""
    head, x = make(), torch.randn(2, 6, 8, dtype=torch.float64)
    label = labels(2, 6)
    cls_logits = head(x, cls_index=label["cls_index"])[4]
    bce = nn.functional.binary_cross_entropy_with_logits(
        cls_logits, label["is_impossible"].double()
    )
    spans = head(x, label["start_positions"], label["end_positions"])[0]
    head.answer_start = "soft"
    torch.testing.assert_close(head(x, **label)[0], spans + 0.5 * bce)
    head.answer_start = "gold"
    assert not torch.isclose(head(x, **label)[0], spans + 0.5 * bce)


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
@pytest.mark.parametrize("mode", ["predict", "train gold", "train soft", "poolers"])
def test_what_stands_at_masked_positions_does_not_spread(value, mode):
    head = make(answer_start="soft" if mode == "train soft" else "gold")
    if mode == "poolers":
        head.start_logits.register_forward_hook(lambda *_: None)
    mask = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1]])
    x = torch.randn(2, 6, 8, dtype=torch.float64)
    other = x.clone()
    other[mask == 1] = value
    kwargs = {"cls_index": torch.tensor([0, 1])}
    if mode != "predict":
        kwargs |= {
            "start_positions": torch.tensor([1, 2]),
            "end_positions": torch.tensor([2, 3]),
            "is_impossible": torch.tensor([0, 1]),
        }
    both = []
    for states in (x, other):
        states.requires_grad_()
        out = head(states, p_mask=mask, **kwargs)
        total = sum(v.sum() for v in out if v.is_floating_point())
        both.append((out, grads(total, head, states)))
        with torch.no_grad():
            torch.testing.assert_close(head(states, p_mask=mask, **kwargs), out)
    torch.testing.assert_close(both[0][0], both[1][0])
    if mode != "predict":
        torch.testing.assert_close(both[0][1], both[1][1])


def test_beams_that_begin_at_masked_positions_stay_finite():
    """With fewer candidates than beams, masked positions are among the beams, as in 4.34."""
    head = make()
    x = torch.randn(1, 5, 8, dtype=torch.float64)
    x[0, 1:] = float("nan")
    out = head(x, p_mask=torch.tensor([[0, 1, 1, 1, 1]]), cls_index=torch.tensor([0]))
    assert all(torch.isfinite(v).all() for v in out)
    assert out[0].tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rows_masked_throughout_give_no_nan(dtype):
    head = make(dtype=dtype)
    x = torch.randn(2, 5, 8).to(dtype).requires_grad_()
    mask = torch.tensor([[1] * 5, [0, 1, 0, 0, 1]]).to(dtype)
    assert all(torch.isfinite(v).all() for v in head(x, p_mask=mask))
    (loss,) = head(x, **labels(2, 5), p_mask=mask)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in grads(loss, head, x))


@pytest.mark.parametrize("mask_dtype", [torch.bool, torch.float16, torch.float32])
@pytest.mark.parametrize("low", [torch.float16, torch.bfloat16])
def test_autocast_never_overflows(low, mask_dtype):
    head = make(dtype=torch.float32)
    x = (torch.randn(2, 5, 8) * 100).requires_grad_()
    mask = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 0, 1]]).to(mask_dtype)
    with torch.autocast("cpu", dtype=low):
        scores = head.start_logits(x, p_mask=mask)
        ends = head.end_logits(x, start_positions=torch.tensor([1, 2]), p_mask=mask)
        out = head(x, p_mask=mask)
        with torch.no_grad():
            assert all(torch.isfinite(v).all() for v in head(x, p_mask=mask))
        (loss,) = head(x, **labels(2, 5), p_mask=mask)
        tuned = SQuADHead.forward(head, x, **labels(2, 5), p_mask=mask, return_predictions=True)
    for value in (scores, ends, *out, loss, *tuned):
        assert torch.isfinite(value).all()
    assert loss.dtype == out[0].dtype == torch.float32
    assert all(torch.isfinite(g).all() for g in grads(loss, head, x))


def test_autocast_is_near_float32():
    head, x = make(dtype=torch.float32), torch.randn(2, 30, 8)
    label = labels(2, 30)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (low,) = head(x, **label)
        with torch.no_grad():
            probs = head(x)[0]
    torch.testing.assert_close(low, head(x, **label)[0], rtol=0.05, atol=0.05)
    torch.testing.assert_close(probs, head(x)[0], rtol=0.1, atol=0.02)


@pytest.mark.parametrize("given_alone", ["cls_index", "is_impossible"])
def test_half_of_the_answer_class_labels_warns(given_alone):
    head, x = make(), torch.randn(2, 5, 8, dtype=torch.float64)
    label = labels(2, 5)
    del label[{"cls_index": "is_impossible"}.get(given_alone, "cls_index")]
    with pytest.warns(UserWarning, match=f"got `{given_alone}` without") as caught:
        head(x, **label)
    assert caught[0].filename == __file__


def test_loss_and_predictions_in_one_call():
    head, x = make(), torch.randn(2, 7, 8, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 7) < 0.3
    label = labels(2, 7)
    both = head(x, **label, p_mask=mask, return_predictions=True)
    (loss,) = head(x, **label, p_mask=mask)
    alone = head(x, cls_index=label["cls_index"], p_mask=mask)
    torch.testing.assert_close(both[0], loss)
    torch.testing.assert_close(both[1:], tuple(v.detach() for v in alone))
    assert not any(v.requires_grad for v in both[1:])
    named = head(x, **label, p_mask=mask, return_predictions=True, return_dict=True)
    assert next(iter(named)) == "loss"
    torch.testing.assert_close(named.to_tuple(), both)


def test_log_probs_are_logarithms_on_request():
    head, x = make(), torch.randn(2, 7, 8, dtype=torch.float64)
    mask = torch.tensor([[0] * 6 + [1], [1] + [0] * 6])
    probs = head(x, p_mask=mask)
    head.log_probs = True
    logs = head(x, p_mask=mask)
    for i in (0, 2):
        torch.testing.assert_close(logs[i].exp(), probs[i])
        assert torch.isfinite(logs[i]).all()
    for i in (1, 3, 4):
        torch.testing.assert_close(logs[i], probs[i])


def test_pairs_have_their_own_start():
    head, x = make(SquadHeadConfig(8, EPS, 3, 2)), torch.randn(2, 9, 8, dtype=torch.float64)
    out = head(x)
    pairs = pair_spans(*out[:4])
    for b, j, i in itertools.product(range(2), range(3), range(2)):
        start = out[1][b, j]
        assert pairs.start_index[b, j, i] == start
        alone = head.end_logits(x[b : b + 1], start_positions=start.view(1)).softmax(1)[0]
        assert pairs.end_index[b, j, i] == alone.argsort(descending=True)[i]
        torch.testing.assert_close(pairs.end_score[b, j, i], alone.sort(descending=True)[0][i])
        torch.testing.assert_close(pairs.start_score[b, j, i], out[0][b, j])
    with pytest.raises(ValueError, match=r"Received: \(2, 5\) and \(2, 3\)"):
        pair_spans(out[0], out[1], out[2][:, :5], out[3][:, :5])


def test_the_last_token_by_attention_mask():
    head, x = make(), torch.randn(2, 6, 8, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1]])
    got = head(x, attention_mask=mask)
    torch.testing.assert_close(got, head(x, cls_index=torch.tensor([3, 5])))
    padding = x.clone()
    padding[0, -1] += 1  # a padding token
    probs = torch.full((2, 6), 1 / 6, dtype=torch.float64)
    state = soft_start_state(x, probs)
    torch.testing.assert_close(
        head.answer_class(padding, state, attention_mask=mask),
        head.answer_class(x, state, attention_mask=mask),
    )
    assert not torch.allclose(head.answer_class(padding, state), head.answer_class(x, state))


# Replaced parts


def test_adapters_hooks_and_replaced_layers_are_called():
    """The split way reads the weights: an adapter around `dense_0` must not be passed by."""

    class Adapter(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base = base
            self.weight, self.bias = base.weight, base.bias

        def forward(self, x):
            return self.base(x) + 1.0

    x = torch.randn(2, 5, 8, dtype=torch.float64)
    mask = torch.tensor([[0, 1, 0, 0, 1], [1, 0, 0, 0, 0]])
    label = labels(2, 5, p_mask=mask)
    plain, adapted = make(), make()
    adapted.end_logits.dense_0 = Adapter(adapted.end_logits.dense_0)
    shifted = make()
    with torch.no_grad():
        shifted.end_logits.dense_0.bias += 1.0
    for kwargs in ({}, {"p_mask": mask}, label, label | {"p_mask": mask}):
        torch.testing.assert_close(adapted(x, **kwargs), shifted(x, **kwargs))
        changed = 0 if "start_positions" in kwargs else 2
        assert not torch.allclose(adapted(x, **kwargs)[changed], plain(x, **kwargs)[changed])

    hooked, calls = make(), []
    for name, module in hooked.named_modules():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    for kwargs in ({"p_mask": mask}, label | {"p_mask": mask}):
        calls.clear()
        torch.testing.assert_close(hooked(x, **kwargs), plain(x, **kwargs))
        assert {"start_logits", "end_logits", "end_logits.dense_0", "end_logits.LayerNorm"} < set(
            calls
        )


def test_a_weight_that_wraps_others_is_left_to_its_layer():
    """A quantised weight knows how to multiply, not how to be split in two."""

    class Wrapped(torch.Tensor):
        @staticmethod
        def __new__(cls, inner):
            return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

        def __init__(self, inner):
            self.inner = inner

        def __tensor_flatten__(self):
            return ["inner"], None

        @staticmethod
        def __tensor_unflatten__(inner, context, size, stride):
            return Wrapped(inner["inner"])

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func is nn.functional.linear:
                x, weight, bias = args
                return func(x, weight.inner, bias)
            if func is torch.Tensor.chunk:
                raise NotImplementedError(func)
            return super().__torch_function__(func, types, args, kwargs or {})

        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            return args[0] if func is torch.ops.aten.detach.default else NotImplemented

    head, x = make().requires_grad_(False), torch.randn(2, 5, 8, dtype=torch.float64)
    mask = torch.tensor([[0, 1, 0, 0, 1], [1, 0, 0, 0, 0]])
    label = labels(2, 5, p_mask=mask)
    calls = ({"p_mask": mask}, label | {"p_mask": mask})
    expected = [head(x, **kwargs) for kwargs in calls]
    layer = head.end_logits.dense_0
    layer.weight = nn.Parameter(Wrapped(layer.weight.detach()), requires_grad=False)
    assert type(layer.weight) is Wrapped
    for kwargs, truth in zip(calls, expected, strict=True):
        torch.testing.assert_close(head(x, **kwargs), truth)


def test_a_hook_on_all_modules_sees_every_layer():
    head, x = make(), torch.randn(2, 7, 8, dtype=torch.float64)
    seen = set()
    handle = nn.modules.module.register_module_forward_hook(lambda m, *_: seen.add(id(m)))
    try:
        head(x, p_mask=torch.zeros(2, 7))
    finally:
        handle.remove()
    assert {id(module) for module in head.modules()} <= seen


def test_pruned_by_torch():
    """torch.nn.utils.prune sets the weight in a forward hook."""
    head, x = make(), torch.randn(2, 5, 8, dtype=torch.float64)
    torch.nn.utils.prune.random_unstructured(head.end_logits.dense_0, "weight", 0.5)
    hooked = head(x)
    torch.nn.utils.prune.remove(head.end_logits.dense_0, "weight")
    torch.testing.assert_close(head(x), hooked)


# Construction and errors


def test_names_and_shapes_of_the_parameters():
    assert {n: tuple(p.shape) for n, p in make().state_dict().items()} == {
        "start_logits.dense.weight": (1, 8),
        "start_logits.dense.bias": (1,),
        "end_logits.dense_0.weight": (8, 16),
        "end_logits.dense_0.bias": (8,),
        "end_logits.LayerNorm.weight": (8,),
        "end_logits.LayerNorm.bias": (8,),
        "end_logits.dense_1.weight": (1, 8),
        "end_logits.dense_1.bias": (1,),
        "answer_class.dense_0.weight": (8, 16),
        "answer_class.dense_0.bias": (8,),
        "answer_class.dense_1.weight": (1, 8),
    }


def test_copies_and_pickles_compute_the_same():
    head, x = make(), torch.randn(2, 5, 8, dtype=torch.float64)
    for other in (copy.deepcopy(head), pickle.loads(pickle.dumps(head))):  # noqa: S301 (our own)
        torch.testing.assert_close(other(x), head(x))


def test_the_meta_device():
    with torch.device("meta"):
        head = SQuADHead(CONFIG)
        x = torch.empty(2, 5, 8)
    mask = torch.zeros(2, 5, device="meta", dtype=torch.bool)
    assert [tuple(v.shape) for v in head(x, p_mask=mask)][2] == (2, 6)


def test_an_empty_batch():
    head, x = make(), torch.randn(0, 5, 8, dtype=torch.float64)
    assert [tuple(v.shape) for v in head(x)] == [(0, 3), (0, 3), (0, 6), (0, 6), (0,)]
    mask = torch.zeros(0, 5)
    for grad, chunk_size in itertools.product((True, False), (None, 2)):
        with torch.set_grad_enabled(grad):
            assert make(chunk_size=chunk_size)(x, p_mask=mask)[2].shape == (0, 6)
    none = torch.zeros(0, dtype=torch.long)
    (loss,) = head(x.requires_grad_(), none, none, none, none, mask)
    loss.backward()
    assert (loss.item(), x.grad.shape) == (0.0, (0, 5, 8))


@pytest.mark.parametrize("cls", [PoolerStartLogits, PoolerEndLogits, PoolerAnswerClass, SQuADHead])
def test_a_missing_field_is_named(cls):
    with pytest.raises(AttributeError, match=r"reads `hidden_size` from its config"):
        cls(SimpleNamespace(layer_norm_eps=1e-5, start_n_top=1, end_n_top=1))


def test_errors_name_what_was_given():
    with pytest.raises(AttributeError, match=r"SQuADHead reads `end_n_top`"):
        SQuADHead(SimpleNamespace(hidden_size=4, layer_norm_eps=1e-5, start_n_top=1))
    with pytest.raises(ValueError, match=r"Received: .hard."):
        SQuADHead(CONFIG, answer_start="hard")
    with pytest.raises(ValueError, match=r"PoolerEndLogits expects `chunk_size`.*Received: 0\."):
        SQuADHead(CONFIG, chunk_size=0)
    head = make()
    for shape in ((2, 8), (2, 0, 8)):
        with pytest.raises(ValueError, match=r"at least one token. Received: \(2, "):
            head(torch.zeros(shape, dtype=torch.float64))
    x = torch.zeros(2, 5, 8, dtype=torch.float64)
    for pooler in (head.end_logits, head.answer_class):
        with pytest.raises(AssertionError, match="One of start_states, start_positions"):
            pooler(x)
    with pytest.raises(ValueError, match=r"attention_mask.*Received: \(2, 4\) beside \(2, 5, 8\)"):
        head(x, attention_mask=torch.ones(2, 4))
    bad = labels(2, 5) | {"cls_index": torch.tensor([0, 5])}
    for mask in (None, torch.zeros(2, 5)):
        with pytest.raises((IndexError, RuntimeError), match=r"5"):
            head(x, **bad, p_mask=mask)


def test_settings_are_printed():
    assert "answer_start='soft', log_probs=True" in repr(
        SQuADHead(CONFIG, answer_start="soft", log_probs=True)
    )
