"""Weights go both ways for every layer that has some, or not at all."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")

from headsmith import keras as ours  # noqa: E402
from headsmith import torch as theirs  # noqa: E402
from headsmith.convert import state_dict, to_keras, to_torch  # noqa: E402

CONFIG = {
    "hidden_size": 8,
    "layer_norm_eps": 1e-5,
    "start_n_top": 3,
    "end_n_top": 2,
    "summary_type": "attn",
    "summary_num_heads": 2,
    "summary_use_proj": True,
    "summary_proj_to_labels": True,
    "num_labels": 3,
}
LAYERS = {
    "Conv1D": lambda wing: wing.Conv1D(6, 8),
    "AttentionPooling": lambda wing: wing.AttentionPooling(8, 2),
    **{
        name: lambda wing, name=name: getattr(wing, name)(SimpleNamespace(**CONFIG))
        for name in (
            "PoolerAnswerClass",
            "PoolerEndLogits",
            "PoolerStartLogits",
            "SQuADHead",
            "SequenceSummary",
        )
    },
}
GIVEN = {"PoolerEndLogits", "PoolerAnswerClass"}


def call(layer, name, x):
    if name not in GIVEN:
        return layer(x)
    start = np.array([1, 4])
    return layer(x, start_positions=torch.from_numpy(start) if torch.is_tensor(x) else start)


def arrays(outputs):
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return [
        x.detach().numpy() if torch.is_tensor(x) else keras.ops.convert_to_numpy(x) for x in outputs
    ]


@pytest.mark.parametrize("name", LAYERS)
def test_there_and_back(name, rng):
    module = LAYERS[name](theirs)
    layer = to_keras(module, LAYERS[name](ours))
    x = rng.normal(size=(2, 5, 8)).astype("float32")
    expected = arrays(call(module, name, torch.from_numpy(x)))
    for mine, truth in zip(arrays(call(layer, name, x)), expected, strict=True):
        np.testing.assert_allclose(mine, truth, atol=1e-5)
    back = to_torch(layer, LAYERS[name](theirs))
    assert list(back.state_dict()) == list(module.state_dict())
    for key, value in module.state_dict().items():
        assert torch.equal(back.state_dict()[key], value), key
    found = state_dict(layer)
    assert found.keys() == module.state_dict().keys()
    for key, value in found.items():
        np.testing.assert_array_equal(value, module.state_dict()[key])


def test_a_layer_within_a_model_and_a_prefix(rng):
    inputs = keras.Input((None, 8))
    head = ours.SQuADHead(CONFIG, name="qa_outputs")
    model = keras.Model(inputs, head(inputs))
    module = torch.nn.ModuleDict({"qa": theirs.SQuADHead(SimpleNamespace(**CONFIG))})
    to_keras(module, head, prefix="qa")
    x = rng.normal(size=(2, 5, 8)).astype("float32")
    expected = arrays(module["qa"](torch.from_numpy(x)))
    for mine, truth in zip(arrays(tuple(model(x))), expected, strict=True):
        np.testing.assert_allclose(mine, truth, atol=1e-5)
    assert set(state_dict(model)) == {f"qa_outputs.{n}" for n in state_dict(head)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes(dtype):
    module = theirs.Conv1D(6, 8).to(dtype)
    layer = to_keras(module, ours.Conv1D(6, 8))
    back = to_torch(layer, theirs.Conv1D(6, 8).to(dtype))
    exact = torch.float32 if dtype == torch.float64 else dtype
    assert torch.equal(back.weight.to(exact), module.weight.to(exact))


def test_a_plain_dense_model():
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    model = keras.Sequential(
        [keras.layers.Dense(4, name="0"), keras.layers.LayerNormalization(name="1")]
    )
    model.build((None, 3))
    to_keras(module, model)
    assert set(state_dict(model)) == set(module.state_dict())


@pytest.mark.parametrize("target", ["keras", "torch"])
def test_what_does_not_fit_changes_nothing(target):
    make, fill = (ours, to_keras) if target == "keras" else (theirs, to_torch)
    layer = make.Conv1D(6, 8)
    before = state_dict(layer)
    good = {"weight": np.ones((8, 6), "float32"), "bias": np.ones(6, "float32")}
    for bad, message in (
        ({"weight": good["weight"]}, "'bias' is missing"),
        ({**good, "more": np.ones(1)}, "'more' has no place"),
        ({**good, "weight": np.ones((6, 8))}, r"'weight' is \(6, 8\) and should be \(8, 6\)"),
        ({}, "'bias' is missing; 'weight' is missing. Nothing was changed"),
    ):
        with pytest.raises(ValueError, match=message):
            fill(bad, layer)
    for name, value in state_dict(layer).items():
        np.testing.assert_array_equal(value, before[name])


def test_what_is_no_source_or_target():
    with pytest.raises(TypeError, match="Received: 3"):
        state_dict(3)
    with pytest.raises(TypeError, match="Received: Conv1D"):
        to_keras({}, theirs.Conv1D(6, 8))
    with pytest.raises(TypeError, match="Received: Conv1D"):
        to_torch({}, ours.Conv1D(6, 8))
    with pytest.raises(ValueError, match="has no weights yet"):
        state_dict(keras.Sequential([keras.layers.Dense(2)]))
