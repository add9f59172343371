"""A small model trains, is saved, and opens in a fresh process, on this backend and another."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest

from headsmith import keras as wing

IDS = np.array([[1, 2, 3, 5, 0], [4, 3, 2, 1, 7]], "int32")  # no two tokens alike: no ties
NEXT = {"tensorflow": "jax", "jax": "torch", "torch": "tensorflow"}
HERE = keras.backend.backend()


def make():
    ids = keras.Input((None,), dtype="int32")
    states = keras.layers.Embedding(8, 8, mask_zero=True)(ids)
    states = wing.Conv1D(8, 8, 0.5)(states)
    config = {"hidden_size": 8, "summary_type": "attn", "summary_num_heads": 2}
    config |= {"summary_use_proj": True, "summary_activation": "tanh"}
    answer = keras.layers.Dense(2, activation="softmax")(wing.SequenceSummary(config, 0.5)(states))
    squad = {"hidden_size": 8, "layer_norm_eps": 1e-5, "start_n_top": 2, "end_n_top": 2}
    beams = wing.SQuADHead(squad, initializer_range=0.5)(states)
    return keras.Model(ids, answer), keras.Model(ids, [answer, *beams])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    model, whole = make()
    rng = np.random.default_rng(0)
    x = rng.integers(1, 8, (64, 5)).astype("int32")
    y = ((x > 4).sum(1) > 2).astype("int32")
    model.compile(
        optimizer=keras.optimizers.Adam(0.02),
        loss="sparse_categorical_crossentropy",
        jit_compile=HERE != "torch",
    )
    told = model.fit(x, y, batch_size=16, epochs=8, verbose=0)
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    whole.save(path)
    whole.save_weights(path.with_name("model.weights.h5"))
    return told.history["loss"], whole, path


def predict(path, backend):
    output = path.with_name(f"{backend}.npz")
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"}
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name("reload.py"), path, output],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    with np.load(output) as found:
        loaded = set(found["loaded"].tolist())
        return [found[f"arr_{i}"] for i in range(len(found.files) - 1)], loaded


def test_training_lowers_the_loss(trained):
    losses = trained[0]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("backend", [HERE, NEXT[HERE]])
def test_a_fresh_process_predicts_the_same(trained, backend):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    _, whole, path = trained
    expected = [keras.ops.convert_to_numpy(x) for x in whole(IDS)]
    found, loaded = predict(path, backend)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert backend in loaded  # the list can tell
    assert not loaded & {"transformers", "headsmith.torch", "headsmith.pruning"}
    if backend != "torch":
        assert "torch" not in loaded


def test_weights_alone(trained):
    _, whole, path = trained
    twin = make()[1]
    twin.load_weights(path.with_name("model.weights.h5"))
    for mine, theirs in zip(twin(IDS), whole(IDS), strict=True):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(mine), keras.ops.convert_to_numpy(theirs), atol=1e-6
        )


def test_a_head_trains_on_spans():
    """The loss of `SQuADHead` is a value of its call: `add_loss` hands it to `fit`."""

    class Reader(keras.Model):
        def __init__(self):
            super().__init__()
            self.embed = keras.layers.Embedding(8, 8)
            squad = {"hidden_size": 8, "layer_norm_eps": 1e-5, "start_n_top": 2, "end_n_top": 2}
            self.head = wing.SQuADHead(squad, answer_start="soft")

        def call(self, inputs):
            states = self.embed(inputs["ids"])
            labels = {k: inputs[k] for k in ("start_positions", "end_positions")}
            labels |= {k: inputs[k] for k in ("cls_index", "is_impossible")}
            loss, *beams = self.head(states, **labels, return_predictions=True)
            self.add_loss(loss)
            return beams[-1]

    rng = np.random.default_rng(0)
    ids = rng.permuted(np.tile(np.arange(8), (64, 1)), axis=1).astype("int32")
    at = np.argmax(ids == 3, 1).astype("int32")
    inputs = {"ids": ids, "start_positions": at, "end_positions": at}
    inputs |= {"cls_index": np.zeros(64, "int32"), "is_impossible": np.zeros(64, "int32")}
    model = Reader()
    model.compile(optimizer=keras.optimizers.Adam(0.05), jit_compile=HERE != "torch")
    history = model.fit(inputs, batch_size=32, epochs=10, verbose=0).history["loss"]
    assert history[-1] < 0.7 * history[0]


def test_only_the_backend_is_imported_without_saving():
    """Using layers in a fresh process brings neither PyTorch nor Transformers."""
    if HERE == "torch":
        pytest.skip("this backend is PyTorch")
    program = (
        "import sys, numpy as np, headsmith.keras as wing;"
        "head = wing.SQuADHead(dict(hidden_size=4, layer_norm_eps=1e-5, start_n_top=1,"
        " end_n_top=1));"
        "wing.SequenceSummary({})(wing.Conv1D(4, 4)(np.ones((1, 3, 4), 'float32')));"
        "head.build();"
        "print(*(m for m in ('torch', 'transformers', 'keras') if m in sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "KERAS_BACKEND": HERE},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    assert run.stdout.split() == ["keras"]
