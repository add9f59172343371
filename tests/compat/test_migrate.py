"""Imports rewritten: before and after, and a second run changes nothing."""

from __future__ import annotations

import ast
import os
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headsmith.compat.migrate import migrate, rewrite
from headsmith.compat.names import NAMES
from headsmith.errors import DataError

CASES = {
    "one name": (
        "from transformers.pytorch_utils import prune_layer\n",
        "from headsmith.torch import prune_layer\n",
    ),
    "moved within Transformers": (
        "from transformers.modeling_utils import Conv1D  # as in GPT-2\n",
        "from transformers.pytorch_utils import Conv1D  # as in GPT-2\n",
    ),
    "mixed, one line": (
        "from transformers.modeling_utils import PreTrainedModel, prune_layer, Conv1D  # three\n",
        """\
        from transformers.modeling_utils import PreTrainedModel  # three
        from transformers.pytorch_utils import Conv1D
        from headsmith.torch import prune_layer
        """,
    ),
    "the usual one": (
        """\
        from transformers.modeling_utils import (
            PreTrainedModel,
            apply_chunking_to_forward,
            find_pruneable_heads_and_indices,
            prune_linear_layer,
        )
        """,
        """\
        from transformers.modeling_utils import (
            PreTrainedModel,
        )
        from transformers.pytorch_utils import apply_chunking_to_forward, prune_linear_layer
        from headsmith.torch import find_pruneable_heads_and_indices
        """,
    ),
    "comments go with their names": (
        """\
        # above
        from transformers.modeling_utils import (  # opening
            # the base
            PreTrainedModel,  # base
            SQuADHead,  # head
            Conv1D  # last
        )  # closing
        """,
        """\
        # above
        from transformers.modeling_utils import (  # opening
            # the base
            PreTrainedModel  # base
        )  # closing
        from transformers.pytorch_utils import (
            Conv1D  # last
        )
        from headsmith.torch import (
            SQuADHead  # head
        )
        """,
    ),
    "comments above go with their names": (
        """\
        from transformers.modeling_utils import (
            # the head
            SQuADHead,

            # the base,
            # in two lines
            PreTrainedModel,  # base
            # of GPT-2
            Conv1D,
            # for states
            unwrap_model,
            # that is all
        )
        """,
        """\
        from transformers.modeling_utils import (
            # the base,
            # in two lines
            PreTrainedModel,  # base
            # for states
            unwrap_model,
            # that is all
        )
        from transformers.pytorch_utils import (
            # of GPT-2
            Conv1D,
        )
        from headsmith.torch import (
            # the head
            SQuADHead,
        )
        """,
    ),
    "a comment above, brackets that hang": (
        """\
        from transformers.modeling_utils import (PreTrainedModel,
            # the head
            SQuADHead, Conv1D,
            # for states
            unwrap_model)
        """,
        """\
        from transformers.modeling_utils import (PreTrainedModel,
            # for states
            unwrap_model)
        from transformers.pytorch_utils import Conv1D
        from headsmith.torch import (
            # the head
            SQuADHead)
        """,
    ),
    "all names one way keep the form": (
        """\
        from transformers.modeling_utils import (
            SQuADHead,  # head
            SequenceSummary as Summary,
        )
        """,
        """\
        from headsmith.torch import (
            SQuADHead,  # head
            SequenceSummary as Summary,
        )
        """,
    ),
    "guards": (
        """\
        try:
            from transformers.modeling_utils import prune_linear_layer, prune_layer as cut
        except ImportError:  # 4.x
            from transformers.pytorch_utils import prune_linear_layer, prune_layer as cut
        """,
        """\
        try:
            from transformers.pytorch_utils import prune_linear_layer
            from headsmith.torch import prune_layer as cut
        except ImportError:  # 4.x
            from transformers.pytorch_utils import prune_linear_layer
            from headsmith.torch import prune_layer as cut
        """,
    ),
    "backslash": (
        """\
        from transformers.modeling_utils import PreTrainedModel, \\
            SQuADHead
        """,
        """\
        from transformers.modeling_utils import PreTrainedModel
        from headsmith.torch import SQuADHead
        """,
    ),
    "several statements on a line": (
        "import os; from transformers.modeling_utils import PreTrainedModel, SQuADHead; x = 1\n",
        "import os; from transformers.modeling_utils import PreTrainedModel; "
        "from headsmith.torch import SQuADHead; x = 1\n",
    ),
    "inside an if": (
        "if True: from transformers.modeling_utils import PreTrainedModel, SQuADHead\n",
        "if True: from transformers.modeling_utils import PreTrainedModel; "
        "from headsmith.torch import SQuADHead\n",
    ),
    "inside a function": (
        """\
        def build():
            '''Build.'''
            from transformers import AutoModel, prune_layer

            return AutoModel, prune_layer
        """,
        """\
        def build():
            '''Build.'''
            from transformers import AutoModel
            from headsmith.torch import prune_layer

            return AutoModel, prune_layer
        """,
    ),
    "another name": (
        "from transformers.generation import LogitsWarper, GenerationMixin\n",
        """\
        from transformers.generation import GenerationMixin
        from transformers.generation.logits_process import LogitsProcessor as LogitsWarper
        """,
    ),
    "another name in the same place": (
        "from transformers.generation.utils import SampleDecoderOnlyOutput as Out\n",
        "from transformers.generation.utils import GenerateDecoderOnlyOutput as Out\n",
    ),
    "model modules": (
        "from transformers.models.xlnet.modeling_xlnet import SequenceSummary, XLNetModel\n",
        """\
        from transformers.models.xlnet.modeling_xlnet import XLNetModel
        from headsmith.torch import SequenceSummary
        """,
    ),
    "device maps and TensorFlow": (
        """\
        from transformers.utils.model_parallel_utils import get_device_map
        from transformers.modeling_tf_utils import TFPreTrainedModel, shape_list
        """,
        """\
        from headsmith.compat.device_map import get_device_map
        from transformers.modeling_tf_utils import TFPreTrainedModel
        from headsmith.keras import shape_list
        """,
    ),
}

UNTOUCHED = [
    "from ...modeling_utils import find_pruneable_heads_and_indices\n",
    "from .modeling_utils import prune_layer\n",
    "from transformers.modeling_utils import PreTrainedModel\n",
    "from transformers.modeling_utils import *\n",
    "from transformers.pytorch_utils import Conv1D, apply_chunking_to_forward\n",
    "import transformers.modeling_utils\n",
    "text = 'from transformers.modeling_utils import SQuADHead'\n",
    "from mytransformers.modeling_utils import SQuADHead\n",
    "from transformers.optimization import AdamW\n",
    "from transformers.modeling_utils import no_such_name\n",
]


@pytest.mark.parametrize("name", CASES)
def test_before_and_after(name: str) -> None:
    before, after = (textwrap.dedent(text) for text in CASES[name])
    new, changes = rewrite(before.encode())
    assert new.decode() == after
    assert changes
    assert rewrite(new) == (new, [])


@pytest.mark.parametrize("source", UNTOUCHED)
def test_untouched(source: str) -> None:
    assert rewrite(source.encode()) == (source.encode(), [])


@given(
    st.lists(
        st.sampled_from(
            [row.name for row in NAMES if row.module == "transformers.modeling_utils"]
            + ["PreTrainedModel", "unwrap_model"]
        ),
        min_size=1,
        max_size=6,
        unique=True,
    ),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.sampled_from(["plain", "brackets", "lines", "above", "hanging"]),
    st.booleans(),
)
def test_every_name_is_bound_as_before(
    names: list[str], aliased: list[bool], form: str, trailing: bool
) -> None:
    told = [f"{n} as a{i}" if aliased[i] else n for i, n in enumerate(names)]
    comma = "," if trailing else ""
    joined = {
        "plain": ", ".join(told),
        "brackets": f"({', '.join(told)}{comma})",
        "lines": "(\n    " + ",  # of it\n    ".join(told) + f"{comma}  # last\n)",
        "above": "(\n    # of it\n    " + ",\n\n    # of it\n    ".join(told) + f"{comma}\n)",
        "hanging": "(" + ",\n    ".join(told) + f"{comma})",
    }[form]
    source = f"from transformers.modeling_utils import {joined}  # all\nx = 1\n"
    new, _ = rewrite(source.encode())
    bound = sorted(
        alias.asname or alias.name
        for node in ast.walk(ast.parse(new))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    )
    assert bound == sorted(t.rpartition(" ")[2] for t in told)
    assert rewrite(new)[0] == new
    assert new.count(b"#") == source.count("#")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_encodings_and_newlines_stay(newline: str) -> None:
    head = f"# -*- coding: latin-1 -*-{newline}name = 'é'{newline}"
    old = f"from transformers.modeling_utils import Conv1D, SQuADHead{newline}"
    new, _ = rewrite((head + old).encode("latin-1"))
    text = new.decode("latin-1")
    assert text.startswith(head)
    assert text.count("\n") == text.count(newline)
    marked, _ = rewrite(b"\xef\xbb\xbf" + old.encode())
    assert marked.startswith(b"\xef\xbb\xbffrom transformers")


@pytest.mark.parametrize(
    "source", [b"from transformers import (\n", b"print 'x'\n", b"a = '\xff'\n", b"x = 1\x00\n"]
)
def test_what_does_not_parse_is_an_error(source: bytes) -> None:
    with pytest.raises(DataError):
        rewrite(source)


@pytest.mark.parametrize("deep", ["-" * 20_000 + "1", "-" * 900 + "1", "a" + ".b" * 20_000])
def test_what_is_nested_too_deeply_is_an_error(deep: str) -> None:
    with pytest.raises(DataError, match="nested too deeply"):
        rewrite(f"from transformers import prune_layer\nx = {deep}\n".encode())


def test_old_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "old.py"
    path.write_bytes(b"x = 1\rfrom transformers import AutoModel, prune_layer\ry = 2")
    migrate([path], write=True)
    assert path.read_bytes() == (
        b"x = 1\rfrom transformers import AutoModel\rfrom headsmith.torch import prune_layer\ry = 2"
    )


@pytest.mark.parametrize(
    "end", ["\n\n   \n  ", "\n\t", "y = 2\r", "\r", "\r\n \r\n", "\f\n", "# end", "# end\\"]
)
@pytest.mark.parametrize("head", ["", "\f\n \n", "x = 1\r", "x = 1\r\n"])
def test_nothing_before_or_after_changes(head: str, end: str) -> None:
    old = "from transformers import AutoModel, prune_layer"
    new, _ = rewrite(f"{head}{old}\n{end}".encode())
    text = new.decode()
    first, last = text.index("from transformers"), text.index("prune_layer") + len("prune_layer")
    assert (text[:first], text[last:]) == (head, f"\n{end}")
    whole = rewrite(f"{head}{old}".encode())[0].decode()
    assert whole.endswith("import prune_layer")


def test_what_is_not_a_moving_import_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from headsmith.compat import rewriting

    def tidied(self: object, original: object, updated: Any) -> Any:
        return updated.with_changes(comment=None)

    monkeypatch.setattr(rewriting.ImportRewriter, "leave_EmptyLine", tidied, raising=False)
    old = "from transformers import prune_layer\n"
    for source in (f"# lost\nx = 1\n{old}", f"{old}\n# lost\nx = 1\n", f"{old}\n# lost\n{old}"):
        with pytest.raises(DataError, match="more than its imports"):
            rewrite(source.encode())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (skipped,) = migrate([tmp_path]).skipped
    assert skipped.skipped == "not a regular file"


def test_what_would_change_more_than_imports_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from headsmith.compat import rewriting

    whole = rewriting.ImportRewriter.leave_ImportFrom

    def broken(self: object, original: object, updated: object) -> object:
        result = whole(self, original, updated)  # type: ignore[arg-type]
        return result.nodes[0] if hasattr(result, "nodes") else result

    monkeypatch.setattr(rewriting.ImportRewriter, "leave_ImportFrom", broken)
    with pytest.raises(DataError, match="more than its imports"):
        rewrite(b"from transformers.modeling_utils import PreTrainedModel, SQuADHead\n")


def _tree(folder: Path) -> None:
    files = {
        "good.py": "from transformers.modeling_utils import SQuADHead\n",
        "plain.py": "x = 1\n",
        "broken.py": "from transformers import (\n",
        "notes.txt": "from transformers.modeling_utils import SQuADHead\n",
        ".hidden/good.py": "from transformers.modeling_utils import SQuADHead\n",
        "env/pyvenv.cfg": "",
        "env/good.py": "from transformers.modeling_utils import SQuADHead\n",
        "deep/er/good.py": "from transformers import prune_layer\n",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_a_tree_is_shown_then_written(tmp_path: Path) -> None:
    _tree(tmp_path)
    (tmp_path / "good.py").chmod(0o755)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    shown = migrate([tmp_path])
    assert shown.files == 4
    assert [Path(f.path).name for f in shown.changed] == ["good.py", "good.py"]
    assert [Path(f.path).name for f in shown.skipped] == ["broken.py"]
    assert "line 1" in shown.skipped[0].skipped
    assert "-from transformers import prune_layer" in shown.changed[0].diff
    assert {p: p.read_bytes() for p in before} == before
    written = migrate([tmp_path], write=True)
    assert all(f.written for f in written.changed)
    assert (tmp_path / "good.py").read_text() == "from headsmith.torch import SQuADHead\n"
    assert (tmp_path / "good.py").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "broken.py").read_bytes() == before[tmp_path / "broken.py"]
    assert migrate([tmp_path], write=True).changed == ()
    assert not list(tmp_path.rglob(".*.writing-*"))


def test_a_file_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text("from transformers import prune_layer\n", encoding="utf-8")
    assert len(migrate([path]).changed) == 1
    with pytest.raises(DataError, match="no file or folder"):
        migrate([tmp_path / "nothing"])


def test_what_cannot_be_written_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from headsmith.errors import OutputError

    def full(path: Path, data: bytes) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr("headsmith.compat.migrate.replace_file", full)
    path = tmp_path / "a.py"
    path.write_text("from transformers import prune_layer\n", encoding="utf-8")
    done = migrate([path], write=True)
    assert done.changed == ()
    assert "disk is full" in done.skipped[0].skipped
    assert "headsmith" not in path.read_text()


def test_several_processes_find_the_same(tmp_path: Path) -> None:
    for i in range(70):
        (tmp_path / f"m{i:02}.py").write_text("from transformers import prune_layer\n")
    told: list[tuple[str, int, int]] = []
    one = migrate([tmp_path])
    two = migrate([tmp_path], workers=2, progress=lambda *step: told.append(step))
    assert one == two
    assert told[-1] == ("files", 70, 70)


def test_replacing_a_file_keeps_its_mode_and_follows_links(tmp_path: Path) -> None:
    from headsmith.errors import OutputError
    from headsmith.files import replace_file

    path, link = tmp_path / "a", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)
    replace_file(link, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    with pytest.raises(OutputError, match="Could not write"):
        replace_file(tmp_path / "nothing", b"")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "link"]
