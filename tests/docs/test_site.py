"""The site has all there is: public names, commands, pages; and its links lead somewhere."""

import re
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AT_THE_TOP = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")

# What the page "Custom Layers and Utilities" of Transformers 4.34 had.
ITEMS = {
    "custom-layers.md": (
        "Conv1D",
        "PoolerStartLogits",
        "PoolerEndLogits",
        "PoolerAnswerClass",
        "SquadHeadOutput",
        "SQuADHead",
        "SequenceSummary",
        "apply_chunking_to_forward",
        "find_pruneable_heads_and_indices",
        "prune_layer",
        "prune_conv1d_layer",
        "prune_linear_layer",
    ),
    "custom-layers-keras.md": (
        "TFConv1D",
        "TFSequenceSummary",
        "TFCausalLanguageModelingLoss",
        "TFMaskedLanguageModelingLoss",
        "TFMultipleChoiceLoss",
        "TFQuestionAnsweringLoss",
        "TFSequenceClassificationLoss",
        "TFTokenClassificationLoss",
        "get_initializer",
        "keras_serializable",
        "shape_list",
    ),
}

_ENTRY = re.compile(r"^`{6,}\{py:\w+\} (\w+).*\n:module: (\S+)$", re.MULTILINE)
_HEADING = re.compile(r"^#+ +(.*?)\s*$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def entries(text: str) -> list[str]:
    return [f"{module}.{name}" for name, module in _ENTRY.findall(text)]


def without_code(text: str) -> str:
    return re.sub(r"^(`{3,})[^\n`]*\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """What GitHub and MyST make of headings."""
    found = set()
    for heading in _HEADING.findall(without_code(text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        plain = re.sub(r"[^\w\- ]", "", plain.replace("`", "").lower())
        found.add(plain.replace(" ", "-"))
    return found


def broken(page: Path, text: str, texts: dict[str, str]) -> list[str]:
    """The links of a page to files or headings of this project that are not there."""
    faults = []
    for target in (a or b for a, b in _LINK.findall(without_code(text))):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            faults.append(f"{page.name}: {target}")
        elif anchor:
            known = texts.get(file.name) or file.read_text(encoding="utf-8")
            if anchor not in anchors(known):
                faults.append(f"{page.name}: {target}")
    return faults


def test_every_package_is_on_the_site():
    from headsmith_docs.api import PACKAGES, packages

    assert set(packages()) <= set(PACKAGES)
    assert {"headsmith.spec.plan", "headsmith.errors"} <= set(PACKAGES)


def test_every_public_name_has_one_entry(pages):
    from headsmith_docs.api import PACKAGES, home

    wanted = {home(m, name) for m in PACKAGES for name in import_module(m).__all__}
    found = Counter(name for text in pages.values() for name in entries(text))
    assert set(found) == wanted
    assert [name for name, times in found.items() if times > 1] == []


def test_every_public_name_is_listed_with_its_package(pages):
    from headsmith_docs.api import PACKAGES, home

    text = "\n".join(pages.values())
    for module in PACKAGES:
        for name in import_module(module).__all__:
            assert f"| {{py:obj}}`{name} <{home(module, name)}>` | " in text, (module, name)


def test_every_public_name_has_a_docstring_of_its_own():
    from headsmith_docs.api import PACKAGES, _docstring

    bare = [f"{m}.{n}" for m in PACKAGES for n in import_module(m).__all__ if not _docstring(m, n)]
    assert bare == []


@pytest.mark.parametrize("page", ITEMS)
def test_the_items_of_4_34_are_on_their_page_in_order(pages, page):
    module = "headsmith.keras" if "keras" in page else "headsmith.torch"
    assert entries(pages[page]) == [f"{module}.{name}" for name in ITEMS[page]]
    for name in ITEMS[page]:
        section = pages[page].partition(f"### {name}\n")[2].partition("\n### ")[0]
        assert f"from {module} import" in section or name in section.partition("{py:")[0]
        assert "```python\n>>> " in section.partition("{py:")[0], name


def test_every_command_and_option_is_in_the_reference(pages):
    from headsmith_docs.commands import every_command

    commands = list(every_command())
    assert {"headsmith prune", "headsmith qa train"} <= {typed for typed, *_ in commands}
    for typed, command, context in commands:
        section = pages["commands.md"].partition(f" {typed}\n")[2].partition("\n## ")[0]
        assert section, typed
        for parameter in command.get_params(context):
            if "--help" in parameter.opts:
                continue
            shown = [o for o in parameter.opts if o.startswith("-")]
            assert all(re.search(rf"\{{option\}}.*{o}\b", section) for o in shown), (typed, shown)


def test_links_lead_somewhere(pages):
    faults = []
    for name, text in pages.items():
        faults += broken(ROOT / "docs" / name, text, pages)
    for name in AT_THE_TOP:
        # These are read where nothing is filled in.
        text = (ROOT / name).read_text(encoding="utf-8")
        faults += broken(ROOT / name, text, {})
    assert faults == []


def test_a_link_that_leads_nowhere_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One `two`\n[a](#one-two) [b](#three) [c](gone.md) [d](https://x.y/z)")
    text = page.read_text()
    assert broken(page, text, {}) == ["page.md: #three", "page.md: gone.md"]


def test_every_page_is_in_the_table_of_contents_once():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    trees = re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL)
    listed = [line for tree in trees for line in tree.splitlines() if re.match(r"[\w-]+$", line)]
    there = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert Counter(listed) == Counter(there | {"bad-inputs"})


def test_nothing_is_left_to_be_filled_in(pages):
    assert [name for name, text in pages.items() if "<!-- generated:" in text] == []


def test_every_exception_has_its_row(pages):
    from headsmith import errors

    for name in errors.__all__:
        assert f"`{name} <headsmith.errors.{name}>` |" in pages["errors.md"]
