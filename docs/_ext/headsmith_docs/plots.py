"""Plots as SVG in the page itself, in the colours of its theme."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from headsmith.report.svg import picture, tag, text

__all__ = ["curves", "ratios"]

_WIDTH = 720.0
_ROW = 22.0
_LABEL = 380.0


def ratios(identity: str, bars: Sequence[tuple[str, float]]) -> str:
    """Bars of how many times as fast, on a logarithmic scale that begins at 1.

    Args:
        identity: unique on the page.
        bars: (label, ratio above 0); below 1 the bar goes to the left.
    """
    least = min(0.5, *(ratio for _, ratio in bars))
    most = max(2.0, *(ratio for _, ratio in bars))
    low, high = math.log2(least), math.log2(most)
    room = _WIDTH - _LABEL - 60

    def x(ratio: float) -> float:
        return _LABEL + room * (math.log2(ratio) - low) / (high - low)

    height = len(bars) * _ROW + 8
    drawn = [tag("path", d=f"M{x(1):.1f} 2V{height - 4:.1f}", class_="axis")]
    for place, (label, ratio) in enumerate(bars):
        y = 4 + place * _ROW
        left, right = sorted((x(1), x(ratio)))
        short = label if len(label) <= 58 else f"{label[:29]}…{label[-28:]}"  # both ends tell
        drawn.append(text(_LABEL - 8, y + 14, short, "label", "end"))
        drawn.append(
            tag(
                "g",
                tag("title", f"{label}: {ratio:.2f} times as fast"),
                tag("rect", x=left, y=y + 3, width=max(right - left, 1.0), height=_ROW - 8, rx=2),
                class_="ours" if ratio >= 1 else "slower",
            )
        )
        drawn.append(text(right + 6, y + 14, f"{ratio:.2f}×", "label"))
    title = "Bars: how many times as fast, " + "; ".join(f"{n}: {r:.2f}" for n, r in bars) + "."
    return _figure(picture(identity, title, _WIDTH, height, *drawn))


def curves(
    identity: str, lines: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str
) -> str:
    """A line for each way, over how much is kept.

    Args:
        identity: unique on the page.
        lines: way → points; a way with one point is a dot.
        across: what the points' first number is.
        up: what their second is.
    """
    points = [p for line in lines.values() for p in line]
    x0, x1 = min(p[0] for p in points), max(p[0] for p in points)
    y0, y1 = min(p[1] for p in points), max(p[1] for p in points)
    left, top, bottom, right, height = 60.0, 12.0, 40.0, 230.0, 320.0

    def x(value: float) -> float:
        return left + (_WIDTH - left - right) * (value - x0) / ((x1 - x0) or 1.0)

    def y(value: float) -> float:
        return top + (height - top - bottom) * (1 - (value - y0) / ((y1 - y0) or 1.0))

    drawn = []
    for step in range(5):
        value = y0 + (y1 - y0) * step / 4
        drawn.append(
            tag("path", d=f"M{left:.1f} {y(value):.1f}H{_WIDTH - right:.1f}", class_="grid")
        )
        drawn.append(text(left - 8, y(value) + 4, f"{value:.4g}", "label", "end"))
    for value in sorted({p[0] for p in points}):
        drawn.append(text(x(value), height - 20, f"{value:g}", "label", "middle"))
    drawn.append(text((left + _WIDTH - right) / 2, height - 3, across, "label", "middle"))
    drawn.append(text(4, top + 2, up, "label"))
    for number, (way, line) in enumerate(lines.items()):
        hue = f"hue-{number % 8}"
        ordered = sorted(line)
        path = "M" + "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in ordered)
        dots = [
            tag(
                "circle",
                tag("title", f"{way}: {b:g} at {a:g}"),
                cx=x(a),
                cy=y(b),
                r=3.5,
                class_=hue,
            )
            for a, b in ordered
        ]
        drawn += [tag("path", d=path, class_=f"line {hue}"), *dots]
        place = top + 8 + number * 18
        drawn.append(tag("circle", cx=_WIDTH - right + 18, cy=place, r=4, class_=hue))
        drawn.append(text(_WIDTH - right + 28, place + 4, way, "label"))
    height = max(height, top + 20 + len(lines) * 18)
    title = f"Lines of {up} over {across}, one for each of: {', '.join(lines)}."
    return _figure(picture(identity, title, _WIDTH, height, *drawn))


def _figure(svg: str) -> str:
    # One line: a blank one would end the HTML block.
    return f'<figure class="plot">{svg}</figure>'
