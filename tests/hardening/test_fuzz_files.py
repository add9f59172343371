"""Spoilt files: tables, texts, weights, HDF5 and archives are read or refused, never a crash."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hardening.spoil import EDITS, spoil_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from headsmith.convert import read_tensorflow_checkpoint
from headsmith.errors import CheckpointError, DataError, HeadsmithError
from headsmith.pruning import load
from headsmith.pruning.data import read_texts

ONE_FOLDER = [HealthCheck.function_scoped_fixture]
TABLE = 'text,stars\n"A text, quoted.",3\nAnother one,4\n"With ""marks""\nand lines",5\n'
LINES = '{"text": "One."}\n"Two."\n{"text": "Drei – vier.", "stars": 3}\n'


@settings(suppress_health_check=ONE_FOLDER)
@given(
    st.sampled_from([("t.csv", TABLE), ("t.tsv", TABLE), ("t.jsonl", LINES), ("t.txt", LINES)]),
    EDITS,
)
def test_texts(tmp_path: Path, given_file: tuple[str, str], edits: Any) -> None:
    name, right = given_file
    (tmp_path / name).write_bytes(spoil_bytes(right.encode(), edits))
    try:
        texts = read_texts(tmp_path / name)
    except DataError as error:
        assert str(error)
    else:
        assert texts
        assert all(t == t.strip() and t for t in texts)
        assert len(set(texts)) == len(texts)


@settings(max_examples=40, suppress_health_check=ONE_FOLDER)
@given(EDITS)
def test_weights(tmp_path: Path, tiny_encoder: Path, edits: Any) -> None:
    """Bytes of the header decide; spoilt values are values, and NaN is found before pruning."""
    folder = tmp_path / "model"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(tiny_encoder, folder)
    file = folder / "model.safetensors"
    right = file.read_bytes()
    size = 8 + int.from_bytes(right[:8], "little")
    file.write_bytes(spoil_bytes(right[:size], edits) + right[size:])
    try:
        state = load(folder).state_dict()
    except HeadsmithError as error:
        assert str(error)
    else:
        kept = load_file(file)
        assert all(torch.equal(state[n], w) for n, w in kept.items() if n in state)


def test_hdf5(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "tf_model.h5"
    with h5py.File(path, "w") as root:
        group = root.create_group("transformer")
        group.attrs["weight_names"] = [b"transformer/h_._0/attn/c_attn/weight:0"]
        group.create_dataset("transformer/h_._0/attn/c_attn/weight:0", data=np.ones((4, 12)))
    right = path.read_bytes()
    assert read_tensorflow_checkpoint(path)

    @settings(max_examples=200, suppress_health_check=ONE_FOLDER)
    @given(EDITS)
    def spoil(edits: Any) -> None:
        path.write_bytes(spoil_bytes(right, edits))
        try:
            found = read_tensorflow_checkpoint(path)
        except CheckpointError as error:
            assert str(error)
        else:
            assert all(isinstance(array, np.ndarray) for array in found.values())

    spoil()


def test_a_small_file_cannot_fill_memory(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "tf_model.h5", "w") as root:
        root.create_dataset("a/kernel:0", shape=(2**20, 2**20), dtype="f4", chunks=(1024, 1024))
    with pytest.raises(CheckpointError, match=r"takes 4,398,046,511,104 bytes, but holds 0"):
        read_tensorflow_checkpoint(tmp_path)


def test_an_index_of_shards_stays_in_its_folder(tmp_path: Path) -> None:
    @settings(max_examples=60)
    @given(st.dictionaries(st.text(max_size=5), st.text(max_size=12) | st.integers()))
    def spoil(weight_map: dict[str, object]) -> None:
        index = tmp_path / "tf_model.h5.index.json"
        index.write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
        with pytest.raises(CheckpointError):
            read_tensorflow_checkpoint(tmp_path)

    spoil()
