"""Vision transformers: ViT, and DINOv2, whose blocks are scaled before they are added.

Early versions of Transformers 5 name their modules as Transformers 4 did.
"""

from __future__ import annotations

from torch import nn

from headsmith.pruning.families.stack import Family, LayerStack, Reader, Site, has

__all__ = ["DINOV2", "VIT"]


def _attention(residual: str, scale: str = "") -> Site:
    return Site(
        name="attention",
        readers=(
            Reader("attention.q_proj"),
            Reader("attention.k_proj"),
            Reader("attention.v_proj"),
        ),
        writer="attention.o_proj",
        residual=residual,
        attributes={"attention.num_attention_heads": "count"},
        head_size="attention.head_dim",
        hollow="attention",
        scale=scale,
    )


def _early_attention(residual: str, scale: str = "") -> Site:
    return Site(
        name="attention",
        readers=(
            Reader("attention.attention.query"),
            Reader("attention.attention.key"),
            Reader("attention.attention.value"),
        ),
        writer="attention.output.dense",
        residual=residual,
        attributes={
            "attention.attention.num_attention_heads": "count",
            "attention.attention.all_head_size": "features",
        },
        head_size="attention.attention.attention_head_size",
        hollow="attention.attention",
        scale=scale,
    )


def _mlp(*readers: Reader, writer: str, residual: str, scale: str = "") -> Site:
    return Site(
        name="mlp",
        readers=readers,
        writer=f"mlp.{writer}",
        residual=residual,
        scale=scale,
        optional=True,
    )


def _feed_forward(residual: str, scale: str = "") -> Site:
    return _mlp(Reader("mlp.fc1"), writer="fc2", residual=residual, scale=scale)


def _gated(residual: str, scale: str) -> Site:
    readers = Reader("mlp.gate_proj"), Reader("mlp.up_proj")
    return _mlp(*readers, writer="down_proj", residual=residual, scale=scale)


def _early_gated(residual: str, scale: str) -> Site:
    reader = Reader("mlp.weights_in", parts=2)
    return _mlp(reader, writer="weights_out", residual=residual, scale=scale)


def _is_early(base: nn.Module) -> bool:
    return has(base, "encoder.layer.0.attention.output.dense")


VIT = Family(
    model_types=("vit", "deit"),
    stacks=(
        LayerStack(
            layers="layers",
            sites=(_attention("layernorm_before"), _feed_forward("layernorm_after")),
            tokens="image",
        ),
        LayerStack(
            layers="encoder.layer",
            sites=(
                _early_attention("layernorm_before"),
                Site(
                    name="intermediate",
                    readers=(Reader("intermediate.dense"),),
                    writer="output.dense",
                    residual="layernorm_after",
                ),
            ),
            tokens="image",
        ),
    ),
)

DINOV2 = Family(
    model_types=("dinov2", "dinov2_with_registers"),
    stacks=(
        LayerStack(
            layers="encoder.layer",
            sites=(
                _attention("norm1", "layer_scale1.lambda1"),
                _feed_forward("norm2", "layer_scale2.lambda1"),
                _gated("norm2", "layer_scale2.lambda1"),
            ),
            tokens="image",
            when=lambda base: not _is_early(base),
        ),
        LayerStack(
            layers="encoder.layer",
            sites=(
                _early_attention("norm1", "layer_scale1.lambda1"),
                _feed_forward("norm2", "layer_scale2.lambda1"),
                _early_gated("norm2", "layer_scale2.lambda1"),
            ),
            tokens="image",
            when=_is_early,
        ),
    ),
)
