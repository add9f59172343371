"""Training: killed and resumed it ends with the same weights, and it does learn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from headsmith.errors import CheckpointError, DataError, HeadsmithError
from headsmith.qa import TrainingOptions, train
from headsmith.qa.features import Featurizer
from headsmith.qa.order import batches_of
from headsmith.qa.training import steps_of

OPTIONS = {"epochs": 2, "batch_size": 3, "save_every": 2, "learning_rate": 1e-3}


@pytest.fixture
def windows(tokenizers, questions):
    featurizer = Featurizer(tokenizers["bert"], max_length=40, stride=12)
    return [w for item in featurizer(questions) for w in item.windows], featurizer.layout


class _StopError(Exception):
    pass


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_ends_like_one_that_was_not_stopped(qa_model, windows, tmp_path, accumulate):
    import copy

    made, layout = windows
    options = TrainingOptions(accumulate=accumulate, **OPTIONS)
    broken = copy.deepcopy(qa_model)
    with torch.no_grad():
        for module in (*qa_model.modules(), *broken.modules()):
            if isinstance(module, torch.nn.Dropout):
                assert module.p > 0  # or the test would not see the random state
    whole = train(qa_model, made, layout, options)
    seen = []

    def told(step, total, loss):
        seen.append(loss)
        if step == 5:
            raise _StopError

    fresh = copy.deepcopy(broken)
    with pytest.raises(_StopError):
        train(broken, made, layout, options, folder=tmp_path, told=told)
    assert [p.name for p in tmp_path.iterdir()] == ["step-000004"]
    torch.manual_seed(123)  # whatever state the process is in
    rest = train(fresh, made, layout, options, folder=tmp_path, resume=True)
    assert rest.resumed_at == 4
    assert rest.losses == whole.losses
    assert rest.losses[:5] == seen
    assert rest.steps == whole.steps == steps_of(len(made), options)[1] == len(whole.losses)
    for key, value in qa_model.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value), key


_PROGRAM = """
import sys
from headsmith.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_killed_for_real(qa_model, tokenizers, squad_file, tmp_path):
    encoder = tmp_path / "encoder"
    qa_model.encoder.save_pretrained(encoder)
    tokenizers["bert"].save_pretrained(encoder)

    def start(out: Path, *more: str) -> subprocess.Popen:
        words = ["qa", "train", encoder, "--data", squad_file, "-o", out, "--cpu"]
        words += ["--epochs", "8", "--batch-size", "2", "--save-every", "3"]
        words += ["--max-length", "40", "--stride", "12", "--quiet", *more]
        return subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *map(str, words)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
        )

    killed = start(tmp_path / "killed")
    states = tmp_path / "killed.training"
    limit = time.monotonic() + 120
    while len(list(states.glob("step-*"))) == 0 and killed.poll() is None:
        assert time.monotonic() < limit
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    for process in (start(tmp_path / "killed", "--resume"), start(tmp_path / "whole")):
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors.decode()
    assert not states.exists()
    records = []
    for name in ("killed", "whole"):
        folder = tmp_path / name
        records.append(json.loads((folder / "headsmith-run.json").read_text()))
    assert records[0]["data"]["resumed_at_step"] > 0 == records[1]["data"]["resumed_at_step"]
    assert records[0]["losses"] == records[1]["losses"]
    for file in ("model.safetensors", "qa_head.safetensors"):
        one, two = (load_file(tmp_path / name / file) for name in ("killed", "whole"))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[k], two[k]) for k in one)


def test_it_learns_its_own_data(qa_model, tokenizers, questions):
    from headsmith.qa import evaluate
    from headsmith.qa.predicting import predict_features

    featurizer = Featurizer(tokenizers["bert"], max_length=60, stride=12)
    asked = [q for q in questions if q.answers]
    items = featurizer(asked)
    made = [w for item in items for w in item.windows]
    options = TrainingOptions(epochs=40, batch_size=8, learning_rate=5e-3)
    for module in qa_model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    result = train(qa_model, made, featurizer.layout, options)
    assert result.losses[-1] < 0.5 * result.losses[0]
    found = predict_features(qa_model, featurizer.layout, items)
    assert evaluate(asked, {p.id: p.answer for p in found}).f1 > 60


@pytest.fixture
def other_precision():
    """Accelerate keeps one precision for a process: let it forget, before and after."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("other_precision")
def test_mixed_precision_leaves_no_wrapper(qa_model, windows):
    made, layout = windows
    options = TrainingOptions(epochs=1, batch_size=8, mixed_precision="bf16")
    result = train(qa_model, made, layout, options)
    assert np.isfinite(result.losses).all()
    assert "forward" not in vars(qa_model)
    assert all(p.dtype == torch.float32 for p in qa_model.parameters())


def test_a_state_of_another_run_is_refused(qa_model, windows, tmp_path):
    made, layout = windows
    options = TrainingOptions(**OPTIONS)
    train(qa_model, made, layout, options, folder=tmp_path)
    (state,) = tmp_path.iterdir()
    for changed, match in (
        (TrainingOptions(**{**OPTIONS, "seed": 1}), "seed 0 → 1"),
        (TrainingOptions(**{**OPTIONS, "batch_size": 4}), "batch_size 3 → 4"),
    ):
        with pytest.raises(CheckpointError, match=match):
            train(qa_model, made, layout, changed, folder=tmp_path, resume=True)
    with pytest.raises(CheckpointError, match="data"):
        train(qa_model, made[1:], layout, options, folder=tmp_path, resume=True)
    weights = state / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot be taken up"):
        train(qa_model, made, layout, options, folder=tmp_path, resume=True)
    (state / "state.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot be read"):
        train(qa_model, made, layout, options, folder=tmp_path, resume=True)
    assert not list(tmp_path.rglob("*.pt")) + list(tmp_path.rglob("*.bin"))


def test_a_loss_that_is_no_number_stops_the_run(qa_model, windows):
    made, layout = windows
    with torch.no_grad():
        qa_model.head.start_logits.dense.bias.fill_(float("nan"))
    with pytest.raises(HeadsmithError, match="loss of step 1 is nan"):
        train(qa_model, made, layout)
    with pytest.raises(DataError, match="nothing to train on"):
        train(qa_model, [], layout)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"warmup": 1.5}, {"learning_rate": 0.0}, {"save_every": 0}]
)
def test_options_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainingOptions(**wrong)


def test_the_order_hangs_on_seed_and_epoch_alone():
    lengths = np.random.default_rng(0).integers(10, 200, 500).tolist()
    one, again = (batches_of(lengths, 8, 1, 2) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert sorted(int(i) for b in one for i in b) == list(range(500))
    others = [batches_of(lengths, 8, 2, 2), batches_of(lengths, 8, 1, 3)]
    assert all(
        any(len(a) != len(b) or (a != b).any() for a, b in zip(one, o, strict=True)) for o in others
    )
    # Windows of like length together: little padding.
    padding = sum(max(lengths[i] for i in b) * len(b) for b in one) / sum(lengths)
    assert padding < 1.1
