"""GPT-NeoX and Pythia: query, key and value of a head side by side in one projection.

Most run attention and feed-forward side by side: both read the same stream, and the sum of
both is added to it.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from headsmith.pruning.families.stack import Family, LayerStack, Reader, Site

__all__ = ["GPT_NEOX"]


def _stack(*, parallel: bool) -> LayerStack:
    def fits(base: nn.Module) -> bool:
        config: Any = base.config
        return bool(config.use_parallel_residual) == parallel

    return LayerStack(
        layers="layers",
        sites=(
            Site(
                name="attention",
                readers=(Reader("attention.query_key_value"),),
                writer="attention.dense",
                residual="input_layernorm",
                head_size="attention.head_size",
                hollow="attention",
            ),
            Site(
                name="mlp",
                readers=(Reader("mlp.dense_h_to_4h"),),
                writer="mlp.dense_4h_to_h",
                residual="post_attention_layernorm",
                beside="attention.dense" if parallel else "",
            ),
        ),
        when=fits,
    )


GPT_NEOX = Family(model_types=("gpt_neox",), stacks=(_stack(parallel=True), _stack(parallel=False)))
