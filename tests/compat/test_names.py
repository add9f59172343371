"""The table, and the page that is written from it."""

from __future__ import annotations

from pathlib import Path

from headsmith.compat.guide import BEGIN, END, tables, with_tables
from headsmith.compat.names import NAMES, lookup, names_of, reexports

PAGE = Path(__file__).parents[2] / "docs" / "migrating.md"


def test_each_name_is_told_once() -> None:
    places = [(row.module, row.name) for row in NAMES]
    assert len(places) == len(set(places))


def test_targets_are_not_in_the_table_themselves() -> None:
    """What migrate writes must not be rewritten by its next run."""
    for row in NAMES:
        if row.target:
            module, _, name = row.target.partition(":")
            again = lookup(module, name)
            assert again is None or not again.target, row
    for names in reexports().values():
        assert all(names.values())


def test_a_row_without_target_says_what_to_do() -> None:
    for row in NAMES:
        assert row.target or row.stand_in or row.note, row


def test_names_of_a_module() -> None:
    assert names_of("transformers.pytorch_utils")["prune_layer"] == "headsmith.torch:prune_layer"
    assert names_of("transformers.no_such_module") == {}


def test_the_page_holds_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == with_tables(text), (
        "write it again: python -m headsmith.compat.guide docs/migrating.md"
    )
    assert tables() in text


def test_writing_the_table_keeps_the_rest() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    written = with_tables(page)
    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")
    assert "| `prune_layer`" in written
    assert with_tables(written) == written
