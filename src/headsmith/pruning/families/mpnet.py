"""MPNet: a BERT whose encoder makes one bias of relative positions for all layers.

The table of it has one column a head and stays whole; each layer takes the part of the bias
that belongs to the heads it has left.
"""

from __future__ import annotations

from headsmith.pruning.families.bert import FEED_FORWARD
from headsmith.pruning.families.narrow import keep_bias_heads
from headsmith.pruning.families.stack import Family, LayerStack, Reader, Site

__all__ = ["MPNET"]

MPNET = Family(
    model_types=("mpnet",),
    stacks=(
        LayerStack(
            layers="encoder.layer",
            sites=(
                Site(
                    name="attention",
                    readers=(
                        Reader("attention.attn.q"),
                        Reader("attention.attn.k"),
                        Reader("attention.attn.v"),
                    ),
                    writer="attention.attn.o",
                    residual="attention.attn",
                    attributes={
                        "attention.attn.num_attention_heads": "count",
                        "attention.attn.all_head_size": "features",
                    },
                    head_size="attention.attn.attention_head_size",
                    hollow="attention.attn",
                    settle=keep_bias_heads,
                ),
                FEED_FORWARD,
            ),
        ),
    ),
)
