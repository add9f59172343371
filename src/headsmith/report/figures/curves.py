"""Lines over an axis: the loss of a training run, and what each no-answer threshold gives."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from headsmith.report.figures.layout import LABEL, WIDTH, ticks
from headsmith.report.svg import picture, tag, text

__all__ = ["loss_curve", "threshold_curve"]

_HEIGHT = 240.0
_TOP, _BOTTOM = 14.0, 46.0

Points = Sequence[tuple[float, float]]


def loss_curve(losses: Points) -> Markup | None:
    """The loss over the steps.

    Args:
        losses: (step, loss), steps rising.

    Returns:
        The picture, or None where there are fewer than two points.
    """
    points = _finite(losses)
    if len(points) < 2:
        return None
    axes = _Axes(points, low=0.0)
    title = (
        f"Line of the loss in training: {points[0][1]:.2f} at step {points[0][0]:.0f}, "
        f"{points[-1][1]:.2f} at step {points[-1][0]:.0f}."
    )
    return picture(
        "loss-title",
        title,
        WIDTH,
        _HEIGHT,
        *axes.grid("loss"),
        axes.line(points),
        text((LABEL + WIDTH) / 2, _HEIGHT - 6, "step", "muted small", "middle"),
    )


def threshold_curve(points: Points, chosen: float | None = None) -> Markup | None:
    """What each no-answer threshold gives.

    Args:
        points: (threshold, F1 in percent), thresholds rising.
        chosen: the threshold in use; None marks none.

    Returns:
        The picture, or None where there are fewer than two points.
    """
    points = _finite(points)
    if len(points) < 2:
        return None
    axes = _Axes(points)
    drawn = [*axes.grid("F1"), axes.line(points)]
    best = max(points, key=lambda p: p[1])
    note = ""
    if chosen is not None and math.isfinite(chosen):
        inside = min(max(chosen, points[0][0]), points[-1][0])
        x = axes.x(inside)
        drawn.append(
            tag("path", d=f"M{x:.1f} {_TOP:.1f}V{_HEIGHT - _BOTTOM:.1f}", class_="whisker")
        )
        side = "end" if x > (LABEL + WIDTH) / 2 else "start"
        drawn.append(
            text(x + (-6 if side == "end" else 6), _TOP + 10, "in use", "muted small", side)
        )
        note = f" The threshold in use is {chosen:.3g}."
    drawn.append(tag("circle", cx=axes.x(best[0]), cy=axes.y(best[1]), r=4, class_="after"))
    drawn.append(text((LABEL + WIDTH) / 2, _HEIGHT - 6, "no-answer score", "muted small", "middle"))
    title = f"Line of F1 over the threshold: at best {best[1]:.1f} at {best[0]:.3g}.{note}"
    return picture("threshold-title", title, WIDTH, _HEIGHT, *drawn)


def _finite(points: Points) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points if math.isfinite(x) and math.isfinite(y)]


class _Axes:
    """Where a value stands in the picture."""

    def __init__(self, points: Points, low: float | None = None) -> None:
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        self.x0, self.x1 = min(xs), max(xs)
        bottom = min(ys) if low is None else low
        self.ticks = ticks(bottom, max(ys))
        self.y0, self.y1 = self.ticks[0], self.ticks[-1]

    def x(self, value: float) -> float:
        return LABEL + (WIDTH - LABEL - 12) * (value - self.x0) / ((self.x1 - self.x0) or 1.0)

    def y(self, value: float) -> float:
        room = _HEIGHT - _TOP - _BOTTOM
        return _TOP + room * (1 - (value - self.y0) / ((self.y1 - self.y0) or 1.0))

    def grid(self, name: str) -> list[Markup]:
        drawn = []
        for value in self.ticks:
            y = self.y(value)
            drawn.append(tag("path", d=f"M{LABEL:.1f} {y:.1f}H{WIDTH - 12:.1f}", class_="grid"))
            drawn.append(text(LABEL - 10, y + 4, f"{value:g}", "muted small", "end"))
        for value, side in ((self.x0, "start"), (self.x1, "end")):
            drawn.append(text(self.x(value), _HEIGHT - 28, f"{value:.4g}", "muted small", side))
        drawn.append(text(4, _TOP + 4, name, "muted small"))
        return drawn

    def line(self, points: Points) -> Markup:
        path = "M" + "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
        return tag("path", d=path, class_="curve")
