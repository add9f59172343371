"""SVG as nested calls: every text and every attribute is escaped on the way."""

from __future__ import annotations

import math

from markupsafe import Markup, escape

__all__ = ["picture", "tag", "text"]


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """One element.

    Args:
        name: such as `"rect"`.
        *children: texts, which are escaped, and elements, which are not.
        **attributes: `font_size` becomes `font-size`, `class_` becomes `class`; None is left
            out, numbers are rounded to what can be seen.

    Example:
        >>> from headsmith.report.svg import tag
        >>> tag("text", "a < b", x=1.2345, class_="label")
        Markup('<text x="1.23" class="label">a &lt; b</text>')
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(children)
    return Markup(f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>")


def text(x: float, y: float, content: str, class_: str = "", anchor: str = "start") -> Markup:
    """Text with its baseline at `y`; `anchor` is start, middle or end."""
    return tag("text", content, x=x, y=y, class_=class_ or None, text_anchor=anchor)


def picture(identity: str, title: str, width: float, height: float, *children: str) -> Markup:
    """A whole picture, named for those who cannot see it.

    Args:
        identity: unique on the page.
        title: what the picture shows, in one sentence.
        width: of the drawing, in its own units.
        height: of the drawing.
        *children: its elements.
    """
    return tag(
        "svg",
        tag("title", title, id=identity),
        *children,
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        role="img",
        aria_labelledby=identity,
        xmlns="http://www.w3.org/2000/svg",
    )


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else "0"
    return str(value)
