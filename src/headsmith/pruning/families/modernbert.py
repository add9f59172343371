"""ModernBERT: fused query, key and value; a gate fused with the up projection."""

from __future__ import annotations

from headsmith.pruning.families.stack import Family, LayerStack, Reader, Site

__all__ = ["MODERNBERT"]

MODERNBERT = Family(
    model_types=("modernbert",),
    stacks=(
        LayerStack(
            layers="layers",
            sites=(
                Site(
                    name="attn",
                    readers=(Reader("attn.Wqkv", parts=3),),
                    writer="attn.Wo",
                    residual="attn_norm",
                    # Transformers 5.0 has these two.
                    attributes={"attn.num_heads": "count", "attn.all_head_size": "features"},
                    head_size="attn.head_dim",
                    hollow="attn",
                ),
                Site(
                    name="mlp",
                    readers=(Reader("mlp.Wi", parts=2),),
                    writer="mlp.Wo",
                    residual="mlp_norm",
                ),
            ),
        ),
    ),
)
