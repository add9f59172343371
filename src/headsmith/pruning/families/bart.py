"""The BART shape: encoders and decoders with `fc1` and `fc2` in the layer itself.

BART and Marian normalise after each block; mBART, Pegasus and Whisper before it.
"""

from __future__ import annotations

from headsmith.pruning.families.stack import Family, LayerStack, Reader, Site, Tokens

__all__ = ["BART", "MBART", "WHISPER", "attention", "feed_forward"]


def attention(name: str, *, before: bool, cross: bool = False) -> Site:
    """An attention block, normalised `before` or after it."""
    return Site(
        name=name,
        readers=(Reader(f"{name}.q_proj"), Reader(f"{name}.k_proj"), Reader(f"{name}.v_proj")),
        writer=f"{name}.out_proj",
        residual=f"{name}_layer_norm" if before else name,
        attributes={f"{name}.num_heads": "count"},
        head_size=f"{name}.head_dim",
        hollow=name,
        cross=cross,
        optional=cross,
    )


def feed_forward(*, before: bool) -> Site:
    """A feed-forward block, normalised `before` or after it."""
    return Site(
        name="fc1",
        readers=(Reader("fc1"),),
        writer="fc2",
        residual="final_layer_norm" if before else "fc1",
    )


def _stacks(*, before: bool, encoder: Tokens = "encoder") -> tuple[LayerStack, LayerStack]:
    own, other = (
        attention("self_attn", before=before),
        attention("encoder_attn", before=before, cross=True),
    )
    return (
        LayerStack("encoder.layers", (own, feed_forward(before=before)), encoder),
        LayerStack("decoder.layers", (own, other, feed_forward(before=before)), "decoder"),
    )


BART = Family(model_types=("bart", "marian"), stacks=_stacks(before=False))
MBART = Family(model_types=("mbart", "pegasus"), stacks=_stacks(before=True))
WHISPER = Family(model_types=("whisper",), stacks=_stacks(before=True, encoder="image"))
