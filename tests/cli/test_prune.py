"""`headsmith prune`: from texts to a folder that loads, and a clear word about what cannot be."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from headsmith.pruning import load, plan_of
from headsmith.spec.plan import PrunePlan
from headsmith.spec.run import RunRecord

Run = Callable[..., Any]


def _prune(headsmith: Run, model: Path, data: Path, *options: object) -> Any:
    return headsmith("prune", model, "--data", data, "--length", 16, *options)


@pytest.mark.parametrize("budget", [("--flops", 0.5), ("--params", 0.5), ("--keep", 0.5)])
def test_prunes_saves_and_reports(
    headsmith: Run, tiny_encoder: Path, texts_file: Path, tmp_path: Path, budget: tuple[str, float]
) -> None:
    out = tmp_path / "out"
    answer = _prune(headsmith, tiny_encoder, texts_file, *budget, "-o", out)
    assert answer.code == 0, answer.err
    assert answer.err == ""
    for word in ("parameters", "FLOPs", "attention heads", "latency, batch 32", "mean cosine"):
        assert word in answer.out
    model = AutoModel.from_pretrained(out)
    assert not plan_of(model).is_empty
    assert PrunePlan.from_json((out / "headsmith-plan.json").read_text()) == plan_of(model)
    record = RunRecord.from_json((out / "headsmith-run.json").read_text())
    key = "flops" if budget[0] == "--flops" else "encoder_parameters"
    assert 0 < record.after[key] <= 0.5 * record.before[key]
    assert record.after["parameters"] == sum(p.numel() for p in model.parameters())
    assert (out / "report.html").read_text().lstrip().lower().startswith("<!doctype html>")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    tokens = AutoTokenizer.from_pretrained(out)("the cat sleeps", return_tensors="pt")
    assert torch.isfinite(model(**tokens).last_hidden_state).all()


def test_gpt2_generates_after_pruning(
    headsmith: Run, tiny_gpt2: Path, texts_file: Path, tmp_path: Path
) -> None:
    answer = _prune(headsmith, tiny_gpt2, texts_file, "--flops", 0.6, "-o", tmp_path / "out")
    assert answer.code == 0, answer.err
    assert "same top choice" in answer.out
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.tensor([[3, 4, 5]])
    found = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False, pad_token_id=0
    )
    assert found.shape[1] >= 4


def test_dry_run_writes_nothing_and_its_plan_can_be_carried_out(
    headsmith: Run,
    tiny_encoder: Path,
    texts_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    human = _prune(headsmith, tiny_encoder, texts_file, "--flops", 0.5, "--dry-run")
    assert human.code == 0
    assert "encoder.layer.0.attention" in human.out
    assert "Nothing was written" in human.out
    answer = _prune(
        headsmith, tiny_encoder, texts_file, "--flops", 0.5, "--dry-run", "--format", "json"
    )
    assert list(tmp_path.iterdir()) == []
    told = json.loads(answer.out)
    plan_file = tmp_path / "plan.json"
    plan_file.write_text(answer.out)
    done = _prune(
        headsmith, tiny_encoder, texts_file, "--plan", plan_file, "-o", "out", "--format", "json"
    )
    assert done.code == 0, done.err
    run = json.loads(done.out)["run"]
    assert run["after"] == told["after"]
    assert run["before"] == told["before"]
    assert plan_of(load(tmp_path / "out")) == PrunePlan.from_dict(told["plan"])


def test_quiet_prints_the_folder_alone(
    headsmith: Run, tiny_encoder: Path, texts_file: Path, tmp_path: Path
) -> None:
    answer = _prune(
        headsmith, tiny_encoder, texts_file, "--flops", 0.5, "-o", tmp_path / "o", "-q", "--no-time"
    )
    assert (answer.out.strip(), answer.err) == (str(tmp_path / "o"), "")


@pytest.mark.parametrize("score", ["obs", "fisher", "gradient", "magnitude", "random"])
def test_every_score(
    headsmith: Run, tiny_encoder: Path, texts_file: Path, tmp_path: Path, score: str
) -> None:
    answer = _prune(
        headsmith,
        tiny_encoder,
        texts_file,
        "--flops",
        0.5,
        "--score",
        score,
        "--no-repair",
        "--no-time",
        "-o",
        tmp_path / "out",
    )
    assert answer.code == 0, answer.err


def test_rearranging_keeps_the_sizes_and_is_noted(
    headsmith: Run, tiny_encoder: Path, texts_file: Path, tmp_path: Path
) -> None:
    kept = []
    for name, more in (("plain", ()), ("rearranged", ("--rearrange",))):
        answer = _prune(
            headsmith, tiny_encoder, texts_file, "--keep", 0.5, "--score", "random", "--no-time",
            "-o", tmp_path / name, *more,
        )  # fmt: skip
        assert answer.code == 0, answer.err
        record = RunRecord.from_json((tmp_path / name / "headsmith-run.json").read_text())
        assert record.settings.get("rearrange", False) is bool(more)
        kept.append([tuple(block.kept) for block in record.blocks])
    plain, rearranged = kept
    assert [len(k) for k in plain] == [len(k) for k in rearranged]
    assert plain != rearranged


def test_an_output_folder_that_is_there(
    headsmith: Run, tiny_encoder: Path, texts_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("precious")
    options = ("--flops", 0.5, "-o", out, "--no-time")
    answer = _prune(headsmith, tiny_encoder, texts_file, *options)
    assert answer.code == 5
    assert "exists and is not empty" in answer.err
    # Not even asked to: a folder that holds no model was not ours.
    answer = _prune(headsmith, tiny_encoder, texts_file, *options, "--overwrite")
    assert answer.code == 5
    assert "holds no model" in answer.err
    assert [p.name for p in out.iterdir()] == ["mine.txt"]
    (out / "config.json").write_text("{}")
    answer = _prune(headsmith, tiny_encoder, texts_file, *options, "--overwrite")
    assert answer.code == 0, answer.err
    assert not (out / "mine.txt").exists()


def test_the_model_that_is_read_is_not_replaced(
    headsmith: Run, tiny_encoder: Path, texts_file: Path, tmp_path: Path
) -> None:
    outer = tmp_path / "outer"
    shutil.copytree(tiny_encoder, outer)
    shutil.copytree(tiny_encoder, outer / "checkpoint-1")
    for model, message in (
        (outer, "is the model itself"),
        (outer / "checkpoint-1", "holds the model"),
    ):
        answer = _prune(headsmith, model, texts_file, "--flops", 0.5, "-o", outer, "--overwrite")
        assert (answer.code, message in answer.err) == (5, True), answer.err
    assert (outer / "checkpoint-1" / "config.json").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--flops", "0"], 3, "above 0 and at most 1"),
        (["--flops", "1.5"], 3, "Received 1.5"),
        (["--params", "-1"], 3, "--params is the fraction to keep"),
        (["--flops", "nan"], 3, "Received nan"),
        (["--flops", "half"], 2, "not a valid float"),
        ([], 2, "one of --flops, --params, --latency, --keep, --size or --plan"),
        (["--flops", "0.5", "--params", "0.5"], 2, "Received --flops and --params"),
        (["--plan", "none.json"], 3, "plan none.json cannot be read"),
        (["--plan", "none.json", "--rounds", "2"], 2, "--rounds is for searching a plan"),
        (["--plan", "none.json", "--min-heads", "2"], 2, "--min-heads is for searching a plan"),
        (["--keep", "0.5", "--rounds", "2"], 2, "--rounds 2 with --keep"),
        (["--plan", "none.json", "--rearrange"], 2, "--rearrange is for searching a plan"),
        (["--flops", "0.5", "--rounds", "2", "--dry-run"], 2, "Received --rounds 2"),
        (["--size", "many"], 2, "expected a size above 0, as in 40MB"),
        (["--size", "1kB"], 3, "embeddings and the like"),
        (["--latency", "2"], 3, "--latency is the fraction"),
        (["--flops", "0.5", "--score", "best"], 2, "'best' is not one of"),
        (["--flops", "0.5", "--device", "tpu9"], 2, "device"),
        (["--flops", "0.5", "--text-column", "body"], 0, ""),
    ],
)
def test_bad_options(
    headsmith: Run,
    tiny_encoder: Path,
    texts_file: Path,
    tmp_path: Path,
    options: list[str],
    code: int,
    message: str,
) -> None:
    answer = _prune(
        headsmith, tiny_encoder, texts_file, "-o", tmp_path / "out", "--no-time", *options
    )
    assert answer.code == code
    assert message in answer.err
    assert (tmp_path / "out").exists() == (code == 0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "does not exist"),
        ("empty.txt", "", "holds no text"),
        ("one.txt", "only this\n", "At least 2 texts"),
        ("table.csv", "a,b\n1,2\n", "--text-column"),
        ("book.pdf", "%PDF", ".txt, .jsonl, .csv or .tsv"),
    ],
)
def test_bad_data(
    headsmith: Run,
    tiny_encoder: Path,
    tmp_path: Path,
    name: str,
    content: str | None,
    message: str,
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    answer = _prune(
        headsmith, tiny_encoder, tmp_path / name, "--flops", 0.5, "-o", tmp_path / "out"
    )
    assert answer.code == 3
    assert message in answer.err
    assert not (tmp_path / "out").exists()


def test_what_must_be_named(headsmith: Run, tiny_encoder: Path, texts_file: Path) -> None:
    answer = headsmith("prune", tiny_encoder, "--flops", 0.5, "-o", "somewhere")
    assert (answer.code, "--data" in answer.err) == (2, True)
    answer = _prune(headsmith, tiny_encoder, texts_file, "--flops", 0.5)
    assert (answer.code, "-o FOLDER" in answer.err) == (2, True)


def test_models_of_an_unknown_kind(
    headsmith: Run, tiny_encoder: Path, texts_file: Path, tmp_path: Path
) -> None:
    from transformers import FNetConfig, FNetModel

    # Fourier transforms in place of attention: there are no heads to find.
    model = FNetModel(FNetConfig(vocab_size=40, hidden_size=8, num_hidden_layers=1))
    model.save_pretrained(tmp_path / "fnet")
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path / "fnet")
    answer = _prune(
        headsmith, tmp_path / "fnet", texts_file, "--flops", 0.5, "-o", tmp_path / "out"
    )
    assert answer.code == 3
    assert "No family describes models of type 'fnet'" in answer.err
    assert not (tmp_path / "out").exists()


def test_a_plan_for_another_model(
    headsmith: Run, tiny_encoder: Path, tiny_gpt2: Path, texts_file: Path, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    told = _prune(headsmith, tiny_gpt2, texts_file, "--flops", 0.5, "--dry-run", "--format", "json")
    plan.write_text(told.out)
    for options in (("-o", tmp_path / "out"), ("--dry-run",)):
        answer = _prune(headsmith, tiny_encoder, texts_file, "--plan", plan, *options)
        assert answer.code == 3
        assert "The plan is for a model of type 'gpt2'" in answer.err
    assert not (tmp_path / "out").exists()
    plan.write_text("{")
    answer = _prune(headsmith, tiny_encoder, texts_file, "--plan", plan, "-o", tmp_path / "out")
    assert (answer.code, "not valid JSON" in answer.err) == (3, True)


def test_a_damaged_model(
    headsmith: Run, tiny_encoder: Path, texts_file: Path, tmp_path: Path
) -> None:
    model = AutoModel.from_pretrained(tiny_encoder)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[3, 0] = float("inf")
    model.save_pretrained(tmp_path / "m")
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path / "m")
    answer = _prune(headsmith, tmp_path / "m", texts_file, "--flops", 0.5, "-o", tmp_path / "out")
    assert answer.code == 3
    assert "NaN or infinite" in answer.err


def test_json_errors_are_json(
    headsmith: Run, tiny_encoder: Path, texts_file: Path, tmp_path: Path
) -> None:
    answer = _prune(
        headsmith, tiny_encoder, texts_file, "--flops", 2, "-o", tmp_path / "o", "--format", "json"
    )
    assert answer.out == ""
    assert json.loads(answer.err)["error"]["exit_code"] == 3


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_interrupted_while_saving_leaves_what_is_needed_to_go_on(
    tiny_encoder: Path, texts_file: Path, tmp_path: Path
) -> None:
    """Ctrl-C, or a polite kill, in the middle of the write."""
    code = (
        "import sys, signal\n"
        # A shell that starts the tests in the background has its children ignore SIGINT.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import headsmith.report.page as page\n"
        "from headsmith.pruning import checkpoint\n"
        "from transformers import PreTrainedTokenizerBase\n"
        "def slow(self, folder, *a, **k):\n"
        "    print('saving', flush=True); signal.pause()\n"
        "PreTrainedTokenizerBase.save_pretrained = slow\n"
        "from headsmith.cli.main import run\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        arguments = ["prune", str(tiny_encoder), "--data", str(texts_file), "--flops", "0.5"]
        with subprocess.Popen(
            [sys.executable, "-c", code, *arguments, "-o", str(tmp_path / "out"), "--no-time"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "saving\n"
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        assert process.returncode == (130 if number == signal.SIGINT else 143)
        assert "Traceback" not in errors
        assert "the same command goes on from there" in errors
        assert [p.name for p in tmp_path.iterdir()] == ["out.work"]
