"""Real English text that every Python has at hand: the language reference behind `help()`."""

from __future__ import annotations

import re

from headsmith.errors import DataError

__all__ = ["sentences"]

_BREAK = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_ENOUGH_WORDS = 6


def sentences() -> list[str]:
    """Sentences of the language reference, in a fixed order, without code and repeats.

    Raises:
        DataError: this Python was built without its documentation.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError(
            "This Python has no pydoc_data.topics, the text the demo works on. "
            "Use headsmith prune with a file of your own."
        ) from error
    found: dict[str, None] = {}
    for name in sorted(topics):
        for paragraph in re.split(r"\n\s*\n", topics[name]):
            if _is_prose(paragraph):
                text = " ".join(paragraph.replace("*", "").replace('"', "").split())
                found.update(dict.fromkeys(s for s in _BREAK.split(text) if _is_sentence(s)))
    return list(found)


def _is_prose(paragraph: str) -> bool:
    # Code and grammar stand in deep indentation; "::=" defines a grammar rule.
    return "::=" not in paragraph and ">>>" not in paragraph and not re.match(r" {6}", paragraph)


def _is_sentence(text: str) -> bool:
    letters = sum(c.isalpha() or c == " " for c in text)
    return (
        len(text.split()) >= _ENOUGH_WORDS
        and text[-1] in ".!?"
        and "|" not in text  # what is left of a drawn table
        and letters / len(text) > 0.85
        and len(text) <= 400
    )
