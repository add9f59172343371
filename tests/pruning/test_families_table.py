"""The table in the docs is the one the code gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from headsmith.pruning.families.clip import SIGLIP
from headsmith.pruning.families.known import KNOWN
from headsmith.pruning.families.table import families_table

_PAGE = Path(__file__).parents[2] / "docs" / "families.md"


@pytest.mark.skipif(
    len(SIGLIP[0].stacks[0].sites) == 1, reason="this Transformers leaves SigLIP's heads alone"
)
def test_the_docs_list_the_families_that_are_there() -> None:
    page = _PAGE.read_text(encoding="utf-8")
    assert families_table() in page, f"Put this into {_PAGE}:\n\n{families_table()}"
    assert all(f"`{name}`" in page for family in KNOWN for name in family.model_types)
