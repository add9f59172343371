"""The pictures of the report, drawn as SVG by hand: no framework, no fonts, no scripts.

Colours are classes, which the page's style sheet fills for light, dark and print.
"""

from __future__ import annotations

from headsmith.report.figures.curves import loss_curve, threshold_curve
from headsmith.report.figures.heads import head_map
from headsmith.report.figures.latency import latency_bars
from headsmith.report.figures.neurons import neuron_bars
from headsmith.report.figures.repair import repair_bars
from headsmith.report.figures.tradeoff import measure_of, tradeoff_curve

__all__ = [
    "head_map",
    "latency_bars",
    "loss_curve",
    "measure_of",
    "neuron_bars",
    "repair_bars",
    "threshold_curve",
    "tradeoff_curve",
]
