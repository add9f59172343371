"""Source trees for `migrate` and `doctor`: spoilt files are named, whole ones stay whole."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from hardening.spoil import EDITS, spoil_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headsmith.compat.doctor import examine, examine_source
from headsmith.compat.migrate import migrate, rewrite
from headsmith.compat.names import NAMES
from headsmith.errors import DataError

MODELS = sorted((Path(__file__).parents[1] / "compat" / "models").glob("*.py"))
MOVED = sorted({(row.module, row.name) for row in NAMES})


def _rewritten(source: bytes) -> None:
    """What holds for every file: refused as a whole, or rewritten once and for all."""
    try:
        new, changes = rewrite(source)
    except (DataError, RecursionError, UnicodeError) as error:
        assert str(error)
        return
    ast.parse(new)
    assert (new == source) == (not changes)
    assert rewrite(new) == (new, [])


@settings(max_examples=60)
@given(st.sampled_from(MODELS), EDITS)
def test_spoilt_models(model: Path, edits: Any) -> None:
    source = spoil_bytes(model.read_bytes(), edits)
    _rewritten(source)
    try:
        found = examine_source(source)
    except (DataError, RecursionError) as error:
        assert str(error)
    else:
        assert all(f.line >= 1 and f.what and f.remedy for f in found)


@st.composite
def _files(draw: st.DrawFn) -> bytes:
    """Imports of moved names as people write them: nested, guarded, renamed, in odd layouts."""
    lines = []
    for _ in range(draw(st.integers(1, 4))):
        module, name = draw(st.sampled_from(MOVED))
        names = [name, *draw(st.lists(st.sampled_from(["os", "PreTrainedModel"]), max_size=2))]
        names = [n + draw(st.sampled_from(["", " as a", "  as  b"])) for n in names]
        comma = draw(st.sampled_from([", ", ",", " , "]))
        told = draw(
            st.sampled_from(
                [
                    comma.join(names),
                    f"({comma.join(names)})",
                    "(\n    " + ",\n    ".join(names) + ",  # so\n)",
                    " \\\n        " + comma.join(names),
                ]
            )
        )
        statement = f"from {module} import {told}"
        statement += draw(st.sampled_from(["", "  # noqa", "; x = 1", "\n\nx = 'é'"]))
        if draw(st.booleans()) and "\n" not in statement:
            guard = draw(st.sampled_from(["try:", "if True:", "def f():", "class C:"]))
            statement = f"{guard}\n\t{statement}"
            statement += "\nexcept ImportError:\n\tpass" if guard == "try:" else ""
        lines.append(statement)
    text = draw(st.sampled_from(["\n", "\r\n", "\n\n"])).join(lines)
    text += draw(st.sampled_from(["", "\n", "\n# end", "\f\n"]))
    head = draw(st.sampled_from([b"", b"\xef\xbb\xbf", b"# -*- coding: utf-8 -*-\n", b"#!x\n"]))
    return head + text.encode()


@settings(max_examples=200)
@given(_files())
def test_odd_layouts(source: bytes) -> None:
    _rewritten(source)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(MODELS), EDITS), min_size=1, max_size=3))
def test_a_file_that_cannot_be_parsed_is_never_written(tmp_path: Path, tree: Any) -> None:
    sources = {}
    for number, (model, edits) in enumerate(tree):
        path = tmp_path / f"m{number}.py"
        path.write_bytes(spoil_bytes(model.read_bytes(), edits))
        sources[str(path)] = path.read_bytes()
    found = migrate([tmp_path], write=True)
    skipped = {file.path for file in found.skipped}
    for path, source in sources.items():
        now = Path(path).read_bytes()
        if path in skipped:
            assert now == source
        if now != source:
            ast.parse(now)
    examine([tmp_path])
    for path in tmp_path.glob("*"):
        path.unlink()
