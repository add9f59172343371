"""Spoilt JSON from outside is read, or refused with an error of ours: never a crash."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from hardening.spoil import VALUES, spoilt_trees
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from headsmith.cli.loading import pooling_of, sentence_files
from headsmith.cli.qa_common import read_labelled
from headsmith.errors import CheckpointError, DataError, HeadsmithError, PlanError
from headsmith.pruning import load
from headsmith.qa.settings import QASettings
from headsmith.qa.squad_data import Problems, read_squad
from headsmith.report.headline import headline
from headsmith.report.page import render
from headsmith.report.qa_page import qa_headline, render_qa
from headsmith.spec.plan import BlockPlan, PrunePlan
from headsmith.spec.qa_run import QARunRecord
from headsmith.spec.run import BlockRun, LatencyRun, RunRecord, Timing

# The folder is written anew for each example.
ONE_FOLDER = [HealthCheck.function_scoped_fixture]

PLAN = PrunePlan(
    "bert",
    {
        "encoder.layer.0.attention": BlockPlan("heads", 4, (0, 2)),
        "encoder.layer.1.intermediate": BlockPlan("neurons", 48, tuple(range(32))),
    },
).to_dict()

RUN = RunRecord(
    model="tiny",
    model_type="bert",
    model_class="BertModel",
    headsmith="0.1.0",
    versions={"torch": "2.13.0"},
    machine={"device": "cpu", "cores": 2},
    created="2025-06-01T12:00:00+00:00",
    command="headsmith prune tiny",
    settings={"flops": 0.5, "repair": True},
    data={"source": "texts.txt", "texts": 60},
    blocks=[
        BlockRun("encoder.layer.0.attention", "heads", 0, 4, [0, 2], [0.1, 0.2, 0.3, 0.4], 0.2),
        BlockRun("encoder.layer.0.intermediate", "neurons", 0, 8, [0, 1, 7], [], 0.2, 0.1),
    ],
    before={"flops": 100, "parameters": 10, "encoder_parameters": 9, "bytes": 40},
    after={"flops": 50, "parameters": 8, "encoder_parameters": 7, "bytes": 32},
    quality={"cosine": 0.9, "cosine_low": 0.8},
    latency=[LatencyRun(1, 32, Timing(9.0, 8.0, 10.0, 5), Timing(6.0, 5.0, 7.0, 5))],
    seconds={"statistics": 1.0},
    samples=[{"text": "A text.", "cosine": 0.9}],
).to_dict()

QA_RUN = QARunRecord(
    model="tiny",
    model_type="bert",
    headsmith="0.1.0",
    versions={},
    machine={},
    created="2025-06-01T12:00:00+00:00",
    command="",
    settings={"epochs": 2},
    data={"train": "a.json", "questions": 9},
    losses=[(1, 3.0), (2, 2.0)],
    seconds={"training": 2.0},
    scores={"exact": 10.0, "f1": 20.0, "total": 9},
    calibration={"source": "class", "threshold": 0.5},
    thresholds=[(0.0, 10.0), (1.0, 20.0)],
    samples=[{"question": "Who?", "answer": "A cat", "right": ["A cat"], "f1": 1.0}],
).to_dict()

SQUAD: dict[str, Any] = {
    "version": "v2.0",
    "data": [
        {
            "title": "t",
            "paragraphs": [
                {
                    "context": "The cat sleeps on the wall.",
                    "qas": [
                        {
                            "id": "a",
                            "question": "Who?",
                            "answers": [{"text": "The cat", "answer_start": 0}],
                            "is_impossible": False,
                        },
                        {"id": "b", "question": "When?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ],
}


@given(spoilt_trees(PLAN))
def test_plans(tree: Any) -> None:
    try:
        plan = PrunePlan.from_dict(tree)
    except PlanError as error:
        assert str(error)
    else:
        assert PrunePlan.from_dict(plan.to_dict()) == plan


@settings(max_examples=150)
@given(spoilt_trees(RUN, most=2))
def test_records_of_pruning(tree: Any) -> None:
    try:
        record = RunRecord.from_dict(tree)
        assert headline(record)
        assert render(record).startswith("<!DOCTYPE html>")
    except DataError as error:
        assert str(error)


@settings(max_examples=150)
@given(spoilt_trees(QA_RUN, most=2))
def test_records_of_training(tree: Any) -> None:
    try:
        record = QARunRecord.from_dict(tree)
        assert qa_headline(record)
        assert render_qa(record).startswith("<!DOCTYPE html>")
    except DataError as error:
        assert str(error)


@settings(suppress_health_check=ONE_FOLDER)
@given(st.one_of(spoilt_trees(SQUAD), VALUES), st.booleans(), st.booleans())
def test_questions(tmp_path: Path, tree: Any, labels: bool, refuse: bool) -> None:
    text = json.dumps(tree)
    (tmp_path / "d.json").write_text(text, encoding="utf-8")
    try:
        found = list(read_squad(tmp_path / "d.json", labels=labels, problems=Problems(refuse)))
        read_labelled(tmp_path / "d.json", "skip", Problems())
    except DataError as error:
        assert str(error)
    else:
        for question in found:
            assert question.question.strip()
            for answer in question.answers:
                assert question.context.startswith(answer.text, answer.start)


@given(spoilt_trees(json.loads(QASettings().to_json())))
def test_settings_of_qa(tree: Any) -> None:
    try:
        found = QASettings.from_json(json.dumps(tree))
    except CheckpointError as error:
        assert str(error)
    else:
        assert QASettings.from_json(found.to_json()) == found


@settings(max_examples=60, suppress_health_check=ONE_FOLDER)
@given(spoilt_trees({"quantization_config": {"quant_method": "headsmith", "plan": PLAN}}))
def test_configs_of_checkpoints(tmp_path: Path, tiny_encoder: Path, tree: Any) -> None:
    assume(isinstance(tree, dict))
    folder = tmp_path / "model"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(tiny_encoder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **tree}))
    try:
        state = load(folder).state_dict()
    except HeadsmithError as error:
        assert str(error)
    else:
        # An emptied plan, or none: then the weights are those of the file, not random ones.
        saved = load_file(folder / "model.safetensors")
        assert all(torch.equal(state[name], weight) for name, weight in saved.items())


@settings(suppress_health_check=ONE_FOLDER)
@given(
    spoilt_trees(
        [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_P", "type": "sentence_transformers.models.Pooling"},
        ]
    ),
    spoilt_trees({"pooling_mode": "mean", "pooling_mode_mean_tokens": True}),
)
def test_files_of_sentence_transformers(tmp_path: Path, modules: Any, pooling: Any) -> None:
    (tmp_path / "1_P").mkdir(exist_ok=True)
    (tmp_path / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (tmp_path / "1_P" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    found = pooling_of(str(tmp_path))
    assert found is None or isinstance(found, str)
    for name in sentence_files(str(tmp_path)):
        assert (tmp_path / name).resolve().is_relative_to(tmp_path.resolve())
