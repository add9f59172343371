"""GPT-2: Conv1D projections, query, key and value fused into one of them."""

from __future__ import annotations

from headsmith.pruning.families.stack import Family, LayerStack, Reader, Site

__all__ = ["GPT2"]


def _attention(name: str, norm: str, readers: tuple[Reader, ...], *, cross: bool) -> Site:
    return Site(
        name=name,
        readers=readers,
        writer=f"{name}.c_proj",
        residual=norm,
        attributes={
            f"{name}.num_heads": "count",
            f"{name}.split_size": "features",
            f"{name}.embed_dim": "features",
        },
        head_size=f"{name}.head_dim",
        hollow=name,
        cross=cross,
        optional=cross,
    )


GPT2 = Family(
    model_types=("gpt2",),
    stacks=(
        LayerStack(
            layers="h",
            sites=(
                _attention("attn", "ln_1", (Reader("attn.c_attn", parts=3),), cross=False),
                _attention(
                    "crossattention",
                    "ln_cross_attn",
                    (Reader("crossattention.q_attn"), Reader("crossattention.c_attn", parts=2)),
                    cross=True,
                ),
                Site(
                    name="mlp",
                    readers=(Reader("mlp.c_fc"),),
                    writer="mlp.c_proj",
                    residual="ln_2",
                ),
            ),
        ),
    ),
    pruned_heads=True,
)
