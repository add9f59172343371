"""Killed at any point, `headsmith prune` goes on from there, and comes to the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

_STAGES = ("statistics", "sensitivity", "repair", "quality", "saving")

# One process imports all there is, and begins each job in a fork of itself.
_CODE = """
import collections, contextlib, json, os, signal, sys
import torch
torch.set_num_threads(1)
import headsmith.cli.job, headsmith.cli.prune, headsmith.pruning.pipeline, headsmith.report.page
import transformers.models.bert.modeling_bert
from headsmith.cli.main import run
from headsmith.cli.output import Output

def begin(stage, arguments):
    calls = collections.Counter()
    @contextlib.contextmanager
    def progress(self):
        def report(name, done, total):
            calls[name] += 1
            # Past the middle of the stage.
            if name == stage and done * 2 > total:
                os.kill(os.getpid(), signal.SIGKILL)
        yield report
    Output.progress = progress
    if stage == "saving":
        def save(self, folder, **_):
            open(os.path.join(folder, "model.safetensors"), "wb").write(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        transformers.PreTrainedModel.save_pretrained = save
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        code = run([*arguments, "--quiet"])
        os.write(writer, json.dumps({"code": code, "calls": calls}).encode())
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    told = os.read(reader, 100000)
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    return json.loads(told)

found = {}
folder, stages, arguments = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
saved = transformers.PreTrainedModel.save_pretrained
for stage in ["none", *stages]:
    out = os.path.join(folder, stage)
    own = [*arguments, "-o", out]
    killed = begin(stage, own)
    left = sorted(n for n in os.listdir(folder) if not n.startswith(".") and n.startswith(stage))
    transformers.PreTrainedModel.save_pretrained = saved
    again = begin(None, own) if stage != "none" else None
    after = sorted(n for n in os.listdir(folder) if n.strip(".").startswith(stage))
    found[stage] = {"killed": killed, "left": left, "again": again, "after": after}
print("FOUND" + json.dumps(found))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed_anywhere_it_goes_on_and_comes_to_the_same(
    tiny_encoder: Path, texts_file: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    arguments = ["prune", str(tiny_encoder), "--data", str(texts_file), "--flops", "0.5"]
    done = subprocess.run(
        [
            sys.executable, "-c", _CODE, str(tmp_path), ",".join(_STAGES),
            *arguments, "--length", "16", "--no-time",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    found = json.loads(done.stdout.partition("FOUND")[2])
    whole = found["none"]["killed"]
    assert whole["code"] == 0
    assert found["none"]["after"] == ["none"]
    weights = load_file(tmp_path / "none/model.safetensors")
    plan = (tmp_path / "none/headsmith-plan.json").read_text()
    for stage in _STAGES:
        one = found[stage]
        assert one["killed"] == {"signal": 9}, stage
        # In the first pass over the texts nothing is finished yet.
        assert one["left"] == ([] if stage == "statistics" else [f"{stage}.work"])
        assert one["again"]["code"] == 0
        assert one["after"] == [stage]
        assert (tmp_path / stage / "headsmith-plan.json").read_text() == plan
        again = load_file(tmp_path / stage / "model.safetensors")
        assert weights.keys() == again.keys()
        assert all((weights[name] == again[name]).all() for name in weights), stage
    calls = {stage: found[stage]["again"]["calls"] for stage in _STAGES}
    # What was finished was not done again.
    assert calls["statistics"]["sensitivity"] <= whole["calls"]["sensitivity"]
    assert 0 < calls["sensitivity"]["sensitivity"] < whole["calls"]["sensitivity"]
    for stage in ("repair", "quality", "saving"):
        assert "sensitivity" not in calls[stage]
        assert "statistics" not in calls[stage]


def test_another_model_data_or_setting_is_not_taken_over(
    headsmith: Run, tiny_encoder: Path, texts_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from headsmith.pruning import pipeline
    from headsmith.pruning.work import Work

    out = tmp_path / "out"
    arguments = ["prune", tiny_encoder, "--data", texts_file, "-o", out, "--no-time"]

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "repair", stop)
    answer = headsmith(*arguments, "--flops", 0.5)
    assert answer.code == 130
    assert "the same command goes on from there" in answer.err
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("out")] == ["out.work"]
    monkeypatch.undo()
    read: list[tuple[str, bool]] = []
    own = Work._json

    def noting(self: Work, name: str, key: str) -> Any:
        held = own(self, name, key)
        read.append((name, held is not None))
        return held

    monkeypatch.setattr(Work, "_json", noting)
    # Another seed: nothing of it fits. Another budget: the scores do.
    monkeypatch.setattr(pipeline, "repair", stop)
    assert headsmith(*arguments, "--flops", 0.5, "--seed", 3).code == 130
    assert read
    assert not any(held for _, held in read)
    read.clear()
    assert headsmith(*arguments, "--params", 0.6, "--seed", 3).code == 130
    assert read
    assert all(held for _, held in read)
    monkeypatch.setattr(pipeline, "repair", lambda *_, **__: {})
    read.clear()
    answer = headsmith(*arguments, "--params", 0.6, "--seed", 3, "--no-resume")
    assert answer.code == 0, answer.err
    assert not any(held for _, held in read)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("out")] == ["out"]


def test_a_folder_of_that_name_that_is_something_else_is_left_alone(
    headsmith: Run, tiny_encoder: Path, texts_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "out.work").mkdir()
    (tmp_path / "out.work/mine.txt").write_text("precious")
    answer = headsmith(
        "prune", tiny_encoder, "--data", texts_file, "--flops", 0.5, "-o", tmp_path / "out"
    )
    assert answer.code == 5
    assert "was not left by an interrupted run" in answer.err
    assert (tmp_path / "out.work/mine.txt").read_text() == "precious"


def test_damaged_files_are_as_good_as_none(tmp_path: Path) -> None:
    import torch

    from headsmith.pruning.work import Work

    work = Work(tmp_path / "w")
    work.write("scores-0", "key", {"a": [1.5, float("nan")]})
    work.write_tensors("repair-0", "key", {"x": torch.ones(2)}, {"b": 1})
    again = Work(tmp_path / "w")
    assert again.read("scores-0", "key")["a"][0] == 1.5
    assert again.read("scores-0", "other") is None
    held = again.read_tensors("repair-0", "key")
    assert held is not None
    assert (held[0]["x"].tolist(), held[1]) == ([1, 1], {"b": 1})
    assert again.read_tensors("repair-0", "other") is None
    assert again.found == ["scores", "repair"]
    for name, junk in (("scores-0.json", b"{"), ("repair-0.safetensors", b"\xff" * 40)):
        (tmp_path / "w" / name).write_bytes(junk)
    assert again.read("scores-0", "key") is None
    assert again.read_tensors("repair-0", "key") is None
    again.remove()
    assert not (tmp_path / "w").exists()
