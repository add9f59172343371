"""The BERT shape: BERT, RoBERTa, XLM-RoBERTa, CamemBERT, ELECTRA, and MiniLM, which is a BERT.

A decoder of this shape may attend to an encoder's output as well.
"""

from __future__ import annotations

from dataclasses import replace

from headsmith.pruning.families.stack import Family, LayerStack, Reader, Site

__all__ = ["ATTENTION", "BERT", "FEED_FORWARD"]

ATTENTION = Site(
    name="attention",
    readers=(
        Reader("attention.self.query"),
        Reader("attention.self.key"),
        Reader("attention.self.value"),
    ),
    writer="attention.output.dense",
    residual="attention.self",
    attributes={
        "attention.self.num_attention_heads": "count",
        "attention.self.all_head_size": "features",
    },
    head_size="attention.self.attention_head_size",
    hollow="attention.self",
)

_CROSS = replace(
    ATTENTION,
    name="crossattention",
    readers=tuple(Reader(f"cross{r.path}") for r in ATTENTION.readers),
    writer=f"cross{ATTENTION.writer}",
    residual=f"cross{ATTENTION.residual}",
    attributes={f"cross{path}": value for path, value in ATTENTION.attributes.items()},
    head_size=f"cross{ATTENTION.head_size}",
    hollow=f"cross{ATTENTION.hollow}",
    cross=True,
    optional=True,
)

FEED_FORWARD = Site(
    name="intermediate",
    readers=(Reader("intermediate.dense"),),
    writer="output.dense",
    residual="intermediate",
)

BERT = Family(
    model_types=("bert", "roberta", "xlm-roberta", "camembert", "electra"),
    stacks=(LayerStack(layers="encoder.layer", sites=(ATTENTION, _CROSS, FEED_FORWARD)),),
    pruned_heads=True,
)
