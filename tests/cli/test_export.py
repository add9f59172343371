"""`headsmith export`, and what `headsmith prune` writes for others: card, Sentence-Transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModel, AutoTokenizer

from headsmith.cli.card import facts_of
from headsmith.pruning import load

Run = Callable[..., Any]

README = """---
license: mit
language: en
tags:
- sentence-transformers
- mine
library_name: sentence-transformers
base_model: someone/ancestor
---

# Not to be copied
"""


def _prune(headsmith: Run, model: Path, data: Path, out: Path) -> Path:
    options = ("--flops", 0.5, "--length", 16, "--no-time", "--no-repair", "--texts", 32)
    answer = headsmith("prune", model, "--data", data, "-o", out, *options)
    assert answer.code == 0, answer.err
    return out


def _front_matter(path: Path) -> dict[str, Any]:
    _, matter, _ = (path / "README.md").read_text().split("---\n", 2)
    found = yaml.safe_load(matter)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def pruned(headsmith: Run, tiny_encoder: Path, texts_file: Path, tmp_path: Path) -> Path:
    return _prune(headsmith, tiny_encoder, texts_file, tmp_path / "pruned")


def test_prune_writes_a_model_card(pruned: Path) -> None:
    assert _front_matter(pruned) == {
        "library_name": "transformers",
        "tags": ["headsmith", "pruned", "structured-pruning"],
    }
    text = (pruned / "README.md").read_text()
    assert "texts.txt" in text
    assert f"AutoModel.from_pretrained({json.dumps(str(pruned))})" in text


@pytest.mark.filterwarnings("ignore")  # of Sentence-Transformers' own
def test_a_sentence_transformers_folder_stays_one(
    headsmith: Run,
    sentence_encoder: Callable[[dict[str, Any]], Path],
    texts_file: Path,
    tmp_path: Path,
) -> None:
    """Pruned, and exported to open without headsmith: `SentenceTransformer` reads both."""
    transformers = pytest.importorskip("sentence_transformers")
    folder = sentence_encoder({"embedding_dimension": 32, "pooling_mode": "mean"})
    (folder / "README.md").write_text(README)
    out = _prune(headsmith, folder, texts_file, tmp_path / "pruned")
    sentences = ["The cat sleeps.", "A dog barks at the quiet lake."]
    opened = transformers.SentenceTransformer(str(out), device="cpu")
    found = opened.encode(sentences)
    tokens = AutoTokenizer.from_pretrained(out)(sentences, padding=True, return_tensors="pt")
    model = AutoModel.from_pretrained(out)
    with torch.no_grad():
        states = model(**{k: tokens[k] for k in ("input_ids", "attention_mask")}).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    pooled = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
    assert np.allclose(found, pooled.numpy(), atol=1e-5)
    assert sum(p.numel() for p in model.parameters()) < sum(
        p.numel() for p in AutoModel.from_pretrained(folder).parameters()
    )
    assert _front_matter(out) == {
        "library_name": "sentence-transformers",
        "base_model": "someone/ancestor",
        "license": "mit",
        "language": "en",
        "pipeline_tag": "sentence-similarity",
        "tags": ["headsmith", "pruned", "structured-pruning", "sentence-transformers", "mine"],
    }
    assert "Not to be copied" not in (out / "README.md").read_text()
    # It saves and opens again.
    opened.save_pretrained(str(tmp_path / "again"))
    again = transformers.SentenceTransformer(str(tmp_path / "again"), device="cpu")
    assert np.array_equal(again.encode(sentences), found)
    answer = headsmith("export", out, "--standalone", "-o", tmp_path / "anywhere")
    assert answer.code == 0, answer.err
    anywhere = transformers.SentenceTransformer(
        str(tmp_path / "anywhere"), device="cpu", trust_remote_code=True
    )
    assert type(anywhere[0].auto_model).__module__.startswith("transformers_modules")
    assert np.array_equal(anywhere.encode(sentences), found)


def test_onnx(headsmith: Run, pruned: Path, tmp_path: Path) -> None:
    import onnxruntime

    answer = headsmith("export", pruned, "--onnx", "-o", tmp_path / "o", "--format", "json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told["written"] == str(tmp_path / "o/onnx/model.onnx")
    assert told["difference"] <= told["tolerance"] == 1e-4
    assert told["inputs"][:2] == ["input_ids", "attention_mask"]
    session = onnxruntime.InferenceSession(told["written"], providers=["CPUExecutionProvider"])
    tokens = AutoTokenizer.from_pretrained(tmp_path / "o")(
        ["a dog", "the cat sleeps on the wall"], padding=True, return_tensors="pt"
    )
    fed = {i.name: tokens[i.name].numpy() for i in session.get_inputs()}
    with torch.no_grad():
        expected = load(pruned)(**tokens).last_hidden_state.numpy()
    assert np.allclose(session.run(["last_hidden_state"], fed)[0], expected, atol=1e-4)
    answer = headsmith("export", pruned, "--onnx", "-o", tmp_path / "p", "--tolerance", 1e-12)
    assert answer.code == 3
    assert "A larger --tolerance would accept it" in answer.err
    assert not (tmp_path / "p").exists()


def test_standalone(headsmith: Run, pruned: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    answer = headsmith("export", pruned, "--standalone", "-o", out)
    assert answer.code == 0, answer.err
    assert "transformers.AutoModel.from_pretrained(" in answer.out
    assert (out / "headsmith-run.json").is_file()
    text = (out / "README.md").read_text()
    assert f"from_pretrained({json.dumps(str(out))}, trust_remote_code=True)" in text
    # Transformers does not run the code unasked.
    with pytest.raises((ValueError, RuntimeError)):
        AutoModel.from_pretrained(out, trust_remote_code=False)
    quiet = headsmith("export", pruned, "--standalone", "-o", tmp_path / "q", "-q")
    assert (quiet.code, quiet.out.strip()) == (0, str(tmp_path / "q"))


def test_wrong_usage(headsmith: Run, tiny_encoder: Path, tmp_path: Path) -> None:
    answer = headsmith("export", tiny_encoder, "-o", tmp_path / "o")
    assert (answer.code, "--onnx or --standalone" in answer.err) == (2, True)
    answer = headsmith("export", tiny_encoder, "--onnx")
    assert (answer.code, "--out" in answer.err) == (2, True)
    answer = headsmith("export", tmp_path / "none", "--onnx", "-o", tmp_path / "o")
    assert (answer.code, "does not exist" in answer.err) == (3, True)
    answer = headsmith("export", tiny_encoder, "--standalone", "-o", tiny_encoder, "--overwrite")
    assert (answer.code, "is the model itself" in answer.err) == (5, True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.txt").write_text("precious")
    for options, word in (((), "is not empty"), (("--overwrite",), "holds no model")):
        answer = headsmith("export", tiny_encoder, "--onnx", "-o", tmp_path / "mine", *options)
        assert (answer.code, word in answer.err) == (5, True)
    assert (tmp_path / "mine/a.txt").read_text() == "precious"


def test_a_missing_extra(
    headsmith: Run, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import headsmith.extras as extras

    find = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda n: None if n == "onnxscript" else find(n))
    answer = headsmith("export", tiny_encoder, "--onnx", "-o", tmp_path / "o")
    assert (answer.code, "headsmith[onnx]" in answer.err) == (4, True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (README, "mit"),
        ("\ufeff---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("# no front matter\n---\nlicense: mit\n---\n", None),
        ("---\nlicense: mit\n", None),
        ("---\n- a\n---\n", None),
        ("---\n{[\n---\n", None),
        ("---\nlicense: !!python/object:os.system x\n---\n", None),
        ("---\n" + "a: b\n" * 9999 + "---\n", None),
        ("", None),
    ],
)
def test_front_matter_of_the_source(tmp_path: Path, text: str, found: str | None) -> None:
    (tmp_path / "README.md").write_text(text, encoding="utf-8", newline="")
    assert facts_of(str(tmp_path)).get("license") == found
    assert facts_of(str(tmp_path / "none")) == {}


def test_push_to_hub_passes_through_transformers(
    pruned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the network: what would be uploaded opens as the same model."""
    from types import SimpleNamespace

    from transformers.utils import hub

    class Api:
        def create_repo(self, repo_id: str, **_: Any) -> Any:
            return SimpleNamespace(repo_id=repo_id)

    class Card:
        def save(self, path: str) -> None:
            Path(path).write_text("---\ntags: []\n---\n")

    def upload(self: Any, folder: str, repo_id: str, **_: Any) -> str:
        shutil.copytree(folder, tmp_path / "uploaded")
        return repo_id

    monkeypatch.setattr(hub, "hf_api", Api, raising=False)
    monkeypatch.setattr(hub, "create_repo", Api().create_repo, raising=False)  # in 5.0
    monkeypatch.setattr(hub, "create_and_tag_model_card", lambda *_, **__: Card())
    model = load(pruned)
    monkeypatch.setattr(type(model), "_upload_modified_files", upload)
    assert model.push_to_hub("me/smaller") == "me/smaller"
    again = load(tmp_path / "uploaded")
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        assert torch.equal(again(ids)[0], model(ids)[0])


@pytest.mark.filterwarnings("ignore")
def test_modules_with_weights_go_along(
    headsmith: Run, tiny_encoder: Path, texts_file: Path, tmp_path: Path
) -> None:
    """Pooling by the first token, then a Dense layer of its own."""
    library = pytest.importorskip("sentence_transformers")
    from sentence_transformers.models import Dense, Pooling, Transformer

    source = tmp_path / "source"
    modules = [Transformer(str(tiny_encoder)), Pooling(32, "cls"), Dense(32, 5)]
    library.SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(source))
    out = _prune(headsmith, source, texts_file, tmp_path / "pruned")
    opened = library.SentenceTransformer(str(out), device="cpu")
    assert torch.equal(opened[2].linear.weight, modules[2].linear.weight)
    tokens = AutoTokenizer.from_pretrained(out)("a dog", return_tensors="pt")
    with torch.no_grad():
        state = AutoModel.from_pretrained(out)(**tokens).last_hidden_state[:, 0]
        expected = torch.tanh(modules[2].linear(state))
    assert np.allclose(opened.encode(["a dog"]), expected.numpy(), atol=1e-5)
    (source / "2_Dense/model.safetensors").unlink()
    options = ("--flops", 0.5, "--no-time", "--no-repair", "--length", 16)
    answer = headsmith("prune", source, "--data", texts_file, "-o", tmp_path / "alone", *options)
    assert answer.code == 0
    assert "The module Dense of this Sentence-Transformers model cannot be copied" in answer.err
    assert not (tmp_path / "alone/modules.json").exists()
