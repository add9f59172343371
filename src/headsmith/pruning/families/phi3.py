"""Phi-3: query, key and value fused in one projection, gate and up in another.

Where query ends and key begins is read from the config, which all layers share; a layer with
heads missing is shown a config with its own number of heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from headsmith.pruning.families.narrow import become
from headsmith.pruning.families.stack import Block, Family, LayerStack, Reader, Site
from headsmith.pruning.no_heads import NoHeads

__all__ = ["PHI3"]


class _Seen:
    """The model's config, seen with another number of heads."""

    def __init__(self, config: Any, heads: int) -> None:
        self._config = config
        self.num_attention_heads = heads

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_config"], name)


class _OwnHeads:
    """Phi-3's attention with a number of heads of its own.

    Attributes:
        own_heads: the query heads that are left.
    """

    own_heads: int

    @property
    def config(self) -> Any:
        """What the attention reads; the model's own config goes on being shared."""
        return _Seen(vars(self)["config"], self.own_heads)

    @config.setter
    def config(self, config: Any) -> None:
        vars(self)["config"] = config


def _settle(layer: nn.Module, block: Block, kept: Sequence[int]) -> None:
    attention: Any = layer.get_submodule("self_attn")
    if not isinstance(attention, NoHeads):
        become(attention, _OwnHeads)
        attention.own_heads = len(kept) * attention.num_key_value_groups


PHI3 = Family(
    model_types=("phi3",),
    stacks=(
        LayerStack(
            layers="layers",
            sites=(
                Site(
                    name="self_attn",
                    readers=(Reader("self_attn.qkv_proj", parts=1, shared_parts=2),),
                    writer="self_attn.o_proj",
                    residual="input_layernorm",
                    attributes={"self_attn.num_key_value_heads": "count"},
                    head_size="self_attn.head_dim",
                    shared_by="self_attn.num_key_value_groups",
                    hollow="self_attn",
                    settle=_settle,
                ),
                Site(
                    name="mlp",
                    readers=(Reader("mlp.gate_up_proj", parts=2),),
                    writer="mlp.down_proj",
                    residual="post_attention_layernorm",
                ),
            ),
        ),
    ),
)
