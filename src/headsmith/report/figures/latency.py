"""Bars of time: one call before and after, with the spread."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from headsmith.report.figures.layout import WIDTH
from headsmith.report.numbers import milliseconds
from headsmith.report.svg import picture, tag, text
from headsmith.spec.run import LatencyRun, Timing

__all__ = ["latency_bars"]


def latency_bars(runs: Sequence[LatencyRun]) -> Markup | None:
    """Two bars a shape, before and after, with the quartiles as whiskers.

    Args:
        runs: measured times.

    Returns:
        The picture, or None where nothing was measured.
    """
    if not runs:
        return None
    label, room = 150.0, WIDTH - 150 - 190
    drawn = []
    for place, run in enumerate(runs):
        y = 8 + place * 74.0
        # Each shape has its own scale: a batch of 32 would make a batch of 1 invisible.
        longest = max(run.before.high_ms, run.before.median_ms, run.after.high_ms, 1e-9)
        drawn.append(text(label - 14, y + 22, f"batch {run.batch}", "strong", "end"))
        drawn.append(text(label - 14, y + 40, f"{run.length} tokens", "muted small", "end"))
        for row, (name, timing) in enumerate((("before", run.before), ("after", run.after))):
            drawn.append(_timing_bar(name, timing, label, y + 4 + row * 27, room / longest))
        drawn.append(
            text(WIDTH - 4, y + 36, f"{run.speedup:.2f}×", "figure", "end"),
        )
        drawn.append(text(WIDTH - 4, y + 52, "as fast", "muted small", "end"))
    shapes = "; ".join(
        f"batch {r.batch} of {r.length} tokens from {milliseconds(r.before.median_ms)} to "
        f"{milliseconds(r.after.median_ms)}"
        for r in runs
    )
    title = f"Bars of the time of one call before and after pruning: {shapes}."
    return picture("latency-title", title, WIDTH, 8 + len(runs) * 74.0, *drawn)


def _timing_bar(name: str, timing: Timing, x: float, y: float, scale: float) -> Markup:
    end = x + timing.median_ms * scale
    low, high = x + timing.low_ms * scale, x + timing.high_ms * scale
    middle = y + 11
    whisker = f"M{low:.1f} {middle:.1f}H{high:.1f}M{low:.1f} {y + 7:.1f}v8M{high:.1f} {y + 7:.1f}v8"
    note = (
        f"{name}: median {milliseconds(timing.median_ms)}, quartiles {milliseconds(timing.low_ms)}"
        f" to {milliseconds(timing.high_ms)}, {timing.rounds} rounds"
    )
    return tag(
        "g",
        tag("title", note),
        tag("rect", x=x, y=y, width=max(end - x, 1), height=22, rx=3, class_=name),
        tag("path", d=whisker, class_="whisker"),
        text(max(end, high) + 8, y + 15, f"{milliseconds(timing.median_ms)} {name}", "muted small"),
    )
