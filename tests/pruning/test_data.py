"""Files people have: every format, and a clear word about every fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from headsmith.errors import DataError
from headsmith.pruning import read_texts, tokenize


def _write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "column", "expected"),
    [
        ("a.txt", "one\n\n  two  \none\n", None, ["one", "two"]),
        ("a.TXT", "\ufeffBOM\r\nzwei ä\r\n", None, ["BOM", "zwei ä"]),
        ("a.jsonl", '{"text": "one", "id": 1}\n\n{"text": "two"}\n', None, ["one", "two"]),
        ("a.jsonl", '"one"\n"two"\n', None, ["one", "two"]),
        ("a.jsonl", '{"q": "one"}\n', None, ["one"]),
        ("a.jsonl", '{"q": "one", "a": "two"}\n', "q, a", ["one", "two"]),
        ("a.csv", 'id,text\n1,"one, with comma"\n2,two\n', None, ["one, with comma", "two"]),
        ("a.csv", "x,y\n1,one\n", "y", ["one"]),
        ("a.tsv", "sentence\tlabel\none\t1\n", None, ["one"]),
        ("a.csv", 'text\n"two\nlines"\n', None, ["two\nlines"]),
    ],
)
def test_formats(
    name: str, content: str, column: str | None, expected: list[str], tmp_path: Path
) -> None:
    assert read_texts(_write(tmp_path / name, content), column=column) == expected


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("a.pdf", "x", None, r"\.txt, \.jsonl, \.csv or \.tsv files\. Received 'a\.pdf'"),
        ("a.txt", "", None, "holds no text"),
        ("a.txt", " \n\n", None, "holds no text"),
        ("a.txt", b"\xff\xfe\x00", None, "not UTF-8"),
        ("a.jsonl", '{"text": "one"}\n{oops\n', None, "line 2: not valid JSON"),
        ("a.jsonl", "[1]\n", None, "line 1: expected a JSON object"),
        ("a.jsonl", '{"text": 3}\n', None, r"line 1: 'text' is not a text \(3\)"),
        ("a.csv", "x,y\n1,2\n", None, r"it has \['x', 'y'\]\. Name the column with --text-column"),
        ("a.csv", "text,y\n1,2\n", "z", "expected the text column 'z'"),
        ("a.csv", "", None, "expected a column named 'text'"),
        ("a.jsonl", "[" * 100_000, None, "not valid JSON"),
    ],
)
def test_faults(
    name: str, content: str | bytes, column: str | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        read_texts(_write(tmp_path / name, content), column=column)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_texts(tmp_path / "none.txt")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        read_texts(tmp_path / "folder.txt")


class _Words:
    """A tokenizer: one id a word."""

    pad_token: str | None = None
    eos_token = "."

    def __call__(self, texts: list[str], *, padding: bool = False, **options: Any) -> Any:
        ids = [[len(w) for w in t.split()][: options["max_length"]] for t in texts]
        if not padding:
            return {"input_ids": ids}
        longest = max(map(len, ids))
        return {
            "input_ids": torch.tensor([i + [0] * (longest - len(i)) for i in ids]),
            "attention_mask": torch.tensor([[1] * len(i) + [0] * (longest - len(i)) for i in ids]),
        }


def test_batches_hold_every_text_once_and_set_some_aside() -> None:
    texts = [f"{'w ' * (i % 7)}end{'x' * i}" for i in range(50)]
    found = tokenize(texts, _Words(), batch_size=8, held_out=5, max_length=6, seed=3)
    rows = [tuple(r[r > 0].tolist()) for b in found.calibration for r in b["input_ids"]]
    aside = [text for batch in found.held_out_texts for text in batch]
    assert len(rows) == 45
    assert len(set(aside)) == 5
    assert len({*aside, *texts}) == 50
    assert all(b["input_ids"].shape[1] <= 6 for b in found.calibration)
    assert found.tokens == sum(map(len, rows))
    assert found.mean_length == pytest.approx(found.tokens / 45)
    again = tokenize(texts, _Words(), batch_size=8, held_out=5, max_length=6, seed=3)
    assert json.dumps(again.held_out_texts) == json.dumps(found.held_out_texts)
    other = tokenize(texts, _Words(), batch_size=8, held_out=5, max_length=6, seed=4)
    assert other.held_out_texts != found.held_out_texts


def test_limits_and_small_files() -> None:
    texts = [f"text {'x' * i}" for i in range(30)]
    found = tokenize(texts, _Words(), limit=10, held_out=100)
    assert sum(len(b["input_ids"]) for b in found.calibration) == 10
    assert sum(len(b["input_ids"]) for b in found.held_out) == 6
    with pytest.raises(DataError, match="At least 2 texts"):
        tokenize(["one"], _Words())
    with pytest.raises(DataError, match="no tokens"):
        tokenize(["", " "], _Words())
