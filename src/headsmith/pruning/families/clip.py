"""CLIP and SigLIP: a tower for texts and one for images.

SigLIP's attention can be narrower than the model from Transformers 5.6 on; before, its heads are
left alone.
"""

from __future__ import annotations

import importlib.metadata

from headsmith.pruning.families.stack import Family, LayerStack, Reader, Site, Tokens

__all__ = ["CLIP", "CLIP_TEXT", "CLIP_VISION", "SIGLIP", "SIGLIP_TEXT", "SIGLIP_VISION"]

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


_SIGLIP_SITES = _SITES if _narrows() else _SITES[1:]


def _tower(path: str, tokens: Tokens, sites: tuple[Site, ...]) -> LayerStack:
    return LayerStack(layers=f"{path}encoder.layers", sites=sites, tokens=tokens)


def _both(model_type: str, sites: tuple[Site, ...]) -> Family:
    towers = (_tower("vision_model.", "image", sites), _tower("text_model.", "encoder", sites))
    return Family(model_types=(model_type,), stacks=towers)


def _one(model_type: str, name: str, tokens: Tokens, sites: tuple[Site, ...]) -> Family:
    towers = (_tower("", tokens, sites), _tower(f"{name}.", tokens, sites))
    return Family(model_types=(model_type,), stacks=towers)


CLIP = _both("clip", _SITES)
CLIP_TEXT = _one("clip_text_model", "text_model", "encoder", _SITES)
CLIP_VISION = _one("clip_vision_model", "vision_model", "image", _SITES)

SIGLIP = _both("siglip", _SIGLIP_SITES)
SIGLIP_TEXT = _one("siglip_text_model", "text_model", "encoder", _SIGLIP_SITES)
SIGLIP_VISION = _one("siglip_vision_model", "vision_model", "image", _SIGLIP_SITES)
