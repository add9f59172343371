"""OPT: decoders of the BART shape alone; all sizes but one normalise before each block."""

from __future__ import annotations

from typing import Any

from torch import nn

from headsmith.pruning.families.bart import attention, feed_forward
from headsmith.pruning.families.stack import Family, LayerStack

__all__ = ["OPT"]


def _stack(*, before: bool) -> LayerStack:
    def fits(base: nn.Module) -> bool:
        config: Any = base.config
        return bool(config.do_layer_norm_before) == before

    return LayerStack(
        layers="decoder.layers",
        sites=(attention("self_attn", before=before), feed_forward(before=before)),
        when=fits,
    )


OPT = Family(model_types=("opt",), stacks=(_stack(before=True), _stack(before=False)))
