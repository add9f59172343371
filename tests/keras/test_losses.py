"""The six losses as functions: what every backend has to agree on with float64 NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from headsmith.keras import losses
from headsmith.keras.linear_losses import linear_cross_entropy
from headsmith.spec import reference

pytestmark = pytest.mark.filterwarnings("ignore:Dynamo detected")
TOKENS = [losses.masked_language_modeling_loss, losses.token_classification_loss]


@pytest.fixture
def problem(rng):
    labels = rng.integers(0, 6, (3, 5))
    labels[rng.random((3, 5)) < 0.4] = -100
    return rng.normal(size=(3, 5, 6)).astype("float32"), labels


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("function", TOKENS)
def test_reductions(engine, problem, function, smoothing):
    logits, labels = problem
    truth = reference.cross_entropy(logits, labels, label_smoothing=smoothing)
    kept = (labels != -100).sum()

    def got(**how):
        return engine.array(function(logits, labels, label_smoothing=smoothing, **how))

    np.testing.assert_allclose(got(), truth.sum() / kept, rtol=1e-5)
    np.testing.assert_allclose(got(num_items_in_batch=40), truth.sum() / 40, rtol=1e-5)
    np.testing.assert_allclose(got(reduction="sum"), truth.sum(), rtol=1e-5)
    np.testing.assert_allclose(got(reduction="none"), truth, rtol=1e-5, atol=1e-6)


def test_labels_may_be_read_only(problem):
    logits, _ = problem
    labels = np.array([[0, 1, 2, 3, 4]] * 3)
    labels.setflags(write=False)
    truth = reference.cross_entropy(logits, labels).mean()
    np.testing.assert_allclose(float(TOKENS[0](logits, labels)), truth, rtol=1e-5)


@pytest.mark.parametrize("ignored", [0, 4, 15])
def test_the_gradient_of_a_mean_is_the_truth(engine, problem, ignored):
    """A tensor of labels in eager mode: TensorFlow goes another way for each of these."""
    logits, _ = problem
    labels = np.arange(15).reshape(3, 5) % 6
    labels.flat[:ignored] = -100
    kept = (labels != -100)[..., None]
    powers = np.exp(logits.astype("float64"))
    hit = np.arange(6) == labels[..., None]
    wanted = (powers / powers.sum(-1, keepdims=True) - hit) * kept / max(kept.sum(), 1)
    x, y = engine.tensor(logits), engine.tensor(labels)
    two = engine.tensor(2.0, dtype="float32")
    (found,) = engine.gradients(lambda x: [TOKENS[0](x, y)], [x], [two])
    np.testing.assert_allclose(found, 2 * wanted, rtol=1e-4, atol=1e-6)


def test_the_causal_loss_shifts(engine, problem):
    logits, labels = problem
    truth = reference.causal_language_modeling_loss(logits, labels)
    one = losses.causal_language_modeling_loss(logits, labels)
    two = losses.causal_language_modeling_loss(logits, shift_labels=losses.shift_left(labels))
    np.testing.assert_allclose([float(one), float(two)], truth, rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_ignored_logits_may_hold_anything(engine, problem, bad, smoothing):
    logits, labels = problem
    poisoned = np.where((labels == -100)[..., None], np.float32(bad), logits)
    y = engine.tensor(labels)

    def call(x):
        return losses.masked_language_modeling_loss(x, y, label_smoothing=smoothing)

    one = engine.tensor(1.0, dtype="float32")
    results = []
    for values in (poisoned, logits):
        x = engine.tensor(values)
        (gradient,) = engine.gradients(lambda x: [call(x)], [x], [one])
        results.append([float(call(x)), float(engine.compiled(call, (x,), {})), gradient])
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_nothing_left(engine, problem):
    x, y = engine.tensor(problem[0]), engine.tensor(np.full((3, 5), -100))

    def call(x):
        return losses.masked_language_modeling_loss(x, y)

    assert float(call(x)) == 0
    (gradient,) = engine.gradients(lambda x: [call(x)], [x], [engine.tensor(1.0)])
    assert not gradient.any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_are_computed_in_float32(engine, problem, dtype):
    logits, labels = problem
    x = engine.tensor(logits, dtype=dtype)
    got = losses.masked_language_modeling_loss(x, labels)
    assert keras.backend.standardize_dtype(got.dtype) == "float32"
    truth = reference.cross_entropy(engine.array(ops.cast(x, "float32")), labels)
    np.testing.assert_allclose(float(got), truth.sum() / (labels != -100).sum(), rtol=1e-5)


def test_positions_outside_the_window(engine, rng):
    start, end = rng.normal(size=(2, 4, 7)).astype("float32")
    at = np.array([[0, 3, -100, 7], [2, 6, 5, -1]])
    truth = reference.question_answering_loss(start, end, *at)
    np.testing.assert_allclose(
        float(losses.question_answering_loss(start, end, *at)), truth, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("single_label_classification", np.array([0, 2, -100, 1])),
        ("multi_label_classification", np.array([[0.0, 1, 1], [1, 0, -100], [0, 0, 0], [1, 1, 1]])),
        ("regression", np.arange(12.0).reshape(4, 3)),
    ],
)
def test_problem_types(engine, rng, kind, labels):
    logits = rng.normal(size=(4, 3)).astype("float32")
    truth = reference.sequence_classification_loss(logits, labels, kind)
    got = losses.sequence_classification_loss(logits, labels, problem_type=kind)
    np.testing.assert_allclose(float(got), truth, rtol=1e-5)
    if kind != "regression":
        guessed = losses.sequence_classification_loss(logits, labels)
        np.testing.assert_allclose(float(guessed), truth, rtol=1e-5)


def test_symbolic_tensors():
    logits, labels = keras.Input((5, 6)), keras.Input((5,), dtype="int32")
    loss = losses.masked_language_modeling_loss(logits, labels, reduction="none")
    assert tuple(loss.shape) == (None, 5)


def test_dynamic_dimensions(engine, problem):
    if engine.name != "tensorflow":
        pytest.skip("only TensorFlow has tensors of unknown size")
    import tensorflow as tf

    logits, labels = problem
    specs = [tf.TensorSpec([None, None, None], "float32"), tf.TensorSpec([None, None], "int32")]
    run = tf.function(losses.masked_language_modeling_loss, input_signature=specs)
    truth = reference.cross_entropy(logits, labels).sum() / (labels != -100).sum()
    got = run(tf.constant(logits), tf.constant(labels.astype("int32")))
    np.testing.assert_allclose(float(got), truth, rtol=1e-5)


def test_numpy_labels_in_a_graph_of_unknown_size(engine, problem):
    if engine.name != "tensorflow":
        pytest.skip("only TensorFlow has tensors of unknown size")
    import tensorflow as tf

    logits, labels = problem
    spec = tf.TensorSpec([None, None, None], "float32")
    run = tf.function(
        lambda x: losses.masked_language_modeling_loss(x, labels), input_signature=[spec]
    )
    truth = reference.cross_entropy(logits, labels).sum() / (labels != -100).sum()
    np.testing.assert_allclose(float(run(tf.constant(logits))), truth, rtol=1e-5)

    scores = logits[:, 0]
    positions = np.array([-1, scores.shape[1], *range(len(scores) - 2)])  # two outside the window
    both = tf.function(
        lambda x: losses.question_answering_loss(x, x, positions, positions),
        input_signature=[tf.TensorSpec([None, None], "float32")],
    )
    told = np.where((positions >= 0) & (positions < scores.shape[1]), positions, -100)
    truth = reference.cross_entropy(scores, told).sum() / max(1, (told != -100).sum())
    np.testing.assert_allclose(float(both(tf.constant(scores))), truth, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("classes", [4, 300])
def test_graphs_of_few_and_of_many_logits(engine, classes):
    """TensorFlow computes them in two ways; what is ignored poisons neither."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40, classes)).astype("float32")
    labels = rng.integers(0, classes, 40)
    labels[::3] = -100
    clean = logits.copy()
    logits[::3] = np.inf
    logits[3, 0] = np.nan
    clean[::3] = 0
    call = losses.multiple_choice_loss
    if engine.name == "tensorflow":
        import tensorflow as tf

        call = tf.function(call)
    own = engine.tensor(labels.astype("int32"))
    value = engine.array(call(engine.tensor(logits), own))
    (gradient,) = engine.gradients(
        lambda x: [call(x, own)], [engine.tensor(logits)], [engine.tensor(1.0, "float32")]
    )
    left = labels != -100
    truth = reference.cross_entropy(clean, labels).sum() / left.sum()
    np.testing.assert_allclose(float(value), truth, rtol=1e-5)
    powers = np.exp(clean.astype("float64"))
    wanted = powers / powers.sum(-1, keepdims=True)
    wanted[np.arange(40)[left], labels[left]] -= 1
    np.testing.assert_allclose(gradient, wanted * left[:, None] / left.sum(), rtol=1e-4, atol=1e-7)


def test_a_mixin_beside_a_model(engine, problem):
    class Model(keras.Model, losses.TFMaskedLanguageModelingLoss):
        pass

    logits, labels = problem
    got = engine.array(Model().hf_compute_loss(labels, logits))
    truth = reference.cross_entropy(logits, labels).sum() / (labels != -100).sum()
    np.testing.assert_allclose(got, [truth], rtol=1e-5)


def test_the_legacy_form_does_not_compile_off_tensorflow(engine, problem):
    from types import SimpleNamespace

    mixin = losses.TFCausalLanguageModelingLoss()
    mixin.config = SimpleNamespace(tf_legacy_loss=True)
    logits, labels = map(engine.tensor, problem)
    if engine.name == "tensorflow":
        import tensorflow as tf

        got = tf.function(mixin.hf_compute_loss)(labels, logits)
        assert got.shape[0] == (problem[1] != -100).sum()
    else:
        with pytest.raises(ValueError, match="tf_legacy_loss = False"):
            engine.compiled(mixin.hf_compute_loss, (labels, logits), {})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x, y: losses.masked_language_modeling_loss(x, y[:, :2]),
            r"shape of the logits less.*Received: logits of shape \(3, 5, 6\), labels of shape",
        ),
        (
            lambda x, y: losses.token_classification_loss(x, np.full((3, 5), 6)),
            "Expected labels from 0 to 5, or -100.*Received: 6, one of 15",
        ),
        (
            lambda x, y: losses.multiple_choice_loss(x[0], np.full(5, -1)),
            "Received: -1",
        ),
        (lambda x, y: losses.causal_language_modeling_loss(x), "Received: neither"),
        (
            lambda x, y: losses.masked_language_modeling_loss(x, y, reduction="avg"),
            "Received: 'avg'",
        ),
        (
            lambda x, y: losses.masked_language_modeling_loss(
                x, y, reduction="sum", num_items_in_batch=2
            ),
            "num_items_in_batch",
        ),
        (
            lambda x, y: losses.sequence_classification_loss(x[0], y[0], problem_type="two"),
            "Received: 'two'",
        ),
        (
            lambda x, y: losses.sequence_classification_loss(
                x[0], x[0], problem_type="regression", label_smoothing=0.1
            ),
            "only with single-label",
        ),
    ],
)
def test_errors(engine, problem, call, message):
    with pytest.raises(ValueError, match=message):
        call(*problem)


SMOOTHED = {
    "masked": lambda x, y, s: losses.masked_language_modeling_loss(x, y, label_smoothing=s),
    "none": lambda x, y, s: losses.token_classification_loss(
        x, y, label_smoothing=s, reduction="none"
    ),
    "causal": lambda x, y, s: losses.causal_language_modeling_loss(x, y, label_smoothing=s),
    "choice": lambda x, y, s: losses.multiple_choice_loss(x[0], y[0], label_smoothing=s),
    "sequence": lambda x, y, s: losses.sequence_classification_loss(x[0], y[0], label_smoothing=s),
    "answer": lambda x, y, s: losses.question_answering_loss(
        x[0], x[0], y[0], y[0], label_smoothing=s
    ),
    "hidden": lambda x, y, s: linear_cross_entropy(x, x[0], y, label_smoothing=s),
}


@pytest.mark.parametrize("call", SMOOTHED.values(), ids=SMOOTHED)
@pytest.mark.parametrize("smoothing", [2, -0.1, float("nan")])
def test_smoothing_is_a_share(engine, problem, call, smoothing):
    logits, labels = problem
    with pytest.raises(ValueError, match=f"from 0 to 1. Received: {smoothing}"):
        call(logits, np.minimum(labels, 4), smoothing)


LABELLED = {name: call for name, call in SMOOTHED.items() if name != "answer"}


@pytest.mark.parametrize("call", LABELLED.values(), ids=LABELLED)
@pytest.mark.parametrize(
    "bad",
    [
        np.int64(2**32 + 1),
        np.uint32(2**32 - 1),
        np.uint64(2**64 - 100),
        np.float32(1.7),
        np.float64(2.0**32 + 1),
        np.float32(2.0**31),
        np.float32("nan"),
        np.float64("-inf"),
    ],
)
def test_labels_are_not_made_to_fit(engine, problem, call, bad):
    logits, _ = problem
    labels = np.array([[0, 1, 2, 3, 4]] * 3).astype(bad.dtype)
    assert np.isfinite(engine.array(call(logits, labels, 0.0))).all()
    labels[0, 2] = bad
    with pytest.raises(ValueError, match=r"Expected whole numbers .*Received: .* one of 1 "):
        call(logits, labels, 0.0)


def test_float_tensors_of_labels(engine, problem):
    logits, labels = problem
    wanted = engine.array(TOKENS[0](logits, labels))
    for dtype in ("float32", "int8"):
        tensor = engine.tensor(labels, dtype=dtype)
        np.testing.assert_allclose(engine.array(TOKENS[0](logits, tensor)), wanted, rtol=1e-6)
    with pytest.raises(ValueError, match=r"Received: 1\.5, one of 15 "):
        TOKENS[0](logits, engine.tensor(np.full((3, 5), 1.5), dtype="float32"))


def test_huge_positions_are_outside_the_window(engine, problem):
    logits = problem[0][0]
    wanted = losses.question_answering_loss(logits, logits, [1, -100, 2, 3, 0], [1, 1, 1, 1, -100])
    for huge in (2**32 + 1, 2**63 - 1, -(2**32) + 1):
        start, end = np.array([1, huge, 2, 3, 0]), np.array([1, 1, 1, 1, huge])
        for dtype in ("int64", "float64"):
            found = losses.question_answering_loss(
                logits, logits, start.astype(dtype), end.astype(dtype)
            )
            np.testing.assert_allclose(engine.array(found), engine.array(wanted), rtol=1e-6)
    with pytest.raises(ValueError, match=r"Received: 1\.5, one of 1 "):
        losses.question_answering_loss(logits, logits, np.array([1.5, 0, 0, 0, 0]), [0] * 5)


@pytest.mark.parametrize("shift", [False, True])
def test_a_loss_class_refuses_labels_it_would_cut(engine, problem, shift):
    loss = losses.CausalLanguageModelingLoss(shift=shift)
    logits, labels = problem[0], np.array([[0, 1, 2, 3, 4]] * 3)
    float(loss(labels.astype("float32"), logits))
    for bad in (1.7, 2**32 + 1):
        wrong = labels.astype("float64" if bad == 1.7 else "int64")
        wrong[0, 2] = bad
        with pytest.raises(ValueError, match="Expected whole numbers"):
            loss(wrong, logits)
