"""CLIP and SigLIP: a tower for texts and one for images."""

from __future__ import annotations

from headsmith.pruning.families.stack import Family, LayerStack, Reader, Site, Tokens

__all__ = ["CLIP", "CLIP_TEXT", "CLIP_VISION"]

_SITES = (
    Site(
        name="self_attn",
        readers=(
            Reader("self_attn.q_proj"),
            Reader("self_attn.k_proj"),
            Reader("self_attn.v_proj"),
        ),
        writer="self_attn.out_proj",
        residual="layer_norm1",
        attributes={"self_attn.num_heads": "count"},
        head_size="self_attn.head_dim",
        hollow="self_attn",
    ),
    Site(name="mlp", readers=(Reader("mlp.fc1"),), writer="mlp.fc2", residual="layer_norm2"),
)


def _tower(path: str, tokens: Tokens) -> LayerStack:
    return LayerStack(layers=f"{path}encoder.layers", sites=_SITES, tokens=tokens)


CLIP = Family(
    model_types=("clip", "siglip"),
    stacks=(_tower("vision_model.", "image"), _tower("text_model.", "encoder")),
)

CLIP_TEXT = Family(
    model_types=("clip_text_model", "siglip_text_model"),
    stacks=(_tower("", "encoder"), _tower("text_model.", "encoder")),
)

CLIP_VISION = Family(
    model_types=("clip_vision_model", "siglip_vision_model"),
    stacks=(_tower("", "image"), _tower("vision_model.", "image")),
)
