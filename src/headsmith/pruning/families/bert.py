"""The BERT shape: BERT, RoBERTa, XLM-RoBERTa, CamemBERT, ELECTRA, and MiniLM, which is a BERT."""

from __future__ import annotations

from headsmith.pruning.families.stack import LayerStack, Reader, Site

__all__ = ["BERT"]

BERT = LayerStack(
    model_types=("bert", "roberta", "xlm-roberta", "camembert", "electra"),
    layers="encoder.layer",
    attention=Site(
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
    ),
    feed_forward=Site(
        name="intermediate",
        readers=(Reader("intermediate.dense"),),
        writer="output.dense",
        residual="intermediate",
    ),
)
