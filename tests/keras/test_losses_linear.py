"""Losses from hidden states: the same as building the logits, in value and gradient."""

import keras
import numpy as np
import pytest

from headsmith.keras import linear_losses as linear
from headsmith.keras import losses
from headsmith.spec import reference

# What torch.compile has to say of Keras, and of itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Dynamo detected"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated"),
]
CLASSES, HIDDEN = 11, 5


@pytest.fixture
def problem(rng):
    """Hidden states (3, 7, 5), weights, bias and labels, two thirds of them ignored."""
    labels = rng.integers(0, CLASSES, (3, 7))
    labels[rng.random((3, 7)) < 0.66] = -100
    hidden = rng.normal(size=(3, 7, HIDDEN))
    weight = rng.normal(size=(CLASSES, HIDDEN))
    return hidden, weight, rng.normal(size=CLASSES), labels


def truth(hidden, weight, bias, labels, smoothing=0.0):
    return reference.cross_entropy(hidden @ weight.T + bias, labels, label_smoothing=smoothing)


def numeric(function, x, step=1e-5):
    """Give the gradient of a scalar function of an array by central differences."""
    out = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        low, high = x.copy(), x.copy()
        low[place] -= step
        high[place] += step
        out[place] = (function(high) - function(low)) / (2 * step)
    return out


@pytest.mark.parametrize("chunk", [1, 4, 21, None])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_mean(engine, problem, chunk, smoothing):
    hidden, weight, bias, labels = problem
    y = engine.tensor(labels)
    sources = [engine.tensor(x, dtype="float32") for x in (hidden, weight, bias)]

    def call(h, w, b):
        return linear.linear_cross_entropy(
            h, w, y, bias=b, label_smoothing=smoothing, chunk_size=chunk
        )

    def exact(h, w, b):
        return truth(h, w, b, labels, smoothing).sum() / (labels != -100).sum()

    for got in (call(*sources), engine.compiled(call, sources, {})):
        np.testing.assert_allclose(engine.array(got), exact(hidden, weight, bias), rtol=1e-5)
    one = engine.tensor(2.0, dtype="float32")
    found = engine.gradients(lambda *x: [call(*x)], sources, [one])
    given = [hidden, weight, bias]
    for i, gradient in enumerate(found):
        expected = numeric(lambda x, i=i: exact(*given[:i], x, *given[i + 1 :]), given[i])
        np.testing.assert_allclose(gradient, 2 * expected, atol=1e-5)


@pytest.mark.parametrize("chunk", [4, None])
def test_rows(engine, problem, chunk):
    hidden, weight, _, labels = problem
    y = engine.tensor(labels)
    sources = [engine.tensor(x, dtype="float32") for x in (hidden, weight.T.copy())]

    def call(h, w):
        return linear.linear_cross_entropy(
            h, w, y, transposed=True, reduction="none", chunk_size=chunk
        )

    for got in (call(*sources), engine.compiled(call, sources, {})):
        np.testing.assert_allclose(
            engine.array(got), truth(hidden, weight, 0.0, labels), rtol=1e-5, atol=1e-6
        )
    upstream = np.arange(21.0).reshape(3, 7)
    found = engine.gradients(
        lambda *x: [call(*x)], sources, [engine.tensor(upstream, dtype="float32")]
    )
    expected = numeric(lambda h: (truth(h, weight, 0.0, labels) * upstream).sum(), hidden)
    np.testing.assert_allclose(found[0], expected, atol=1e-4)
    expected = numeric(lambda w: (truth(hidden, w.T, 0.0, labels) * upstream).sum(), weight.T)
    np.testing.assert_allclose(found[1], expected, atol=1e-4)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_ignored_states_may_hold_anything(engine, problem, reduction, bad):
    hidden, weight, _, labels = problem
    y = engine.tensor(labels)
    poisoned = np.where((labels == -100)[..., None], bad, hidden)
    w = engine.tensor(weight, dtype="float32")

    def call(h, w):
        return linear.masked_language_modeling_loss_from_hidden(
            h, w, y, reduction=reduction, chunk_size=4
        )

    def run(values):
        h = engine.tensor(values, dtype="float32")
        value = engine.array(call(h, w))
        cotangent = engine.tensor(np.ones(value.shape), dtype="float32")
        compiled = engine.array(engine.compiled(call, (h, w), {}))
        return [
            value,
            compiled,
            *engine.gradients(lambda *x: [call(*x)], [h, w], [cotangent]),
        ]

    for got, expected in zip(run(poisoned), run(hidden), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_nothing_left(engine, problem):
    hidden, weight, _, labels = problem
    y = engine.tensor(np.full_like(labels, -100))
    sources = [engine.tensor(x, dtype="float32") for x in (hidden, weight)]

    def call(h, w):
        return linear.masked_language_modeling_loss_from_hidden(h, w, y)

    assert float(call(*sources)) == 0
    assert float(engine.compiled(call, sources, {})) == 0
    for gradient in engine.gradients(
        lambda *x: [call(*x)], sources, [engine.tensor(1.0, dtype="float32")]
    ):
        assert not gradient.any()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_an_empty_batch(engine, problem, reduction):
    hidden, weight, bias, labels = problem
    sources = [engine.tensor(x, dtype="float32") for x in (hidden[:0], weight, bias)]

    def call(h, w, b):
        return linear.linear_cross_entropy(h, w, labels[:0], bias=b, reduction=reduction)

    losses_of_none = engine.array(call(*sources))
    assert losses_of_none.shape == ((0, 7) if reduction == "none" else ())
    assert losses_of_none.sum() == 0
    upstream = engine.tensor(np.ones(losses_of_none.shape), dtype="float32")
    for gradient, source in zip(
        engine.gradients(lambda *x: [call(*x)], sources, [upstream]), sources, strict=True
    ):
        assert gradient.shape == tuple(source.shape)
        assert not gradient.any()


def test_causal_shifts(engine, problem):
    hidden, weight, _, labels = problem
    h, w = (engine.tensor(x, dtype="float32") for x in (hidden, weight))
    logits = keras.ops.matmul(h, keras.ops.transpose(w))
    for reduction in ("mean", "sum", "none"):
        np.testing.assert_allclose(
            engine.array(
                linear.causal_language_modeling_loss_from_hidden(h, w, labels, reduction=reduction)
            ),
            engine.array(losses.causal_language_modeling_loss(logits, labels, reduction=reduction)),
            rtol=1e-5,
            atol=1e-6,
        )


def test_sixteen_bits_are_summed_in_float32(engine, problem):
    hidden, weight, _, labels = problem
    h, w = (engine.tensor(x, dtype="bfloat16") for x in (hidden, weight))
    exact_h, exact_w = (
        engine.array(keras.ops.cast(h, "float32")),
        engine.array(keras.ops.cast(w, "float32")),
    )
    got = linear.masked_language_modeling_loss_from_hidden(h, w, labels, reduction="sum")
    assert keras.backend.standardize_dtype(got.dtype) == "float32"
    np.testing.assert_allclose(float(got), truth(exact_h, exact_w, 0.0, labels).sum(), rtol=0.02)


def test_a_label_out_of_range(engine, problem):
    hidden, weight, _, labels = problem
    h, w = (engine.tensor(x, dtype="float32") for x in (hidden, weight))
    wrong = np.where(labels == -100, CLASSES, labels)
    with pytest.raises(ValueError, match=r"Expected labels from 0 to 10, or -100.*Received: 11"):
        linear.linear_cross_entropy(h, w, wrong)
    call = lambda h, w, y: linear.linear_cross_entropy(h, w, y)  # noqa: E731
    assert np.isnan(float(engine.compiled(call, (h, w, engine.tensor(wrong)), {})))


def test_refuses_what_does_not_fit(engine, problem):
    hidden, weight, bias, labels = problem
    with pytest.raises(ValueError, match=r"weights \(vocab, hidden\).*Received: \(3, 7, 5\), \(5"):
        linear.linear_cross_entropy(hidden, weight.T, labels)
    with pytest.raises(ValueError, match="Expected hidden states"):
        linear.linear_cross_entropy(hidden, weight, labels, bias=bias[1:])
    with pytest.raises(ValueError, match="chunk_size"):
        linear.linear_cross_entropy(hidden, weight, labels, chunk_size=0)
    with pytest.raises(ValueError, match="Received: neither"):
        linear.causal_language_modeling_loss_from_hidden(hidden, weight)
