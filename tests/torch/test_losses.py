import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import forward_ad

from headsmith.spec import reference
from headsmith.torch import linear_losses, losses
from headsmith.torch.linear_losses import (
    causal_language_modeling_loss_from_hidden,
    linear_cross_entropy,
    masked_language_modeling_loss_from_hidden,
)
from headsmith.torch.losses import (
    causal_language_modeling_loss,
    masked_language_modeling_loss,
    multiple_choice_loss,
    question_answering_loss,
    sequence_classification_loss,
    token_classification_loss,
)

PER_TOKEN = [
    causal_language_modeling_loss,
    masked_language_modeling_loss,
    token_classification_loss,
]


def draw(batch, length, classes, ignored, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(batch, length, classes)) * 3
    labels = rng.integers(0, classes, (batch, length))
    labels[rng.random((batch, length)) < ignored] = -100
    return logits, labels


def tensors(*arrays):
    return tuple(torch.from_numpy(np.asarray(a)) for a in arrays)


problems = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 4),
        "length": st.integers(1, 6),
        "classes": st.integers(1, 7),
        "ignored": st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
        "seed": st.integers(0, 2**16),
    }
)
smoothing = st.sampled_from([0.0, 0.1, 1.0])


@given(problems, smoothing)
@pytest.mark.parametrize("loss", PER_TOKEN)
def test_per_token_losses_are_the_truth(loss, p, smooth):
    logits, labels = draw(**p)
    x, y = tensors(logits, labels)
    shifted = labels
    if loss is causal_language_modeling_loss:
        shifted = np.concatenate([labels[:, 1:], np.full((p["batch"], 1), -100)], 1)
    each = reference.cross_entropy(logits, shifted, label_smoothing=smooth)
    count = max((shifted != -100).sum(), 1)
    options = {"label_smoothing": smooth}
    np.testing.assert_allclose(loss(x, y, **options), each.sum() / count, atol=1e-12)
    np.testing.assert_allclose(loss(x, y, **options, reduction="sum"), each.sum(), atol=1e-11)
    np.testing.assert_allclose(loss(x, y, **options, reduction="none"), each, atol=1e-12)
    for items in (7, 7.0, torch.tensor(7)):
        np.testing.assert_allclose(
            loss(x, y, **options, num_items_in_batch=items), each.sum() / 7, atol=1e-12
        )


def test_a_sequence_of_no_tokens_costs_nothing():
    y = torch.zeros(2, 0, dtype=torch.long)
    assert causal_language_modeling_loss(torch.randn(2, 0, 4), y).item() == 0
    hidden, weight = torch.randn(2, 0, 3), torch.randn(4, 3)
    assert causal_language_modeling_loss_from_hidden(hidden, weight, y).item() == 0


def test_the_truth_of_the_shift():
    logits, labels = draw(3, 5, 4, 0.2)
    for smooth, items in ((0.0, None), (0.1, 9)):
        truth = reference.causal_language_modeling_loss(
            logits, labels, label_smoothing=smooth, num_items=items
        )
        got = causal_language_modeling_loss(
            *tensors(logits, labels), label_smoothing=smooth, num_items_in_batch=items
        )
        np.testing.assert_allclose(got, truth)
    shifted = losses.shift_left(torch.from_numpy(labels))
    torch.testing.assert_close(
        causal_language_modeling_loss(torch.from_numpy(logits), shift_labels=shifted),
        causal_language_modeling_loss(*tensors(logits, labels)),
    )


@given(problems, smoothing)
def test_from_hidden_states_is_from_logits(p, smooth):
    rng = np.random.default_rng(p["seed"])
    _, labels = draw(**p)
    h, w, b = tensors(
        rng.normal(size=(p["batch"], p["length"], 3)),
        rng.normal(size=(p["classes"], 3)),
        rng.normal(size=p["classes"]),
    )
    y = torch.from_numpy(labels)
    options = {"label_smoothing": smooth}
    for fused, plain in (
        (causal_language_modeling_loss_from_hidden, causal_language_modeling_loss),
        (masked_language_modeling_loss_from_hidden, masked_language_modeling_loss),
    ):
        for reduction in ("mean", "sum", "none"):
            sources = [t.clone().requires_grad_() for t in (h, w, b)]
            got = fused(sources[0], sources[1], y, bias=sources[2], reduction=reduction, **options)
            found = torch.autograd.grad(got.sum(), sources)
            truth = plain(F.linear(*sources), y, reduction=reduction, **options)
            expected = torch.autograd.grad(truth.sum(), sources)
            torch.testing.assert_close(got, truth)
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("chunk_size", [None, 1, 5, 100])
def test_native_and_loop_agree(monkeypatch, native, chunk_size):
    if not native:
        monkeypatch.setattr(linear_losses, "F", SimpleF)
    h = torch.randn(12, 7, dtype=torch.float64, requires_grad=True)
    w = torch.randn(33, 7, dtype=torch.float64, requires_grad=True)
    y = torch.randint(0, 33, (12,))
    y[3] = -100
    got = linear_cross_entropy(h, w, y, chunk_size=chunk_size)
    truth = F.cross_entropy(h @ w.T, y)
    torch.testing.assert_close(got, truth)
    torch.testing.assert_close(torch.autograd.grad(got, [h, w]), torch.autograd.grad(truth, [h, w]))
    torch.testing.assert_close(
        linear_cross_entropy(h, w, y, chunk_size=chunk_size, num_items_in_batch=3),
        truth * 11 / 3,
    )


class SimpleF:
    """torch.nn.functional as it was before 2.13."""

    linear = staticmethod(F.linear)
    cross_entropy = staticmethod(F.cross_entropy)


def test_a_second_backward_pass_is_an_error_and_not_a_wrong_gradient():
    h, w = torch.randn(5, 3, requires_grad=True), torch.randn(4, 3)
    loss = linear_cross_entropy(h, w, torch.tensor([0, 1, -100, 3, 2]))
    loss.backward(retain_graph=True)
    if hasattr(F, "linear_cross_entropy"):
        with pytest.raises(RuntimeError):
            loss.backward()


def test_the_loop_can_be_differentiated_twice(monkeypatch):
    monkeypatch.setattr(linear_losses, "F", SimpleF)
    h = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    w = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 1, -100, 3, 2])
    assert torch.autograd.gradcheck(
        lambda h, w: linear_cross_entropy(h, w, y, chunk_size=2), (h, w)
    )
    assert torch.autograd.gradgradcheck(
        lambda h, w: linear_cross_entropy(h, w, y, chunk_size=2), (h, w)
    )


@pytest.mark.parametrize("smooth", [0.0, 0.1])
def test_from_hidden_states_in_transforms_of_functions(smooth):
    h, tangent = torch.randn(2, 5, 3, dtype=torch.float64)
    w, y = torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 1, -100, 3, 2])

    def loss(h):
        return linear_cross_entropy(h, w, y, label_smoothing=smooth, chunk_size=2)

    def truth(h):
        return F.cross_entropy(h @ w.T, y, label_smoothing=smooth)

    torch.testing.assert_close(torch.func.grad(loss)(h), torch.func.grad(truth)(h))
    torch.testing.assert_close(torch.func.hessian(loss)(h), torch.func.hessian(truth)(h))
    torch.testing.assert_close(
        torch.func.vmap(torch.func.grad(loss))(h.expand(3, 5, 3))[0], torch.func.grad(truth)(h)
    )
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(loss(forward_ad.make_dual(h, tangent))).tangent
    torch.testing.assert_close(found, (torch.func.grad(truth)(h) * tangent).sum())


@pytest.mark.parametrize("low", [torch.float16, torch.bfloat16])
def test_from_hidden_states_in_sixteen_bits(low):
    torch.manual_seed(1)
    h, w = torch.randn(64, 32).to(low), (torch.randn(200, 32) * 0.2).to(low)
    y = torch.randint(0, 200, (64,))
    truth = F.cross_entropy(h.double() @ w.double().T, y)
    plain = F.cross_entropy(F.linear(h, w).float(), y)
    got = linear_cross_entropy(h, w, y)
    assert got.dtype == torch.float32
    assert (got - truth).abs() <= 2 * (plain - truth).abs() + 1e-4
    with torch.autocast("cpu", dtype=low):
        cast = linear_cross_entropy(h.float(), w.float(), y)
    torch.testing.assert_close(cast.double(), truth, atol=0.02, rtol=0.01)


@pytest.mark.parametrize("fraction", [0.01, 0.5])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_ignored_rows_may_hold_anything(fraction, value, reduction):
    logits, labels = draw(4, 50, 5, fraction)
    labels[0, 0] = -100
    x, y = tensors(logits, labels)
    bad = x.clone()
    bad[y == -100] = value
    found = []
    for source in (x, bad):
        source.requires_grad_()
        loss = token_classification_loss(source, y, reduction=reduction)
        found.append((loss, *torch.autograd.grad(loss.sum(), source)))
    torch.testing.assert_close(*found)
    assert not found[1][1][y == -100].any()


@pytest.mark.parametrize("loss", PER_TOKEN)
def test_nothing_left_gives_zero(loss):
    x = torch.randn(2, 3, 4, requires_grad=True)
    out = loss(x, torch.full((2, 3), -100))
    assert out.item() == 0
    assert not torch.autograd.grad(out, x)[0].any()
    h, w = torch.randn(2, 3, 5, requires_grad=True), torch.randn(4, 5, requires_grad=True)
    out = linear_cross_entropy(h, w, torch.full((2, 3), -100))
    assert out.item() == 0
    assert not any(g.any() for g in torch.autograd.grad(out, [h, w]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(dtype):
    x, y = torch.randn(2, 3, 4, dtype=dtype), torch.randint(0, 4, (2, 3), dtype=torch.int32)
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    for loss in PER_TOKEN:
        assert loss(x, y).dtype == expected
    assert multiple_choice_loss(x[:, 0], y[:, 0]).dtype == expected
    assert question_answering_loss(x[:, 0], x[:, 0], y[:, 0], y[:, 0]).dtype == expected
    for labels in (y[:, 0], torch.rand(2, 4)):
        assert sequence_classification_loss(x[:, 0], labels).dtype == expected


def test_gradients_accumulate_as_in_one_batch():
    logits, labels = draw(6, 4, 5, 0.4)
    x, y = tensors(logits, labels)
    items = (y != -100).sum()
    whole = token_classification_loss(x, y)
    parts = [
        token_classification_loss(x[i : i + 2], y[i : i + 2], num_items_in_batch=items)
        for i in (0, 2, 4)
    ]
    torch.testing.assert_close(sum(parts), whole)


@given(
    batch=st.integers(1, 5),
    length=st.integers(1, 6),
    seed=st.integers(0, 2**16),
    column=st.booleans(),
)
def test_question_answering_is_the_truth(batch, length, seed, column):
    rng = np.random.default_rng(seed)
    start, end = rng.normal(size=(2, batch, length))
    at = rng.integers(-2, length + 2, (2, batch))
    at[0, 0] = -100
    shape = (batch, 1) if column else (batch,)
    positions = tensors(at[0].reshape(shape), at[1].reshape(shape))
    before = [p.clone() for p in positions]
    got = question_answering_loss(*tensors(start, end), *positions)
    np.testing.assert_allclose(got, reference.question_answering_loss(start, end, *at), atol=1e-12)
    each = question_answering_loss(*tensors(start, end), *positions, reduction="none")
    assert each.shape == (batch,)
    torch.testing.assert_close(before, list(positions))


@given(
    batch=st.integers(1, 5),
    classes=st.integers(2, 5),
    seed=st.integers(0, 2**16),
    kind=st.sampled_from(
        ["regression", "single_label_classification", "multi_label_classification"]
    ),
    named=st.booleans(),
)
def test_sequence_classification_is_the_truth(batch, classes, seed, kind, named):
    rng = np.random.default_rng(seed)
    if kind == "regression" and not named:
        classes = 1
    logits = rng.normal(size=(batch, classes))
    labels = {
        "regression": rng.normal(size=(batch, classes)),
        "single_label_classification": rng.choice([*range(classes), -100], batch),
        "multi_label_classification": rng.choice([0.0, 1.0, -100.0], (batch, classes)),
    }[kind]
    options = {"problem_type": kind} if named else {}
    got = sequence_classification_loss(*tensors(logits, labels), **options)
    truth = reference.sequence_classification_loss(logits, labels, kind)
    np.testing.assert_allclose(got, truth, atol=1e-12)
    each = sequence_classification_loss(*tensors(logits, labels), **options, reduction="none")
    assert each.shape == labels.shape


def test_a_regression_does_not_broadcast():
    x = torch.tensor([[1.0], [2.0], [4.0]])
    for labels in (torch.tensor([1, 2, 3]), torch.tensor([[1.0], [2.0], [3.0]])):
        assert sequence_classification_loss(x, labels).item() == pytest.approx(1 / 3)
    # In a regression -100 is a number like any other.
    assert sequence_classification_loss(torch.zeros(1, 1), torch.tensor([-100.0])).item() == 1e4


@pytest.mark.parametrize("column", [True, False])
def test_multiple_choice(column):
    x, y = torch.randn(3, 4), torch.tensor([0, -100, 2])
    got = multiple_choice_loss(x, y.unsqueeze(1) if column else y)
    torch.testing.assert_close(got, F.cross_entropy(x, y))


def test_as_in_transformers_5():
    from types import SimpleNamespace

    from transformers.loss import loss_utils

    logits, labels = draw(3, 6, 5, 0.3)
    x, y = torch.from_numpy(logits).float(), torch.from_numpy(labels)
    items = torch.tensor(11)
    config = SimpleNamespace(num_labels=5, problem_type=None)
    start, end = x[..., 0], x[..., 1]
    at = torch.tensor([0, 5, 9]), torch.tensor([1, 2, 3])
    theirs = loss_utils
    for opt in ({}, {"num_items_in_batch": items}):
        pairs = [
            (causal_language_modeling_loss(x, y, **opt), theirs.ForCausalLMLoss(x, y, 5, **opt)),
            (masked_language_modeling_loss(x, y, **opt), theirs.ForMaskedLMLoss(x, y, 5, **opt)),
            (
                token_classification_loss(x, y, **opt),
                theirs.ForTokenClassification(x, y, config, **opt),
            ),
            (
                sequence_classification_loss(x[:, 0], y[:, 0], **opt),
                theirs.ForSequenceClassificationLoss(y[:, 0], x[:, 0], config, **opt),
            ),
            (
                question_answering_loss(start, end, *at, **opt),
                theirs.ForQuestionAnsweringLoss(start, end, *at, **opt),
            ),
        ]
        for mine, value in pairs:
            torch.testing.assert_close(mine, value)


@pytest.mark.parametrize("loss", PER_TOKEN)
def test_one_graph(loss):
    torch.compiler.reset()
    x = torch.randn(2, 6, 5, requires_grad=True)
    y = torch.tensor([[0, 1, -100, -100, -100, 2], [-100] * 6])
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    got, truth = compiled(x, y), loss(x, y)
    torch.testing.assert_close(got, truth)
    torch.testing.assert_close(torch.autograd.grad(got, x), torch.autograd.grad(truth, x))


def test_one_graph_from_hidden_states():
    torch.compiler.reset()
    h, w = torch.randn(2, 6, 3), torch.randn(5, 3, requires_grad=True)
    y = torch.randint(0, 5, (2, 6))
    compiled = torch.compile(linear_cross_entropy, fullgraph=True, backend="eager")
    got, truth = compiled(h, w, y), linear_cross_entropy(h, w, y)
    torch.testing.assert_close(got, truth)
    torch.testing.assert_close(torch.autograd.grad(got, w), torch.autograd.grad(truth, w))


def test_the_logits_never_exist():
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for x in torch.utils._pytree.tree_leaves(out):
                if isinstance(x, torch.Tensor):
                    largest = max(largest, x.untyped_storage().nbytes())
            return out

    h, w = torch.randn(256, 16, requires_grad=True), torch.randn(1000, 16, requires_grad=True)
    y = torch.randint(0, 1000, (256,))
    with Watch():
        for smooth in (0.0, 0.1):
            linear_cross_entropy(h, w, y, label_smoothing=smooth, chunk_size=16).backward()
    assert largest <= 256 * 1000 * 4 / 8


def test_errors():
    x, y = torch.randn(2, 3, 4), torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match=r"logits \(2, 3, 4\), labels \(2, 2\)"):
        token_classification_loss(x, y[:, :2])
    with pytest.raises(ValueError, match="Received: 'total'"):
        token_classification_loss(x, y, reduction="total")
    with pytest.raises(ValueError, match='"mean"` with `num_items_in_batch`'):
        token_classification_loss(x, y, reduction="sum", num_items_in_batch=3)
    for function, args in (
        (causal_language_modeling_loss, (x,)),
        (causal_language_modeling_loss_from_hidden, (x, x[0])),
    ):
        with pytest.raises(ValueError, match="`labels` or `shift_labels`"):
            function(*args)
    with pytest.raises(ValueError, match=r"\(2, 3, 4\), \(9, 5\) and \(2, 3\)"):
        linear_cross_entropy(x, torch.ones(9, 5), y)
    for smooth in (0.0, 0.1):
        with pytest.raises(ValueError, match=r"expects `chunk_size`.*Received: 0\."):
            linear_cross_entropy(x, x[0], y, chunk_size=0, label_smoothing=smooth)
    with pytest.raises(ValueError, match="Received: 'ranking'"):
        sequence_classification_loss(x[0], y[0], problem_type="ranking")
    with pytest.raises(ValueError, match="only with single-label problems"):
        sequence_classification_loss(x[0], torch.rand(3, 4), label_smoothing=0.1)
    with pytest.raises(ValueError, match=r"logits \(3, 4\), labels \(3, 1\)"):
        sequence_classification_loss(x[0], torch.rand(3, 1))
