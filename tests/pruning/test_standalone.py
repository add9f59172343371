"""Checkpoints that load without headsmith: the same outputs, the same again, and no headsmith."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import TINY_MODELS, batch_for
from torch import nn

from headsmith.errors import CheckpointError, OutputError
from headsmith.pruning import apply_plan, describe, save_standalone
from headsmith.pruning.resized import FromNothing
from headsmith.pruning.standalone import MODELING_FILE, sizes_of
from headsmith.spec.plan import BlockPlan, PrunePlan

# What a user runs who has Transformers alone: every import of headsmith fails.
_ELSEWHERE = """
import json, shutil, sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "headsmith":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
import torch, transformers
from pathlib import Path
found = {}
for line in sys.stdin:
    folder, auto, options = json.loads(line)
    batch = torch.load(Path(folder) / "batch.pt", weights_only=True)
    auto = getattr(transformers, auto)
    if "dtype" in options:
        options["dtype"] = getattr(torch, options["dtype"])
    model = auto.from_pretrained(folder, trust_remote_code=True, **options).eval()
    with torch.no_grad():
        first = model(**batch)[0]
    again = Path(folder + "-again")
    model.save_pretrained(again)
    if not (again / "modeling_headsmith.py").exists():  # Transformers 5.0 does not take it along
        shutil.copy(Path(folder) / "modeling_headsmith.py", again)
    second = auto.from_pretrained(again, trust_remote_code=True, **options).eval()
    with torch.no_grad():
        same = torch.equal(first, second(**batch)[0])
    for name in ("config.json", "modeling_headsmith.py"):
        old, new = (Path(f, name).read_text() for f in (folder, again))
        if name.endswith(".json"):
            old, new = json.loads(old), json.loads(new)
        same = same and old == new
    torch.save(first, Path(folder) / "found.pt")
    if hasattr(model, "generation_config") and hasattr(model, "lm_head"):
        options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
        row = {k: v[:1] for k, v in batch.items()}
        torch.save(model.generate(**row, **options), Path(folder) / "generated.pt")
    assert "headsmith" not in sys.modules
    print(json.dumps([type(model).__name__, str(first.dtype), same]), flush=True)
"""


def _elsewhere(cases: list[tuple[Path, str, dict[str, str]]], cache: Path) -> list[list[object]]:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _ELSEWHERE],
        input="".join(json.dumps([str(f), auto, o]) + "\n" for f, auto, o in cases),
        capture_output=True,
        text=True,
        env={**os.environ, "HF_MODULES_CACHE": str(cache), "HF_HUB_OFFLINE": "1"},
    )
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("[")]


def _cut(name: str, *, hollow: bool, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Every block loses every second group; with `hollow` the first two lose all."""
    model = TINY_MODELS[name](dtype=dtype)
    description = describe(model)
    blocks = {
        block.name: BlockPlan(
            block.kind,
            block.count,
            () if hollow and index < 2 else tuple(range(0, block.count, 2)),
        )
        for index, block in enumerate(description.blocks)
    }
    apply_plan(model, PrunePlan(description.model_type, blocks))
    return model


_AUTO = {
    "bert": "AutoModel",
    "bert-classifier": "AutoModelForSequenceClassification",
    "roberta": "AutoModel",
    "electra": "AutoModelForQuestionAnswering",
    "distilbert": "AutoModel",
    "gpt2": "AutoModelForCausalLM",
}


def test_where_headsmith_is_not_installed(tmp_path: Path) -> None:
    cases: list[tuple[Path, str, dict[str, str]]] = []
    models = []
    for name, auto in _AUTO.items():
        for hollow in (False, True):
            model = _cut(name, hollow=hollow)
            folder = tmp_path / f"{name}_{hollow}"
            save_standalone(model, folder)
            torch.save(batch_for(model), folder / "batch.pt")
            cases.append((folder, auto, {}))
            models.append(model)
    told = _elsewhere(cases, tmp_path / "cache")
    assert len(told) == len(cases)
    for (folder, _, _), model, (class_name, _, same) in zip(cases, models, told, strict=True):
        assert class_name == type(model).__name__
        assert same, folder.name
        with torch.no_grad():
            expected = model(**batch_for(model))[0]
        assert torch.equal(torch.load(folder / "found.pt"), expected), folder.name
        if class_name == "GPT2LMHeadModel":
            row = {k: v[:1] for k, v in batch_for(model).items()}
            tokens = model.generate(**row, max_new_tokens=5, do_sample=False, pad_token_id=0)
            assert torch.equal(torch.load(folder / "generated.pt"), tokens)


def test_other_classes_dtypes_and_attention(tmp_path: Path) -> None:
    """One encoder opened in half precision, with eager attention, and under a new head."""
    model = _cut("bert", hollow=True)
    folder = tmp_path / "bert"
    save_standalone(model, folder)
    torch.save(batch_for(model), folder / "batch.pt")
    told = _elsewhere(
        [
            (folder, "AutoModel", {"dtype": "bfloat16"}),
            (folder, "AutoModel", {"attn_implementation": "eager"}),
        ],
        tmp_path / "cache",
    )
    assert [t[1] for t in told] == ["torch.bfloat16", "torch.float32"]
    with torch.no_grad():
        expected = model(**batch_for(model))[0]
    assert torch.allclose(torch.load(folder / "found.pt"), expected, atol=1e-5)
    assert (
        "AutoModelForSequenceClassification"
        in json.loads((folder / "config.json").read_text())["auto_map"]
    )


def test_what_the_folder_holds(tmp_path: Path) -> None:
    model = _cut("bert-classifier", hollow=True)
    save_standalone(model, tmp_path / "m", texts={"note/a.txt": "hello"})
    files = {p.name for p in (tmp_path / "m").iterdir()}
    assert files == {"config.json", "model.safetensors", MODELING_FILE, "note"}
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    config = json.loads((tmp_path / "m/config.json").read_text())
    assert "quantization_config" not in config
    assert config["architectures"] == ["BertForSequenceClassification"]
    code = (tmp_path / "m" / MODELING_FILE).read_text()
    assert "import headsmith" not in code
    assert "from headsmith" not in code
    assert len(code.splitlines()) < 160
    # The model in memory is as it was.
    assert model.config.quantization_config["quant_method"] == "headsmith"


def test_dense_models_have_no_sizes(tmp_path: Path) -> None:
    for name in TINY_MODELS:
        assert sizes_of(TINY_MODELS[name]()) == {}
    save_standalone(TINY_MODELS["bert"](), tmp_path / "m")
    assert "headsmith_sizes" not in json.loads((tmp_path / "m/config.json").read_text())


@pytest.mark.parametrize("name", sorted(TINY_MODELS))
def test_sizes_tell_every_shape(name: str) -> None:
    model = _cut(name, hollow=True)
    if name in ("albert", "mpnet", "t5"):  # their attention computes otherwise once it is cut
        with pytest.raises(CheckpointError, match="which only headsmith has"):
            sizes_of(model)
        return
    told = sizes_of(model)
    shapes = told["shapes"]
    base = getattr(model, model.base_model_prefix, model)
    for path, shape in shapes.items():
        assert "x".join(map(str, base.get_parameter(path).shape)) == shape
    assert told["no_heads"]
    assert json.loads(json.dumps(told)) == told


def test_code_that_sizes_cannot_tell(tmp_path: Path) -> None:
    model = TINY_MODELS["bert"]()

    class Odd(nn.Linear):
        pass

    model.encoder.layer[0].intermediate.dense = Odd(12, 20)
    with pytest.raises(CheckpointError, match=r"intermediate\.dense is a Odd, which only"):
        save_standalone(model, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/mine.txt").write_text("precious")
    with pytest.raises(OutputError, match="exists and is not empty"):
        save_standalone(TINY_MODELS["bert"](), tmp_path / "m")
    assert (tmp_path / "m/mine.txt").read_text() == "precious"


@pytest.mark.parametrize("biased", [True, False])
def test_a_layer_that_reads_nothing_gives_its_bias(biased: bool) -> None:
    layer = nn.Linear(1, 3, bias=biased)
    layer.weight = nn.Parameter(layer.weight.detach()[:, :0])
    given = FromNothing(layer)(torch.ones(2, 5, 0))
    assert torch.equal(given, layer(torch.ones(2, 5, 0)))
    assert given.abs().sum() > 0 or not biased
