"""ALBERT: few layers, run over and over. What one of them loses is lost in every pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from headsmith.pruning.families.narrow import become
from headsmith.pruning.families.stack import Block, Family, LayerStack, Reader, Site

__all__ = ["ALBERT"]


class _NoHeads:
    """ALBERT's attention, which adds and normalises by itself, without any head."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        """The bias of the output projection is all that is added."""
        own: Any = self
        output = own.dense(hidden_states.new_zeros(*hidden_states.shape[:-1], 0))
        return own.LayerNorm(hidden_states + own.output_dropout(output)), None


def _settle(layer: nn.Module, block: Block, kept: Sequence[int]) -> None:
    if not kept:
        become(layer.get_submodule("attention"), _NoHeads)


def _repeats(base: nn.Module) -> int:
    config: Any = base.config
    return int(config.num_hidden_layers / config.num_hidden_groups)


ALBERT = Family(
    model_types=("albert",),
    stacks=(
        LayerStack(
            layers="encoder.albert_layer_groups.*.albert_layers",
            sites=(
                Site(
                    name="attention",
                    readers=(
                        Reader("attention.query"),
                        Reader("attention.key"),
                        Reader("attention.value"),
                    ),
                    writer="attention.dense",
                    residual="attention",
                    attributes={
                        "attention.num_attention_heads": "count",
                        "attention.all_head_size": "features",
                    },
                    head_size="attention.attention_head_size",
                    settle=_settle,
                ),
                Site(name="ffn", readers=(Reader("ffn"),), writer="ffn_output", residual="ffn"),
            ),
            stage="encoder",
            repeats=_repeats,
        ),
    ),
    pruned_heads=True,
)
