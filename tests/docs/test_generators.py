"""What the generators of the documentation write."""

import csv

import pytest

DOCSTRING = """\
Do a thing with `Thing`.

Args:
    x: a number,
        of any size.
    *rest: what `other` takes.

Returns:
    Another number.

Raises:
    ValueError: it is none.

Example:
    >>> 1 + 1
    2
"""


def test_a_docstring_becomes_markdown():
    from headsmith_docs.docstrings import first_sentence, to_markdown

    known = {"Thing": "package.Thing"}
    assert to_markdown(DOCSTRING, known.get) == (
        "Do a thing with {py:obj}`Thing <package.Thing>`.\n\n"
        ":param x: a number,\n    of any size.\n"
        ":param \\*rest: what `other` takes.\n\n"
        ":returns: Another number.\n\n"
        ":raises ValueError: it is none.\n\n"
        "```python\n>>> 1 + 1\n2\n```"
    )
    assert first_sentence(DOCSTRING) == "Do a thing with `Thing`."


def test_code_blocks_are_left_alone():
    from headsmith_docs.docstrings import to_markdown

    text = "A drawing:\n\n```\n`Thing` │ x\n```"
    assert to_markdown(text, {"Thing": "package.Thing"}.get) == text


def test_a_signature_has_annotations_without_quotes():
    from headsmith_docs.api import entry

    text = entry("headsmith.torch.prune_layer")
    assert "prune_layer(layer: Layer, index: Tensor, dim: int | None = None) -> Layer" in text


def test_defaults_that_are_functions_are_not_shown():
    from headsmith_docs.api import entry

    text = entry("headsmith.pruning.prune")
    assert "progress: Progress = ..." in text
    assert " at 0x" not in text


def test_a_constant_has_the_string_below_it():
    from headsmith_docs.api import entry

    assert "What a block is made of" in entry("headsmith.spec.plan.Kind")


def test_a_name_exported_twice_is_at_home_once():
    from headsmith_docs.api import home

    assert home("headsmith", "prune") == "headsmith.pruning.prune"
    assert home("headsmith.keras", "Conv1D") == "headsmith.keras.TFConv1D"


def test_differences_are_found_by_item():
    from headsmith_docs.differences import rows_of

    rows = rows_of("PyTorch", "prune_layer")
    assert rows.splitlines()[0] == "| in 4.34 | here |"
    assert "dtype kept" in rows
    assert "mode kept" in rows
    with pytest.raises(LookupError, match="no row about `Nothing` under Keras"):
        rows_of("Keras", "Nothing")


def test_help_that_is_to_be_typed_stays_in_lines():
    from headsmith_docs.commands import _prose

    text = "Two\nlines.\n\n\b\nExamples:\n  a b\n  c\nThen:\n  d"
    assert _prose(text) == "Two lines.\n\nExamples:\n\n```\na b\nc\n```\n\nThen:\n\n```\nd\n```"


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_without_results_the_page_says_so(tmp_path):
    from headsmith_docs.bench import page

    assert "make bench" in page(tmp_path)


def test_results_beside_a_reference(tmp_path):
    from headsmith_docs.bench import page

    row = {"topic": "slicing", "case": "prune_linear_layer", "setting": "768×768 | dim 0"}
    row |= {"ours_ms": "0.19101", "ours_iqr_ms": "0.06", "reference_ms": "3.44605"}
    row |= {"reference_iqr_ms": "1.0", "faster_median": "18.041", "ours_peak_extra_mib": ""}
    row |= {"reference_peak_extra_mib": "", "cpu": "A <fine> one", "date": "2026-01-02T03:04"}
    write(tmp_path / "results.csv", [row])
    text = page(tmp_path)
    told = r"| prune_linear_layer, 768×768 \| dim 0 | 0.191 ± 0.03 | 3.45 ± 0.5 | 18.04× |"
    assert told in text
    assert "### Slicing layers" in text
    assert "cpu A &lt;fine> one; date 2026-01-02." in text
    plot = next(line for line in text.splitlines() if line.startswith("<figure"))
    assert plot.endswith("</figure>")
    assert "18.04×</text>" in plot


def test_ways_of_pruning(tmp_path):
    from headsmith_docs.bench import page

    rows = [
        {"way": way, "kept": kept, "spearman": score, "note": "", "torch": "2"}
        for way, kept, score in (("ours", 0.5, 80.1), ("ours", 0.25, 70.2), ("a & b", 0.5, 60))
    ]
    write(tmp_path / "pruning-sentences.csv", rows)
    text = page(tmp_path)
    assert "## Pruning: sentences" in text
    assert "| way | kept | spearman |\n| --- | ---: | ---: |\n| ours | 0.5 | 80.1 |" in text
    assert "a &amp; b</text>" in text
    assert "Measured with: torch 2." in text
