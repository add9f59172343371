"""Score, remove and repair attention heads and feed-forward neurons of real models.

Importing this package is what lets plain `AutoModel.from_pretrained` open checkpoints that
headsmith wrote.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from headsmith.extras import require

require("torch", "pruning")
require("transformers", "pruning")

from headsmith.pruning.budget import Floors
from headsmith.pruning.checkpoint import load, save
from headsmith.pruning.compare import output_error
from headsmith.pruning.data import Batches, read_texts, tokenize
from headsmith.pruning.distil import distil
from headsmith.pruning.families import (
    describe,
    open_attention,
    register_family,
)
from headsmith.pruning.head_mask import head_mask
from headsmith.pruning.masks import masked, masks_of
from headsmith.pruning.objective import (
    LossObjective,
    MatchDistribution,
    MatchEmbedding,
    MatchHidden,
    Objective,
    objective_for,
)
from headsmith.pruning.pipeline import (
    Pruned,
    carry_out,
    make_plan,
    prune,
    rank,
)
from headsmith.pruning.prune_heads import prune_heads
from headsmith.pruning.record import plan_of
from headsmith.pruning.repair import repair
from headsmith.pruning.score import SCORES
from headsmith.pruning.surgery import apply_plan, check_plan, plan_of_heads
from headsmith.pruning.verify import verify_family

if TYPE_CHECKING:
    from headsmith.pruning.gradual import GradualPruning as GradualPruning
    from headsmith.pruning.onnx import export_onnx as export_onnx
    from headsmith.pruning.standalone import save_standalone as save_standalone

__all__ = [
    "SCORES",
    "Batches",
    "Floors",
    "GradualPruning",
    "LossObjective",
    "MatchDistribution",
    "MatchEmbedding",
    "MatchHidden",
    "Objective",
    "Pruned",
    "apply_plan",
    "carry_out",
    "check_plan",
    "describe",
    "distil",
    "export_onnx",
    "head_mask",
    "load",
    "make_plan",
    "masked",
    "masks_of",
    "objective_for",
    "open_attention",
    "output_error",
    "plan_of",
    "plan_of_heads",
    "prune",
    "prune_heads",
    "rank",
    "read_texts",
    "register_family",
    "repair",
    "save",
    "save_standalone",
    "tokenize",
    "verify_family",
]

# Imported when asked for: they bring Trainer and the exporters with them.
_LAZY = {"GradualPruning": "gradual", "export_onnx": "onnx", "save_standalone": "standalone"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
