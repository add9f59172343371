"""Google-style docstrings, whose text is Markdown, as MyST Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

__all__ = ["first_sentence", "to_markdown"]

_SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Warns|Example|Examples|Note):$")
_FIELDS = {"Args": "param", "Attributes": "ivar", "Raises": "raises", "Warns": "raises"}
_ITEM = re.compile(r"^(\*{0,2}[\w.]+(?:, \*{0,2}[\w.]+)*)(?: \([^)]*\))?:(?: |$)(.*)")

Link = Callable[[str], str | None]
"""Given what stands in backticks, the full name that it links to, or None."""


def first_sentence(docstring: str) -> str:
    """The summary line, as one line."""
    return " ".join(docstring.strip().partition("\n\n")[0].split())


def to_markdown(docstring: str, link: Link = lambda text: None) -> str:
    """The whole docstring.

    Args:
        docstring: as `inspect.getdoc` gives it.
        link: what the words in backticks link to.
    """
    parts: list[str] = []
    for heading, lines in _sections(docstring.splitlines()):
        body = "\n".join(lines).strip("\n")
        if not body:
            continue
        if not heading:
            parts.append(_linked(body, link))
        elif heading in _FIELDS:
            parts.append(_linked("\n".join(_fields(_FIELDS[heading], lines)), link))
        elif heading in ("Returns", "Yields"):
            field = "returns" if heading == "Returns" else "yields"
            parts.append(_linked(_field(field, body.splitlines()), link))
        elif heading == "Note":
            parts.append(_linked(body, link))
        else:
            parts.append(_example(body))
    return "\n\n".join(parts)


def _sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    heading, found = "", list[str]()
    for line in lines:
        title = _SECTION.match(line)
        if title:
            yield heading, found
            heading, found = title[1], []
        elif heading and line and not line.startswith(" "):
            # What is not indented any more is text again.
            yield heading, found
            heading, found = "", [line]
        else:
            found.append(line.removeprefix("    ") if heading else line)
    yield heading, found


def _fields(field: str, lines: list[str]) -> Iterator[str]:
    items: list[tuple[str, list[str]]] = []
    for line in lines:
        item = _ITEM.match(line)
        if item:
            items.append((item[1], [item[2]]))
        elif items:
            items[-1][1].append(line.removeprefix("    "))
    for name, text in items:
        yield _field(f"{field} {name}".replace("*", r"\*"), text)


def _field(name: str, lines: list[str]) -> str:
    text = "\n    ".join(line.strip() for line in lines if line.strip())
    return f":{name}: {text}"


def _example(body: str) -> str:
    if ">>>" in body:
        return f"```python\n{body}\n```"
    return f"```\n{body}\n```"


def _linked(text: str, link: Link) -> str:
    def replace(found: re.Match[str]) -> str:
        target = link(found[1])
        return found[0] if target is None else f"{{py:obj}}`{found[1]} <{target}>`"

    # Fenced blocks are left as they are.
    pieces = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(
        piece if piece.startswith("```") else re.sub(r"(?<!`)`([\w.]+)`(?!`)", replace, piece)
        for piece in pieces
    )
