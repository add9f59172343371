"""Quality over speed: what our way keeps at several sizes, and what scores alone keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from headsmith.report.figures.layout import WIDTH, ticks
from headsmith.report.numbers import closeness, percent
from headsmith.report.svg import picture, tag, text
from headsmith.spec.run import CurvePoint

__all__ = ["measure_of", "tradeoff_curve"]

_HEIGHT = 350.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 130.0, 46.0, 58.0
_APART = 17.0  # between labels at the ends of lines

MEASURES = {
    "similarity_rank_correlation": "rank correlation of similarities with the original's",
    "cosine": "mean cosine to the original's output",
    "agreement": "share of answers as the original's",
    "error": "error of what was to be kept",
}
"""Measures a curve may be drawn of, the most telling first, and what they are called."""


class _Dot(NamedTuple):
    x: float
    y: float
    point: CurvePoint | None


def measure_of(points: Sequence[CurvePoint]) -> str | None:
    """The measure that all points have and that tells most; None where there is none."""
    return next((m for m in MEASURES if points and all(m in p.quality for p in points)), None)


def tradeoff_curve(points: Sequence[CurvePoint]) -> Markup | None:
    """A line a way, beginning at the unpruned model, each dot a size.

    Speed is the measured one where all points were timed, else the FLOPs say how much less work
    there is.

    Args:
        points: of a run.

    Returns:
        The picture, or None where there are fewer than two points of one measure.
    """
    measure = measure_of(points)
    if measure is None or len(points) < 2:
        return None
    clock = all(p.latency is not None for p in points)
    best = 0.0 if measure == "error" else 1.0
    ways: dict[str, list[_Dot]] = {}
    for point in points:
        dots = ways.setdefault(point.way, [_Dot(1.0, best, None)])
        dots.append(_Dot(_speed(point, clock), point.quality[measure], point))
    lines = {
        way: sorted(d for d in dots if math.isfinite(d.x) and math.isfinite(d.y))
        for way, dots in ways.items()
    }
    every = [dot for dots in lines.values() for dot in dots]
    axes = _Axes(every)
    drawn = axes.grid()
    for number, (way, dots) in enumerate(lines.items()):
        drawn += _line(axes, way, dots, number, measure)
    drawn += _labels(axes, lines)
    shape = points[0].latency
    across = "times as fast as the original" if clock else "times fewer FLOPs than the original"
    if clock and shape is not None:
        across += f", batch {shape.batch} × {shape.length} tokens"
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    drawn.append(text(middle, _HEIGHT - 8, across, "muted small", "middle"))
    drawn.append(text(4, 14, MEASURES[measure], "muted small"))
    told = "; ".join(
        f"{way} " + ", ".join(f"{closeness(d.y)} at {d.x:.2f}×" for d in dots if d.point)
        for way, dots in lines.items()
    )
    title = f"Lines of the {MEASURES[measure]} over speed: {told}."
    return picture("tradeoff-title", title, WIDTH, _HEIGHT, *drawn)


def _speed(point: CurvePoint, clock: bool) -> float:
    if clock and point.latency is not None:
        return point.latency.speedup
    return 1 / max(point.flops, 1e-9)


def _line(axes: _Axes, way: str, dots: Sequence[_Dot], number: int, measure: str) -> list[Markup]:
    path = "M" + "L".join(f"{axes.x(d.x):.1f} {axes.y(d.y):.1f}" for d in dots)
    drawn = [tag("path", d=path, class_=_style(number))]
    for dot in dots:
        if dot.point is None:
            continue
        note = (
            f"{way}, {percent(dot.point.flops)} of the FLOPs: {dot.x:.2f}×, "
            f"{MEASURES[measure]} {closeness(dot.y)}"
        )
        x, y = axes.x(dot.x), axes.y(dot.y)
        fill = "after" if number == 0 else "before"
        drawn.append(tag("g", tag("title", note), tag("circle", cx=x, cy=y, r=4.5, class_=fill)))
        if number == 0:
            drawn.append(text(x + 2, y - 10, percent(dot.point.flops), "small", "middle"))
    return drawn


def _labels(axes: _Axes, lines: dict[str, list[_Dot]]) -> list[Markup]:
    """Names at the ends of the lines, pushed apart where they would cover each other."""
    ends = sorted(
        (axes.y(dots[-1].y), axes.x(dots[-1].x), number, way)
        for number, (way, dots) in enumerate(lines.items())
    )
    lowest = _HEIGHT - _BOTTOM - 8
    places: list[float] = []
    for y, *_ in reversed(ends):  # from the lowest up, so that none slips below the axis
        places.append(min(y, lowest))
        lowest = places[-1] - _APART
    drawn = []
    for y, (_, x, number, way) in zip(reversed(places), ends, strict=True):
        sample = tag("path", d=f"M{x + 12:.1f} {y:.1f}h18", class_=_style(number))
        drawn += [sample, text(x + 36, y + 4, way, "strong" if number == 0 else "muted")]
    return drawn


def _style(number: int) -> str:
    return "curve" if number == 0 else f"curve other way{min(number, 2)}"


class _Axes:
    """Where a speed and a quality stand in the picture."""

    def __init__(self, dots: Sequence[_Dot]) -> None:
        xs, ys = [d.x for d in dots], [d.y for d in dots]
        self.across = ticks(min(xs), max(xs))
        self.up = ticks(min(ys), max(ys))

    def x(self, value: float) -> float:
        first, last = self.across[0], max(self.across[-1], self.across[0] + 1e-9)
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (value - first) / (last - first)

    def y(self, value: float) -> float:
        first, last = self.up[0], self.up[-1]
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - (value - first) / (last - first))

    def grid(self) -> list[Markup]:
        drawn = []
        for value in self.up:
            y = self.y(value)
            drawn.append(tag("path", d=f"M{_LEFT:.1f} {y:.1f}H{WIDTH - _RIGHT:.1f}", class_="grid"))
            drawn.append(text(_LEFT - 10, y + 4, f"{value:g}", "muted small", "end"))
        for value in self.across:
            x = self.x(value)
            drawn.append(text(x, _HEIGHT - _BOTTOM + 20, f"{value:g}×", "muted small", "middle"))
        return drawn
