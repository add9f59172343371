"""CLIP and SigLIP: a tower for texts and one for images.

SigLIP's attention can be narrower than the model from Transformers 5.6 on; before, its heads are
left alone.
"""

from __future__ import annotations

import importlib.metadata

from headsmith.pruning.families.stack import Family, LayerStack, Reader, Site, Tokens

__all__ = ["CLIP", "SIGLIP"]

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


def _narrows() -> bool:
    major, minor = importlib.metadata.version("transformers").split(".")[:2]
    return (int(major), int(minor)) >= (5, 6)


def _families(name: str, sites: tuple[Site, ...]) -> tuple[Family, ...]:
    """Both towers together, that of texts alone, and that of images alone."""

    def tower(path: str, tokens: Tokens) -> LayerStack:
        return LayerStack(layers=f"{path}encoder.layers", sites=sites, tokens=tokens)

    text, image = tower("text_model.", "encoder"), tower("vision_model.", "image")
    return (
        Family(model_types=(name,), stacks=(image, text)),
        Family(model_types=(f"{name}_text_model",), stacks=(tower("", "encoder"), text)),
        Family(model_types=(f"{name}_vision_model",), stacks=(tower("", "image"), image)),
    )


CLIP = _families("clip", _SITES)
SIGLIP = _families("siglip", _SITES if _narrows() else _SITES[1:])
