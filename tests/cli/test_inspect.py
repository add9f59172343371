"""`headsmith inspect`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from headsmith.spec.plan import BlockPlan, PrunePlan

Run = Callable[..., Any]


def test_blocks_and_totals(headsmith: Run, tiny_encoder: Path) -> None:
    answer = headsmith("inspect", tiny_encoder, "--length", 16)
    assert (answer.code, answer.err) == (0, "")
    rows = [line.split() for line in answer.out.splitlines() if line.strip()[:1].isdigit()]
    assert [row[:4] for row in rows] == [["0", "4", "8", "4.19k"], ["1", "4", "8", "4.19k"]]
    assert "BertModel (bert), float32" in answer.out


def test_json_adds_up(headsmith: Run, tiny_encoder: Path) -> None:
    answer = headsmith("inspect", tiny_encoder, "--length", 16, "--format", "json")
    found = json.loads(answer.out)
    model = transformers.BertModel.from_pretrained(tiny_encoder)
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    assert found["block_parameters"] == sum(b["parameters"] for b in found["blocks"])
    assert found["flops"] == sum(b["flops"] for b in found["blocks"])
    assert sum(b["flops_share"] for b in found["blocks"]) == pytest.approx(1)
    # Per token: 4 products of 32 × 32 and two of 16 × 32, two FLOPs each.
    assert found["blocks"][0]["flops"] == 2 * (4 * 32 * 32 + 2 * 16 * 32)
    assert [b["kind"] for b in found["blocks"]] == ["heads", "neurons"] * 2
    assert found["plan"] is None
    assert "importance" not in found["blocks"][0]


def test_quiet(headsmith: Run, tiny_encoder: Path) -> None:
    answer = headsmith("inspect", tiny_encoder, "-q")
    assert answer.out.splitlines()[0] == "encoder.layer.0.attention\t4"
    assert answer.err == ""


def test_heat_map_of_scores(headsmith: Run, tiny_encoder: Path, texts_file: Path) -> None:
    answer = headsmith("inspect", tiny_encoder, "--data", texts_file, "--score", "gradient")
    assert (answer.code, answer.err) == (0, "")
    lines = [line for line in answer.out.splitlines() if line.startswith(" Layer ")]
    rows = [line.split()[2:] for line in lines[-2:]]
    for row in rows:
        assert sorted(row[1::2]) == ["1", "2", "3", "4"]
        assert dict(zip(row[1::2], row[::2], strict=True)) == dict(zip("1234", "█▓▒░", strict=True))


def test_scores_repeat_with_their_seed(headsmith: Run, tiny_gpt2: Path, texts_file: Path) -> None:
    def importance(*options: object) -> list[list[float]]:
        answer = headsmith("inspect", tiny_gpt2, "--data", texts_file, "--format", "json", *options)
        assert answer.code == 0, answer.err
        return [b["importance"] for b in json.loads(answer.out)["blocks"]]

    first = importance("--seed", 1)
    assert [len(block) for block in first] == [4, 48, 4, 48]
    assert first == importance("--seed", 1)
    assert first != importance("--seed", 2)


def test_an_earlier_plan_is_told(headsmith: Run, tiny_encoder: Path, tmp_path: Path) -> None:
    from headsmith.pruning import apply_plan, load, save

    model = load(tiny_encoder)
    blocks = {
        "encoder.layer.0.attention": BlockPlan("heads", 4, (1, 3)),
        "encoder.layer.1.attention": BlockPlan("heads", 4, ()),
        "encoder.layer.1.intermediate": BlockPlan("neurons", 48, tuple(range(40))),
    }
    apply_plan(model, PrunePlan("bert", blocks))
    save(model, tmp_path / "pruned")
    answer = headsmith("inspect", tmp_path / "pruned")
    assert answer.code == 0, answer.err
    assert "2 of 4" in answer.out
    assert "0 of 4" in answer.out
    assert "40 of 48" in answer.out
    assert "6 heads and 8 neurons were removed earlier" in answer.out
    found = json.loads(headsmith("inspect", tmp_path / "pruned", "--format", "json").out)
    assert PrunePlan.from_dict(found["plan"]) == PrunePlan("bert", blocks)
    assert found["blocks"][0]["count_unpruned"] == 4


def test_a_model_left_without_any_block(headsmith: Run, tiny_encoder: Path, tmp_path: Path) -> None:
    from headsmith.pruning import apply_plan, describe, load, save

    model = load(tiny_encoder)
    empty = {b.name: BlockPlan(b.kind, b.count, ()) for b in describe(model).blocks}
    apply_plan(model, PrunePlan("bert", empty))
    save(model, tmp_path / "empty")
    answer = headsmith("inspect", tmp_path / "empty")
    assert answer.code == 0, answer.err
    assert "0 for one token" in answer.out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.txt", None, "does not exist"),
        ("empty.txt", "", "holds no text"),
        ("one.txt", "A lone text.\n", "At least 2 texts are needed"),
        ("texts.pdf", "x", "Texts are read from .txt, .jsonl, .csv or .tsv files"),
        ("texts.csv", "id,body\n1,hello\n", "expected a column named 'text'"),
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
    answer = headsmith("inspect", tiny_encoder, "--data", tmp_path / name)
    assert (answer.code, answer.out) == (3, "")
    assert message in answer.err


def test_a_model_of_an_unknown_kind(headsmith: Run, tmp_path: Path) -> None:
    config = transformers.FNetConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1)
    transformers.FNetModel(config).save_pretrained(tmp_path)
    answer = headsmith("inspect", tmp_path)
    assert (answer.code, answer.out) == (3, "")
    assert "No family describes models of type 'fnet'" in answer.err


def test_a_wrong_device_is_wrong_usage(headsmith: Run, tiny_encoder: Path) -> None:
    answer = headsmith("inspect", tiny_encoder, "--device", "abacus")
    assert answer.code == 2
    assert "--device" in answer.err
    assert "abacus" in answer.err


def test_piped_output_holds_no_progress(tiny_encoder: Path, texts_file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headsmith.cli", "inspect", tiny_encoder, "--data", texts_file],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "%|" not in done.stdout
    assert done.stdout.count("Layer 1") == 1


def test_control_characters_stay_off_the_terminal(
    headsmith: Run, tiny_encoder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "red\x1b[31m"
    folder.symlink_to(tiny_encoder)
    answer = headsmith("inspect", folder)
    assert answer.code == 0
    assert "\x1b" not in answer.out
