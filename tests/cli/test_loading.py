"""Opening models for the commands, and choosing what pruning preserves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import torch
import transformers

from headsmith.cli.loading import (
    choose_objective,
    fit_length,
    open_model,
    open_without_tokenizer,
    pick_device,
    pooling_of,
    sentence_files,
)
from headsmith.errors import CheckpointError, DataError
from headsmith.pruning.objective import MatchDistribution, MatchEmbedding, MatchHidden


def test_opens_model_and_tokenizer(tiny_encoder: Path) -> None:
    model, tokenizer = open_model(str(tiny_encoder), "cpu")
    assert isinstance(model, transformers.BertModel)
    assert not model.training
    encoded = tokenizer("The cat sleeps.")["input_ids"]
    assert len(encoded) == 4
    assert tokenizer.unk_token_id not in encoded


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/model", "a/b/c"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"model folder '{name}' does not exist"):
        open_model(name)


def test_a_file_instead_of_a_folder(texts_file: Path) -> None:
    with pytest.raises(CheckpointError, match="is a file"):
        open_model(str(texts_file))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        open_model(str(tmp_path))


def test_a_model_without_a_tokenizer(tiny_encoder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_encoder / name, tmp_path)
    assert isinstance(open_without_tokenizer(str(tmp_path)), transformers.BertModel)
    with pytest.raises(CheckpointError, match="No tokenizer can be opened"):
        open_model(str(tmp_path), "cpu")


def test_weights_that_were_not_in_the_checkpoint_are_told(
    tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_encoder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = ["BertForSequenceClassification"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    open_without_tokenizer(str(tmp_path))
    err = capsys.readouterr().err
    assert "2 weights are not in the checkpoint" in err
    assert "classifier.bias" in err


def test_device_must_exist() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert isinstance(pick_device(None), torch.device)
    with pytest.raises(click.BadParameter, match="expected a device of this machine"):
        pick_device("abacus")


def test_each_process_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr("torch.accelerator.device_count", lambda: 2)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert pick_device("auto") == torch.device("cuda")
    for place, wanted in (("0", "cuda:0"), ("1", "cuda:1"), ("2", "cuda:0")):
        monkeypatch.setenv("LOCAL_RANK", place)
        assert pick_device("auto") == torch.device(wanted)
    monkeypatch.setattr("torch.accelerator.device_count", lambda: 1)
    assert pick_device("auto") == torch.device("cuda")


def test_objective_of_a_plain_encoder(tiny_encoder: Path) -> None:
    model = open_without_tokenizer(str(tiny_encoder), "cpu")
    assert choose_objective(model, str(tiny_encoder)) == MatchHidden()
    assert choose_objective(model, str(tiny_encoder), "embedding") == MatchEmbedding("mean")
    with pytest.raises(DataError, match="needs a task head"):
        choose_objective(model, str(tiny_encoder), "distribution")


def test_objective_of_a_language_model(tiny_gpt2: Path) -> None:
    model = open_without_tokenizer(str(tiny_gpt2), "cpu")
    assert choose_objective(model, str(tiny_gpt2)) == MatchDistribution()
    with pytest.raises(DataError, match="needs a model without a task head"):
        choose_objective(model, str(tiny_gpt2), "hidden")


def test_objective_of_question_answering(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model = transformers.BertForQuestionAnswering(config)
    assert choose_objective(model, str(tmp_path)) == MatchDistribution()


@pytest.mark.parametrize(
    ("pooling", "name"),
    [
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["cls", "mean"]}, "cls+mean"),
        ({"pooling_mode_max_tokens": True}, "max"),
    ],
)
def test_pooling_is_read_as_old_and_new_versions_write_it(
    sentence_encoder: Callable[[dict[str, Any]], Path], pooling: dict[str, Any], name: str
) -> None:
    folder = str(sentence_encoder(pooling))
    assert pooling_of(folder) == name
    model = open_without_tokenizer(folder, "cpu")
    if name in ("mean", "cls"):
        assert choose_objective(model, folder) == MatchEmbedding(name)  # type: ignore[arg-type]
    else:
        assert choose_objective(model, folder) == MatchHidden()
        with pytest.raises(DataError, match="knows mean and cls pooling"):
            choose_objective(model, folder, "embedding")


def test_the_encoder_of_a_sentence_model_is_opened_without_its_head(
    sentence_encoder: Callable[[dict[str, Any]], Path],
) -> None:
    folder = sentence_encoder({"pooling_mode": "mean"})
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["BertForMaskedLM"]
    (folder / "config.json").write_text(json.dumps(config))
    assert isinstance(open_without_tokenizer(str(folder), "cpu"), transformers.BertModel)


def test_sentence_files_open_as_a_sentence_model(
    sentence_encoder: Callable[[dict[str, Any]], Path], tiny_encoder: Path
) -> None:
    folder = sentence_encoder({"pooling_mode": "mean"})
    assert set(sentence_files(str(folder))) == {"modules.json", "1_Pooling/config.json"}
    assert sentence_files(str(tiny_encoder)) == {}


def test_sentence_files_leave_out_models_with_further_weights(
    sentence_encoder: Callable[[dict[str, Any]], Path],
) -> None:
    folder = sentence_encoder({"pooling_mode": "mean"})
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 3, "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    assert sentence_files(str(folder)) == {}


@pytest.mark.parametrize("path", ["../secret", "/etc", "a/b", ""])
def test_a_module_path_cannot_leave_the_folder(
    sentence_encoder: Callable[[dict[str, Any]], Path], path: str
) -> None:
    folder = sentence_encoder({"pooling_mode": "mean"})
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder.parent / "secret").mkdir()
    (folder.parent / "secret" / "config.json").write_text('{"pooling_mode": "cls"}')
    assert pooling_of(str(folder)) is None


@pytest.mark.parametrize("text", ["", "{", "7", "[]", "[1, null]", '[{"type": 3}]'])
def test_damaged_sentence_files_count_as_none(
    tiny_encoder: Path, tmp_path: Path, text: str
) -> None:
    shutil.copytree(tiny_encoder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "modules.json").write_text(text)
    assert pooling_of(str(tmp_path)) is None
    assert sentence_files(str(tmp_path)) == {}


def test_length_is_cut_to_the_positions_there_are(tiny_encoder: Path) -> None:
    model = open_without_tokenizer(str(tiny_encoder), "cpu")
    assert fit_length(model, 128) == 32
    assert fit_length(model, 16) == 16
