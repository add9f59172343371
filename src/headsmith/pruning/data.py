"""Text files in, batches of tokens out."""

from __future__ import annotations

import csv
import json
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from headsmith.errors import DataError

__all__ = ["Batch", "Batches", "read_texts", "tokenize"]

Batch = Mapping[str, Tensor]
"""What one call of a model takes: `input_ids` (batch, seq), `attention_mask` (batch, seq), …"""

_CHARACTERS = 16  # a token has four or five; a text of more is looked at piece by piece
_USUAL_COLUMNS = ("text", "sentence", "content", "sentence1")


def read_texts(path: str | os.PathLike[str], *, column: str | None = None) -> list[str]:
    """Read the texts of a file: `.txt` (one a line), `.jsonl`, `.csv` or `.tsv`.

    Args:
        path: the file, UTF-8.
        column: the field of a JSON line, or the column of a table, that holds the text; several
            joined by commas give a text each. None takes `text`, `sentence`, `content` or
            `sentence1`, or the only one there is.

    Returns:
        The texts in the file's order, stripped, empty ones and repeats left out.

    Raises:
        DataError: the file is missing, unreadable, of another kind, or holds no text.
    """
    path = Path(path)
    readers = {".txt": _lines, ".jsonl": _json_lines, ".csv": _table, ".tsv": _table}
    if path.suffix.lower() not in readers:
        raise DataError(
            f"Texts are read from .txt, .jsonl, .csv or .tsv files. Received {path.name!r}."
        )
    if path.is_dir():
        raise DataError(f"{path} is a folder. Name the file of texts in it.")
    if not path.is_file():
        raise DataError(f"The data file {path} does not exist.")
    try:
        found = readers[path.suffix.lower()](path, column)
        texts = dict.fromkeys(t for t in (text.strip() for text in found) if t)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}. Save it as UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{path} is not a readable table: {error}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if not texts:
        raise DataError(f"{path} holds no text. Expected one text a line, or a column of texts.")
    return list(texts)


def _lines(path: Path, column: str | None) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as file:
        yield from file


def _json_lines(path: Path, column: str | None) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}, line {number}: not valid JSON ({error}).") from error
            if isinstance(record, str):
                yield record
                continue
            if not isinstance(record, dict):
                raise DataError(f"{path}, line {number}: expected a JSON object or a string.")
            yield from _fields(record, _choose(list(record), column, path), path, number)


def _table(path: Path, column: str | None) -> Iterator[str]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter=delimiter)
        columns = _choose(list(rows.fieldnames or []), column, path)
        for row in rows:
            yield from _fields(row, columns, path, rows.line_num)


def _choose(names: list[str], column: str | None, path: Path) -> list[str]:
    if column is not None:
        wanted = [c.strip() for c in column.split(",")]
    else:
        usual = [c for c in _USUAL_COLUMNS if c in names][:1]
        wanted = usual or (names if len(names) == 1 else [])
    if not wanted or any(c not in names for c in wanted):
        expected = f"the text column {column!r}" if column else "a column named 'text'"
        raise DataError(
            f"{path}: expected {expected}; it has {names}. Name the column with --text-column."
        )
    return wanted


def _fields(
    record: Mapping[str, Any], columns: Sequence[str], path: Path, number: int
) -> Iterator[str]:
    for column in columns:
        value = record.get(column)
        if value is not None and not isinstance(value, str):
            raise DataError(f"{path}, line {number}: {column!r} is not a text ({value!r}).")
        yield value or ""


@dataclass(frozen=True)
class Batches:
    """Tokenised texts, split in what is fitted on and what is only measured on.

    Args:
        calibration: batches for statistics and repair.
        held_out: batches of other texts, for measuring.
        held_out_texts: the texts of each of those batches, in the order of its rows.
        tokens: how many tokens the calibration batches hold, padding left out.
        mean_length: mean tokens a text.
    """

    calibration: list[Batch]
    held_out: list[Batch]
    held_out_texts: list[list[str]]
    tokens: int
    mean_length: float


def tokenize(
    texts: Sequence[str],
    tokenizer: Any,
    *,
    batch_size: int = 32,
    max_length: int = 128,
    held_out: int = 128,
    limit: int = 1536,
    seed: int = 0,
) -> Batches:
    """Shuffle texts, set some aside, and make batches of texts of like length.

    Args:
        texts: at least 2.
        tokenizer: a Transformers tokenizer.
        batch_size: texts in one batch.
        max_length: tokens after which a text is cut off.
        held_out: texts set aside for measuring; never more than a fifth of all.
        limit: texts used for calibration at most.
        seed: of the shuffle.

    Raises:
        DataError: there are fewer than 2 texts, or they give no tokens.
    """
    if len(texts) < 2:
        raise DataError(
            f"At least 2 texts are needed, some hundreds are better. Received {len(texts)}."
        )
    shuffled = list(texts)
    random.Random(seed).shuffle(shuffled)
    aside = max(1, min(held_out, len(shuffled) // 5))
    chosen = shuffled[: aside + limit]
    measured, fitted = chosen[:aside], chosen[aside:]
    calibration = [b for b, _ in _batches(fitted, tokenizer, batch_size, max_length)]
    tokens = sum(int(b["attention_mask"].sum()) for b in calibration)
    if not tokens:
        raise DataError("The tokenizer makes no tokens of these texts.")
    random.Random(seed + 1).shuffle(calibration)
    aside_batches = _batches(measured, tokenizer, batch_size, max_length)
    return Batches(
        calibration,
        [batch for batch, _ in aside_batches],
        [chosen for _, chosen in aside_batches],
        tokens,
        tokens / max(1, len(fitted)),
    )


def _beginning(text: str, tokenizer: Any, tokens: int) -> str:
    """As much of a text as holds more tokens than are taken.

    A tokenizer cuts off only what it has read to the end; of a whole book on one line that takes
    minutes and gigabytes.
    """
    size = _CHARACTERS * tokens
    while size < len(text):
        found = tokenizer(
            text[:size], truncation=True, max_length=tokens + 1, add_special_tokens=False
        )
        if len(found["input_ids"]) > tokens:
            return text[:size]
        size *= 4
    return text


def _batches(
    texts: Sequence[str], tokenizer: Any, size: int, max_length: int
) -> list[tuple[Batch, list[str]]]:
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    texts = [_beginning(text, tokenizer, max_length) for text in texts]
    coded = tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]
    order = sorted((i for i, ids in enumerate(coded) if ids), key=lambda i: len(coded[i]))
    found: list[tuple[Batch, list[str]]] = []
    for start in range(0, len(order), size):
        chosen = [texts[i] for i in order[start : start + size]]
        batch = tokenizer(
            chosen, truncation=True, max_length=max_length, padding=True, return_tensors="pt"
        )
        found.append((dict(batch), chosen))
    return found
