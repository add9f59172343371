"""The page: whole, honest, safe, and readable by everyone."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields, replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headsmith.errors import DataError
from headsmith.report import render
from headsmith.spec.run import BlockRun, LatencyRun, RunRecord, Timing

_VOID = {"meta", "rect", "path", "br", "link", "img"}


class _Checker(HTMLParser):
    """Notes elements, ids and texts, and that every element is closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name == "aria-labelledby":
                self.references.append(value or "")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def _check(page: str) -> _Checker:
    found = _Checker()
    found.feed(page)
    found.close()
    assert not found.open
    assert len(found.ids) == len(set(found.ids)), "an id is used twice"
    assert set(found.references) <= set(found.ids)
    return found


def test_the_page_is_whole(record: RunRecord) -> None:
    page = render(record)
    found = _check(page)
    assert found.tags.count("svg") == 4
    assert found.tags.count("figcaption") == 4
    assert found.tags.count("h1") == 1
    for text in (
        "sentence-transformers/all-MiniLM-L6-v2",
        "22.7M",
        "17.4M",
        "−50%",
        "90.9 MB",
        "1.84× as fast",
        "0.941",
        "A class definition defines a class object.",
        "headsmith prune all-MiniLM-L6-v2 --data texts.txt --flops 0.5 -o smaller",
        "48,211",
        "2.13.0",
        "1 June 2025, 12:34 UTC",
        "import headsmith.pruning",
        "AutoModel.from_pretrained(&#34;smaller&#34;)",
    ):
        assert text in page, text


def test_it_needs_nothing_else(record: RunRecord) -> None:
    page = render(record)
    found = _check(page)
    assert not {"script", "link", "iframe", "img", "object"} & set(found.tags)
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert not [name for name, _ in found.attributes if name in ("src", "href") or name[:2] == "on"]
    assert "default-src 'none'" in page


def test_dark_print_and_language(record: RunRecord) -> None:
    page = render(record)
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert '<html lang="en">' in page


def test_the_bare_minimum(bare: RunRecord) -> None:
    page = render(bare)
    found = _check(page)
    assert "svg" not in found.tags
    assert "path/to/the/folder" in page
    assert re.findall(r"<h2 [^>]*>([^<]*)<", page) == ["Use it", "How it was made"]


def test_repair_is_claimed_only_where_there_was_one(record: RunRecord) -> None:
    claim = "refitted to the original"
    assert claim in render(record)
    blocks = [replace(b, error_before=None, error_after=None) for b in record.blocks]
    assert claim not in render(replace(record, blocks=blocks))


def test_drawing_again_gives_the_same_page(record: RunRecord) -> None:
    assert render(RunRecord.from_json(record.to_json())) == render(record)


HOSTILE = "</title></style></svg><script>alert(1)</script>\"'{{ 7777*7 }}&"


@pytest.mark.parametrize("name", [f.name for f in fields(RunRecord)])
def test_values_are_escaped_wherever_they_come_from(record: RunRecord, name: str) -> None:
    hostile: dict[str, Any] = {
        "versions": {HOSTILE: HOSTILE},
        "machine": {HOSTILE: HOSTILE},
        "settings": {HOSTILE: HOSTILE, "output": HOSTILE, "length": HOSTILE, "l": [HOSTILE]},
        "data": {HOSTILE: HOSTILE, "held_out": HOSTILE},
        "blocks": [
            BlockRun(HOSTILE, "heads", HOSTILE, 2, [0], [1.0, 2.0], 1.0, 0.5),  # type: ignore[arg-type]
            BlockRun(HOSTILE, "neurons", HOSTILE, 2, [0], [], 1.0, 0.5),  # type: ignore[arg-type]
        ],
        "before": {"flops": 2, HOSTILE: 1},
        "after": {"flops": 1, HOSTILE: 1},
        "quality": {HOSTILE: 0.5},
        "latency": [LatencyRun(HOSTILE, HOSTILE, Timing(1, 1, 1, 1), Timing(1, 1, 1, 1))],  # type: ignore[arg-type]
        "seconds": {HOSTILE: 1.0},
        "samples": [{"text": HOSTILE, HOSTILE: 0.5}],
    }
    try:
        page = render(replace(record, **{name: hostile.get(name, HOSTILE)}))
    except DataError:
        return  # refused is safe, too
    found = _check(page)
    assert "script" not in found.tags
    assert "54439" not in page  # not taken for a template either


@pytest.mark.parametrize(
    "change",
    [
        {"before": {"flops": "many"}},
        {"before": []},
        {"quality": {"cosine": "high"}},
        {"seconds": {"repair": None}},
        {"samples": [7]},
        {"latency": [LatencyRun(1, 2, Timing("fast", 1, 1, 1), Timing(1, 1, 1, 1))]},  # type: ignore[arg-type]
        {"blocks": [BlockRun("a", "heads", 0, 3, 7)]},  # type: ignore[arg-type]
        {"blocks": [BlockRun("a", "heads", 0, 2, [0], ["x", 1.0])]},  # type: ignore[list-item]
        {"created": 7},
    ],
)
def test_values_of_the_wrong_kind_are_refused(record: RunRecord, change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="values that cannot be drawn"):
        render(replace(record, **change))


@pytest.mark.parametrize(
    ("model_class", "auto"),
    [
        ("BertModel", "AutoModel"),
        ("BertForSequenceClassification", "AutoModelForSequenceClassification"),
        ("RobertaForQuestionAnswering", "AutoModelForQuestionAnswering"),
        ("BertForMaskedLM", "AutoModelForMaskedLM"),
        ("GPT2LMHeadModel", "AutoModelForCausalLM"),
    ],
)
def test_how_to_load_fits_the_model(record: RunRecord, model_class: str, auto: str) -> None:
    page = render(replace(record, model_class=model_class))
    assert f"from transformers import {auto}\n" in page
    assert f"model = {auto}.from_pretrained(" in page


_NUMBERS = st.floats(0, 1e6)
_BLOCKS = st.builds(
    lambda kind, layer, count, share, ranked, before, after: BlockRun(
        "layer.x",
        kind,
        layer,
        count,
        list(range(round(count * share))),
        [float(i) for i in range(count)] if ranked else [],
        before,
        after,
    ),
    st.sampled_from(["heads", "neurons"]),
    st.integers(0, 50),
    st.integers(0, 60),
    st.floats(0, 1),
    st.booleans(),
    st.none() | _NUMBERS,
    st.none() | _NUMBERS,
)
_TIMINGS = st.builds(Timing, _NUMBERS, _NUMBERS, _NUMBERS, st.integers(1, 99))
_RECORDS = st.builds(
    RunRecord,
    *[st.text(max_size=20)] * 4,
    st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
    st.dictionaries(st.text(max_size=9), st.none() | st.booleans() | _NUMBERS, max_size=3),
    *[st.text(max_size=20)] * 2,
    *[st.dictionaries(st.text(max_size=9), st.integers() | st.text(max_size=9), max_size=3)] * 2,
    st.lists(_BLOCKS, max_size=6),
    *[st.fixed_dictionaries({}, optional={k: st.integers(0, 10**12) for k in ("flops", "bytes")})]
    * 2,
    st.dictionaries(st.sampled_from(["cosine", "agreement", "x"]), _NUMBERS),
    st.lists(st.builds(LatencyRun, st.integers(1, 99), st.integers(1, 99), _TIMINGS, _TIMINGS)),
)


@given(_RECORDS)
def test_any_record_gives_a_page(record: RunRecord) -> None:
    _check(render(record))


def test_it_imports_no_framework() -> None:
    code = (
        "import sys\n"
        "from headsmith.report import render\n"
        "from headsmith.spec.run import RunRecord\n"
        "render(RunRecord('m', 'b', 'B', '0', {}, {}, '', '', {}, {}, [], {}, {}))\n"
        "heavy = ('torch', 'transformers', 'keras', 'numpy', 'click', 'rich')\n"
        "print([m for m in heavy if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
