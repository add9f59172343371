"""The six classes in `model.compile(loss=...)`: reductions, weights, masks, saving, training."""

import keras
import numpy as np
import pytest
from keras import ops

from headsmith.keras import losses
from headsmith.spec import reference

CLASSES = [
    losses.CausalLanguageModelingLoss,
    losses.MaskedLanguageModelingLoss,
    losses.MultipleChoiceLoss,
    losses.QuestionAnsweringLoss,
    losses.SequenceClassificationLoss,
    losses.TokenClassificationLoss,
]
# Keras and the backends warn of each other.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture
def problem(rng):
    labels = rng.integers(0, 6, (3, 5))
    labels[rng.random((3, 5)) < 0.4] = -100
    return rng.normal(size=(3, 5, 6)).astype("float32"), labels


@pytest.mark.parametrize(
    "made", [losses.MaskedLanguageModelingLoss, losses.TokenClassificationLoss]
)
def test_reductions_and_weights(engine, problem, rng, made):
    logits, labels = problem
    truth, kept = reference.cross_entropy(logits, labels), labels != -100
    weights = rng.random((3, 5)).astype("float32")
    np.testing.assert_allclose(float(made()(labels, logits)), truth.sum() / kept.sum(), rtol=1e-5)
    got = made()(labels, logits, weights)
    np.testing.assert_allclose(float(got), (truth * weights).sum() / kept.sum(), rtol=1e-5)
    got = made()(labels, logits, weights[:, 0])
    expected = (truth * weights[:, :1]).sum() / kept.sum()
    np.testing.assert_allclose(float(got), expected, rtol=1e-5)
    got = made(reduction="mean_with_sample_weight")(labels, logits, weights)
    expected = (truth * weights).sum() / (weights * kept).sum()
    np.testing.assert_allclose(float(got), expected, rtol=1e-5)
    np.testing.assert_allclose(float(made(reduction="sum")(labels, logits)), truth.sum(), rtol=1e-5)
    got = engine.array(made(reduction=None)(labels, logits))
    np.testing.assert_allclose(got, truth, rtol=1e-5, atol=1e-6)


def test_as_keras_with_ignore_class(problem):
    logits, labels = problem
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100)
    ours = losses.MaskedLanguageModelingLoss()
    np.testing.assert_allclose(
        float(ours(labels, logits)), float(theirs(labels, logits)), rtol=1e-5
    )


def test_a_keras_mask_leaves_tokens_out(problem):
    logits, labels = problem
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]], bool)
    poisoned = ops.convert_to_tensor(np.where(mask[..., None], logits, np.float32(np.nan)))
    from headsmith.keras.keras_mask import set_keras_mask

    set_keras_mask(poisoned, ops.convert_to_tensor(mask))
    seen = np.where(mask, labels, -100)
    expected = reference.cross_entropy(logits, seen).sum() / (seen != -100).sum()
    got = losses.TokenClassificationLoss()(labels, poisoned)
    np.testing.assert_allclose(float(got), expected, rtol=1e-5)


def test_nothing_left(problem):
    assert float(losses.MaskedLanguageModelingLoss()(np.full((3, 5), -100), problem[0])) == 0


def test_shifting_in_the_causal_class(problem):
    logits, labels = problem
    plain, shifting = (losses.CausalLanguageModelingLoss(shift=s) for s in (False, True))
    truth = reference.causal_language_modeling_loss(logits, labels)
    np.testing.assert_allclose(float(shifting(labels, logits)), truth, rtol=1e-5)
    moved = losses.shift_left(labels)
    np.testing.assert_allclose(float(plain(moved, logits)), truth, rtol=1e-5)
    weights = np.zeros((3, 5), "float32")
    weights[:, 2] = 1
    got = shifting(labels, logits, weights)
    each = reference.cross_entropy(logits[:, 1], labels[:, 2])
    np.testing.assert_allclose(float(got), each.sum() / (labels[:, 1:] != -100).sum(), rtol=1e-5)


def test_spans_in_every_form(rng):
    start, end = rng.normal(size=(2, 4, 7)).astype("float32")
    at = np.array([[0, 3, 1, 6], [2, 6, 5, 0]])
    truth = reference.question_answering_loss(start, end, *at)
    loss = losses.QuestionAnsweringLoss()
    forms = [
        ((at[0], at[1]), (start, end)),
        ({"start_position": at[0], "end_position": at[1]}, [start, end]),
        (at.T, np.stack([start, end], -1)),
    ]
    for labels, logits in forms:
        np.testing.assert_allclose(float(loss(labels, logits)), truth, rtol=1e-5)
    halves = float(loss(at[0], start)) + float(loss(at[1], end))
    np.testing.assert_allclose(halves, truth, rtol=1e-5)


@pytest.mark.parametrize("made", CLASSES)
def test_settings_are_saved(made):
    loss = made(label_smoothing=0.1, reduction="sum", name="mine")
    told = keras.saving.serialize_keras_object(loss)
    again = keras.saving.deserialize_keras_object(told)
    assert type(again) is made
    assert again.get_config() == loss.get_config()
    assert again.label_smoothing == 0.1


def test_sixteen_bits_would_hold_no_label():
    assert losses.MaskedLanguageModelingLoss(dtype="bfloat16").dtype == "float32"


def test_refused_settings():
    with pytest.raises(ValueError, match="Received: 2"):
        losses.MultipleChoiceLoss(label_smoothing=2)
    with pytest.raises(ValueError, match="Received: 'two'"):
        losses.SequenceClassificationLoss(problem_type="two")


def tokens_model():
    inputs = keras.Input((5,), dtype="int32")
    x = keras.layers.Embedding(9, 8, mask_zero=True)(inputs)
    return keras.Model(inputs, keras.layers.Dense(6)(x))


@pytest.mark.parametrize(
    "made", [losses.CausalLanguageModelingLoss, losses.TokenClassificationLoss]
)
def test_fit_with_weights_and_masks(made, rng, tmp_path):
    keras.utils.set_random_seed(0)
    model = tokens_model()
    model.compile("adam", loss=made())
    x = rng.integers(0, 9, (16, 5))
    x[:, -1] = 0
    y = np.where(rng.random((16, 5)) < 0.3, -100, x % 6)
    weights = rng.random((16, 5)).astype("float32")
    before = model.evaluate(x, y, sample_weight=weights, verbose=0)
    logits, kept = model.predict(x, verbose=0), (x != 0) & (y != -100)
    truth = (reference.cross_entropy(logits, np.where(kept, y, -100)) * weights).sum()
    np.testing.assert_allclose(before, truth / kept.sum(), rtol=1e-4)
    model.fit(x, y, sample_weight=weights, epochs=12, batch_size=16, verbose=0)
    after = model.evaluate(x, y, sample_weight=weights, verbose=0)
    assert after < before
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.loss) is made
    np.testing.assert_allclose(
        loaded.evaluate(x, y, sample_weight=weights, verbose=0), after, rtol=1e-5
    )


def test_fit_spans_with_two_outputs(rng):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((7, 3))
    both = keras.layers.Dense(2)(inputs)
    model = keras.Model(inputs, [both[..., 0], both[..., 1]])
    model.compile("adam", loss=losses.QuestionAnsweringLoss())
    x, at = rng.normal(size=(8, 7, 3)).astype("float32"), rng.integers(0, 7, (2, 8))
    got = model.evaluate(x, [at[0], at[1]], verbose=0, return_dict=True)["loss"]
    start, end = model.predict(x, verbose=0)
    np.testing.assert_allclose(got, reference.question_answering_loss(start, end, *at), rtol=1e-4)
    history = model.fit(x, [at[0], at[1]], epochs=6, verbose=0).history["loss"]
    assert history[-1] < history[0]
