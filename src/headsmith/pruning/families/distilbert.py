"""DistilBERT: a BERT with its own module names and without token types."""

from __future__ import annotations

from headsmith.pruning.families.stack import Family, LayerStack, Reader, Site

__all__ = ["DISTILBERT"]

DISTILBERT = Family(
    model_types=("distilbert",),
    stacks=(
        LayerStack(
            layers="transformer.layer",
            sites=(
                Site(
                    name="attention",
                    readers=(
                        Reader("attention.q_lin"),
                        Reader("attention.k_lin"),
                        Reader("attention.v_lin"),
                    ),
                    writer="attention.out_lin",
                    residual="attention",
                    attributes={"attention.n_heads": "count", "attention.dim": "features"},
                    head_size="attention.attention_head_size",
                    hollow="attention",
                ),
                Site(
                    name="ffn",
                    readers=(Reader("ffn.lin1"),),
                    writer="ffn.lin2",
                    residual="ffn",
                ),
            ),
        ),
    ),
    pruned_heads=True,
)
