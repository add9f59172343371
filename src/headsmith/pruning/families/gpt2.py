"""GPT-2: Conv1D projections, query, key and value fused into one of them."""

from __future__ import annotations

from headsmith.pruning.families.stack import LayerStack, Reader, Site

__all__ = ["GPT2"]

GPT2 = LayerStack(
    model_types=("gpt2",),
    layers="h",
    attention=Site(
        name="attn",
        readers=(Reader("attn.c_attn", parts=3),),
        writer="attn.c_proj",
        residual="ln_1",
        attributes={
            "attn.num_heads": "count",
            "attn.split_size": "features",
            "attn.embed_dim": "features",
        },
        head_size="attn.head_dim",
        hollow="attn",
    ),
    feed_forward=Site(
        name="mlp",
        readers=(Reader("mlp.c_fc"),),
        writer="mlp.c_proj",
        residual="ln_2",
    ),
)
