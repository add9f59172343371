"""DeBERTa and DeBERTa-v2/v3: attention to contents and to relative positions, apart.

A head owns rows of the projections of positions as well, where the model has them (v3 shares
those of contents). The number of heads is an attribute that the model reshapes by: left as it
was, a cut model would run and be wrong.
"""

from __future__ import annotations

from torch import nn

from headsmith.pruning.families.bert import FEED_FORWARD
from headsmith.pruning.families.stack import Family, LayerStack, Reader, Site

__all__ = ["DEBERTA", "DEBERTA_V2"]


def _attention(*readers: Reader) -> Site:
    return Site(
        name="attention",
        readers=readers,
        writer="attention.output.dense",
        residual="attention.self",
        attributes={
            "attention.self.num_attention_heads": "count",
            "attention.self.all_head_size": "features",
        },
        head_size="attention.self.attention_head_size",
        hollow="attention.self",
    )


def _no_talking_heads(base: nn.Module) -> bool:
    if getattr(getattr(base, "config", None), "talking_head", False):
        raise AttributeError("its heads mix with each other (config.talking_head)")
    return True


DEBERTA_V2 = Family(
    model_types=("deberta-v2",),
    stacks=(
        LayerStack(
            layers="encoder.layer",
            sites=(
                _attention(
                    Reader("attention.self.query_proj"),
                    Reader("attention.self.key_proj"),
                    Reader("attention.self.value_proj"),
                    Reader("attention.self.pos_key_proj", optional=True),
                    Reader("attention.self.pos_query_proj", optional=True),
                ),
                FEED_FORWARD,
            ),
        ),
    ),
)

DEBERTA = Family(
    model_types=("deberta",),
    stacks=(
        LayerStack(
            layers="encoder.layer",
            sites=(
                _attention(
                    Reader("attention.self.in_proj"),
                    Reader("attention.self.q_bias"),
                    Reader("attention.self.v_bias"),
                    Reader("attention.self.pos_proj", optional=True),
                    Reader("attention.self.pos_q_proj", optional=True),
                ),
                FEED_FORWARD,
            ),
            when=_no_talking_heads,
        ),
    ),
)
