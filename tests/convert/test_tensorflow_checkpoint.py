"""Checkpoints that 4.34 wrote from TensorFlow, read without TensorFlow."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

from headsmith.convert import read_tensorflow_checkpoint, to_keras, to_torch  # noqa: E402
from headsmith.errors import CheckpointError  # noqa: E402

FOLDER = Path(__file__).parents[1] / "golden"
GPT2 = FOLDER / "checkpoints" / "gpt2_double_heads"


def place(case):
    """Give the prefix of a case's layer in PyTorch's names."""
    return case["id"].partition("double_heads_")[2].replace("/h_", "/h/").replace("/", ".")


@pytest.mark.golden("tf_checkpoints")
def test_into_both_wings(case, golden):
    torch = pytest.importorskip("torch")
    keras = pytest.importorskip("keras")
    from headsmith import keras as ours
    from headsmith import torch as theirs

    state = read_tensorflow_checkpoint(FOLDER / case["checkpoint"])
    args = [a.values for a in case["args"]]
    if case["item"] == "TFConv1D":
        nf, nx = case["outputs"].values.shape[-1], args[0].shape[-1]
        layer, module = ours.TFConv1D(nf, nx), theirs.Conv1D(nf, nx)
    else:
        layer = ours.TFSequenceSummary(case["config"])
        module = theirs.SequenceSummary(case["config"]).eval()
    to_keras(state, layer, prefix=place(case))
    to_torch(state, module, prefix=place(case))
    tensors = [torch.from_numpy(a) for a in args]
    tensors = [t if t.is_floating_point() else t.long() for t in tensors]
    for got in (keras.ops.convert_to_numpy(layer(*args)), module(*tensors).detach().numpy()):
        golden.assert_close(
            got.astype(np.float64), case["outputs"].values, atol=case["atol"], rtol=case["rtol"]
        )


def test_the_whole_checkpoint_has_pytorchs_names():
    state = read_tensorflow_checkpoint(GPT2)
    assert len(state) == 30
    assert state["transformer.h.1.mlp.c_fc.weight"].shape == (16, 64)
    assert state["transformer.h.1.mlp.c_fc.bias"].shape == (64,)
    assert state["transformer.ln_f.weight"].shape == (16,)
    assert state["multiple_choice_head.summary.weight"].shape == (1, 16)
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config.from_pretrained(GPT2)
    model = transformers.GPT2DoubleHeadsModel(config)
    theirs = {n: tuple(p.shape) for n, p in model.named_parameters() if n in state}
    assert theirs == {n: v.shape for n, v in state.items()}


def write(path, weights):
    """Write what Keras 2 wrote: weights grouped by layer, their names listed in attributes."""
    with h5py.File(path, "w") as root:
        for group, names in weights.items():
            home = root.create_group(group)
            home.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in names.items():
                home[name] = value


@pytest.mark.parametrize("model", ["tfxl_net_for_sequence_classification", "tfxlm_for_x"])
def test_xlnet_and_xlm(tmp_path, model, rng):
    """The names of TFXLNetForSequenceClassification and TFXLMForSequenceClassification."""
    kernel, bias, q = rng.normal(size=(4, 3)), rng.normal(size=3), rng.normal(size=(4, 2, 2))
    names = {
        f"{model}/sequence_summary/summary/kernel:0": kernel,
        f"{model}/sequence_summary/summary/bias:0": bias,
    }
    body = {f"{model}/transformer/layer_._0/rel_attn/q:0": q}
    write(tmp_path / "tf_model.h5", {"sequence_summary": names, "transformer": body})
    state = read_tensorflow_checkpoint(tmp_path)
    torch = pytest.importorskip("torch")
    from headsmith.torch import SequenceSummary

    config = SimpleNamespace(
        summary_type="last", summary_use_proj=True, hidden_size=4, num_labels=3
    )
    config.summary_proj_to_labels = True
    module = to_torch(state, SequenceSummary(config), prefix="sequence_summary")
    x = rng.normal(size=(2, 5, 4)).astype("float32")
    np.testing.assert_allclose(
        module(torch.from_numpy(x)).detach(), x[:, -1] @ kernel + bias, atol=1e-5
    )
    np.testing.assert_array_equal(state["transformer.layer.0.rel_attn.q"], q)


def test_shards(tmp_path):
    """Shards hold each weight under its own name, without the model's."""
    names = {"transformer/h_._0/c/weight:0": "one.h5", "transformer/h_._0/c/bias:0": "two.h5"}
    for name, file in names.items():
        with h5py.File(tmp_path / file, "w") as root:
            root[name] = np.ones((1, 3) if "bias" in name else (2, 3))
    index = tmp_path / "tf_model.h5.index.json"
    index.write_text(json.dumps({"weight_map": {f"m/{n}": f for n, f in names.items()}}))
    state = read_tensorflow_checkpoint(tmp_path)
    assert {n: v.shape for n, v in state.items()} == {
        "transformer.h.0.c.weight": (2, 3),
        "transformer.h.0.c.bias": (3,),
    }
    index.write_text(json.dumps({"weight_map": {"a": "../one.h5"}}))
    with pytest.raises(CheckpointError, match="outside its folder"):
        read_tensorflow_checkpoint(tmp_path)
    index.write_text("[]")
    with pytest.raises(CheckpointError, match="no index"):
        read_tensorflow_checkpoint(tmp_path)


def test_what_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        read_tensorflow_checkpoint(tmp_path)
    path = tmp_path / "tf_model.h5"
    path.write_bytes(b"no")
    with pytest.raises(CheckpointError, match="cannot be read as an HDF5 file"):
        read_tensorflow_checkpoint(path)
    h5py.File(path, "w").close()
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_tensorflow_checkpoint(path)
    write(path, {"a": {"m/x/kernel:0": np.ones((2, 2))}, "b": {"m/x/kernel:0": np.ones((2, 2))}})
    with pytest.raises(CheckpointError, match="a second time"):
        read_tensorflow_checkpoint(path)
    with h5py.File(path, "w") as root:
        root["a/m/x/name:0"] = "text"
    with pytest.raises(CheckpointError, match="no weight"):
        read_tensorflow_checkpoint(path)


def test_nothing_outside_the_file_is_read(tmp_path):
    """A file may name others; a hostile one would name what is none of its business."""
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as root:
        root["m/x/kernel:0"] = np.ones((2, 2))
    path = tmp_path / "tf_model.h5"
    write(path, {"a": {"m/y/bias:0": np.ones(2)}})
    with h5py.File(path, "a") as root:
        root["a/m/linked"] = h5py.ExternalLink(str(secret), "m/x")
        root["soft"] = h5py.SoftLink("/a/m/y")
    assert list(read_tensorflow_checkpoint(path)) == ["y.bias"]
    raw = tmp_path / "raw.bin"
    raw.write_bytes(bytes(16))
    with h5py.File(path, "a") as root:
        root["a"].create_dataset("m/z/kernel:0", (2, 2), "f4", external=[(str(raw), 0, 16)])
    with pytest.raises(CheckpointError, match="in another file"):
        read_tensorflow_checkpoint(path)


def test_no_framework_is_needed():
    program = (
        "import sys; from headsmith.convert import read_tensorflow_checkpoint as read;"
        f"assert read({str(GPT2)!r});"
        "print(*(m for m in ('torch', 'tensorflow', 'jax', 'keras') if m in sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == []
