"""The model card: true to the record, valid for hubs, and nothing in it is markup by accident."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headsmith.errors import DataError
from headsmith.report.card import card
from headsmith.spec.run import BlockRun, RunRecord


def _front_matter(text: str) -> dict[str, Any]:
    assert text.startswith("---\n")
    matter, fence, _ = text[4:].partition("\n---\n")
    assert fence
    found = yaml.safe_load(matter)
    assert isinstance(found, dict)
    return found


def test_what_it_tells(record: RunRecord) -> None:
    text = card(record)
    for told in (
        "# all-MiniLM-L6-v2, pruned",
        "Half the FLOPs",
        "37 of 72 attention heads; 1 of 6 layers are left without",
        "4,866 of 9,216 feed-forward neurons",
        "| `encoder.layer.4.attention` | heads | 0 of 12 | none |",
        "| Parameters, whole model | 22.7M | 17.4M | −23% |",
        "1.84× as fast",
        "On 128 texts that were not used",
        "| Mean cosine to the original's output | 0.941 |",
        "Source texts.txt",
        "`headsmith prune all-MiniLM-L6-v2 --data texts.txt --flops 0.5 -o smaller`",
        'model = AutoModel.from_pretrained("smaller")',
        "import headsmith.pruning",
    ):
        assert told in text, told


def test_front_matter_is_what_hubs_read(record: RunRecord) -> None:
    assert _front_matter(card(record)) == {
        "library_name": "transformers",
        "base_model": "sentence-transformers/all-MiniLM-L6-v2",
        "tags": ["headsmith", "pruned", "structured-pruning"],
    }
    from huggingface_hub import ModelCard

    read = ModelCard(card(record)).data
    assert (read.library_name, read.base_model) == ("transformers", record.model)


def test_facts_of_the_base_model_are_kept(record: RunRecord) -> None:
    facts = {
        "license": "apache-2.0",
        "language": ["en", "de"],
        "tags": ["sentence-similarity", "pruned"],
        "library_name": "sentence-transformers",
        "base_model": "nreimers/MiniLM-L6-H384-uncased",
        "model-index": [{"name": "x"}],
        "license_link": 7,
    }
    found = _front_matter(card(record, facts=facts))
    assert found["license"] == "apache-2.0"
    assert found["language"] == ["en", "de"]
    assert found["base_model"] == record.model
    assert found["library_name"] == "transformers"
    assert found["tags"][-1] == "sentence-similarity"
    assert found["tags"].count("pruned") == 1
    assert not {"model-index", "license_link"} & set(found)
    # A folder has no name on a hub: the ancestor's stands for it.
    local = dataclasses.replace(record, model="./my/folder")
    assert _front_matter(card(local, facts=facts))["base_model"] == facts["base_model"]
    assert "base_model" not in _front_matter(card(local))


def test_kinds_of_loading(record: RunRecord) -> None:
    text = card(record, kind="sentence-transformers")
    found = _front_matter(text)
    assert found["library_name"] == "sentence-transformers"
    assert found["pipeline_tag"] == "sentence-similarity"
    assert 'SentenceTransformer("smaller")' in text
    text = card(record, kind="standalone")
    assert 'from_pretrained("smaller", trust_remote_code=True)' in text
    assert "import headsmith" not in text


def test_the_bare_minimum(bare: RunRecord) -> None:
    text = card(bare)
    assert "Quality was not measured." in text
    assert "Nothing." in text
    assert "\n\n\n\n" not in text


def test_a_record_of_the_wrong_kind(bare: RunRecord) -> None:
    with pytest.raises(DataError, match="cannot be drawn"):
        card(dataclasses.replace(bare, blocks=[BlockRun("a", "heads", 0, "x", [])]))  # type: ignore[arg-type]


@given(st.text(max_size=40))
def test_no_value_can_break_out(text: str) -> None:
    record = RunRecord(
        model=text or "m",
        model_type="bert",
        model_class=text,
        headsmith=text,
        versions={},
        machine={"device": text},
        created="",
        command=text,
        settings={"output": text},
        data={"source": text},
        blocks=[BlockRun(text, "heads", 0, 2, [0])],
        before={},
        after={},
    )
    drawn = card(record, facts={"license": text, "tags": [text]})
    plain = card(
        dataclasses.replace(
            record,
            model="m",
            model_class="c",
            headsmith="0",
            machine={"device": "d"},
            command="c",
            settings={"output": "o"},
            data={"source": "s"},
            blocks=[BlockRun("b", "heads", 0, 2, [0])],
        )
    )
    _front_matter(drawn)
    # As many headings, fences, tables and tags as with harmless values.
    for mark in ("\n# ", "\n## ", "\n```", "\n|", "\n<", "\n- "):
        assert drawn.count(mark) == plain.count(mark), mark


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("<script>x</script>", "&lt;script\\>x&lt;/script\\>"),
        ("a|b", "a\\|b"),
        ("**x**", "\\*\\*x\\*\\*"),
        ("[x](http://y)", "\\[x\\](http://y)"),
        ("a\n\n# b", "a \\# b"),
    ],
)
def test_markup_is_escaped(record: RunRecord, value: str, shown: str) -> None:
    text = card(dataclasses.replace(record, data={"source": value}))
    assert f"Source {shown}\n" in text
