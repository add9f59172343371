"""What the stages of a pruning run are called when people are told of them."""

from __future__ import annotations

__all__ = ["STAGES"]

STAGES = {
    "statistics": "Reading texts",
    "order": "Ordering heads and neurons",
    "sensitivity": "Trying sizes",
    "rearrangement": "Exchanging heads and neurons",
    "block times": "Timing blocks",
    "latency search": "Searching by the clock",
    "repair": "Repairing",
    "distillation": "Distilling",
    "quality": "Comparing outputs",
    "latency": "Timing",
    "tradeoff": "Pruning in other ways",
    "train": "Training",
    "windows": "Making windows",
    "calibrate": "Fitting when to say no answer",
    "evaluate": "Answering",
    "features": "Reading questions",
    "fit": "Fitting the answer class",
}
"""Stage of the engine → its title. Others are shown by their own name."""
