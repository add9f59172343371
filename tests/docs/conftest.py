"""The generators of the documentation live beside its pages."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

if not all(find_spec(needed) for needed in ("torch", "transformers", "keras")):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def pages() -> dict[str, str]:
    """Name of each page → its text with everything filled in, as Sphinx gets it."""
    from headsmith_docs.expand import expand

    return {p.name: expand(p.read_text(encoding="utf-8")) for p in (ROOT / "docs").glob("*.md")}
