"""Every bad input ends with its exit code and a message that tells; nothing is written.

The messages stand in `docs/bad-inputs.md`. `HEADSMITH_WRITE_PAGES=1` writes the page anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hardening.bad_inputs import BAD_INPUTS, BadInput, Place

PAGE = Path(__file__).parents[2] / "docs" / "bad-inputs.md"
HEAD = """\
# Bad inputs

What was tried, and what each gets. The exit code is 2 for a command line that cannot be
understood, 3 for an input that cannot be used, 5 for a result that cannot be written. Nothing is
written in any of these cases, and nothing that was there is changed. Folders in front of file
names are left out, and `(…)` stands for what another library said.
"""
# The words of other libraries change with their versions.
_FOREIGN = (
    re.compile(r"(?<=opened at 'model' )\(.*\)(?=\. Expected)"),
    re.compile(r"(?<=not valid JSON)(?:: .*?|\s\(.*?\))(?=\.(?: Expected|$))"),
    re.compile(r"(?<=is not UTF-8 text): .*?(?=\. Save)"),
    re.compile(r"(?<=Received 'tpu9' )\(.*\)"),
)


@pytest.fixture
def place(tmp_path: Path, tiny_encoder: Path, tiny_gpt2: Path, texts_file: Path) -> Place:
    return Place(tmp_path, tiny_encoder, tiny_gpt2, texts_file)


@pytest.mark.parametrize("case", BAD_INPUTS, ids=lambda c: f"{c.group}: {c.what}")
def test_the_message(case: BadInput, place: Place, headsmith: Callable[..., Any]) -> None:
    arguments = case.arguments(place)
    before = _tree(place.folder)
    answer = headsmith(*arguments)
    assert answer.code == case.code, answer.err
    assert _tree(place.folder) == before
    told = _message(answer.err, place)
    assert told
    assert "Traceback" not in answer.err
    _shown(case).check(told)


def test_the_page_lists_all() -> None:
    listed = _rows() if PAGE.exists() else {}
    assert set(listed) == {(c.group, c.what) for c in BAD_INPUTS}


class _shown:  # noqa: N801 - reads as a word
    """The message of a case in the page."""

    def __init__(self, case: BadInput) -> None:
        self.case = case

    def check(self, told: str) -> None:
        key = (self.case.group, self.case.what)
        rows = _rows()
        if os.environ.get("HEADSMITH_WRITE_PAGES"):
            rows[key] = (self.case.code, told)
            _write(rows)
            return
        assert key in rows, "the page lacks this case: HEADSMITH_WRITE_PAGES=1 writes it"
        assert rows[key] == (self.case.code, told)


def _message(text: str, place: Place) -> str:
    """What stderr says, on one line, without folders in front of names and what others say."""
    for folder in (place.folder, place.encoder.parent, place.texts.parent):
        text = text.replace(f"{folder}/", "").replace(str(folder), "FOLDER")
    text = re.sub(r"\s+", " ", text).strip().replace("|", "\\|")
    text = re.sub(r"(Try '[^']*) -h'", r"\1 --help'", text)  # as early click 8 has it
    for words in _FOREIGN:
        text = words.sub(" (…)" if words.pattern.endswith(("$))", "Save)")) else "(…)", text)
    return text


def _tree(folder: Path) -> dict[str, bytes | None]:
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in folder.rglob("*")
    }


def _rows() -> dict[tuple[str, str], tuple[int, str]]:
    rows: dict[tuple[str, str], tuple[int, str]] = {}
    group = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []:
        if line.startswith("## "):
            group = line[3:]
        found = re.fullmatch(r"\| (.+?) \| (\d) \| (.+) \|", line)
        if found:
            rows[group, found[1]] = (int(found[2]), found[3])
    return rows


def _write(rows: dict[tuple[str, str], tuple[int, str]]) -> None:
    listed = [(c.group, c.what) for c in BAD_INPUTS if (c.group, c.what) in rows]
    parts = [HEAD]
    for group, keys in groupby(listed, key=lambda key: key[0]):
        parts += [f"\n## {group}\n\n", "| given | exit code | told |\n", "|---|---|---|\n"]
        parts += [f"| {key[1]} | {rows[key][0]} | {rows[key][1]} |\n" for key in keys]
    PAGE.write_text("".join(parts), encoding="utf-8")
