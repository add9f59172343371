"""The LLaMA shape: LLaMA, Mistral, Qwen2, Qwen3, Gemma.

Query heads that share a key and value head go together, as one. A neuron owns a row of the
gate and of the up projection, and a column of the down projection. Norms of queries and keys
(Qwen3) are per feature of a head and stay as they are, as do rotary embeddings.
"""

from __future__ import annotations

from headsmith.pruning.families.stack import Family, LayerStack, Reader, Site

__all__ = ["LLAMA", "gated"]


def gated(name: str, residual: str) -> Site:
    """A gated feed-forward block of three projections, as LLaMA names them."""
    return Site(
        name=name,
        readers=(Reader(f"{name}.gate_proj"), Reader(f"{name}.up_proj")),
        writer=f"{name}.down_proj",
        residual=residual,
        attributes={f"{name}.intermediate_size": "count"},
    )


LLAMA = Family(
    model_types=("llama", "mistral", "qwen2", "qwen3", "gemma"),
    stacks=(
        LayerStack(
            layers="layers",
            sites=(
                Site(
                    name="self_attn",
                    readers=(
                        Reader("self_attn.q_proj"),
                        Reader("self_attn.k_proj"),
                        Reader("self_attn.v_proj"),
                    ),
                    writer="self_attn.o_proj",
                    residual="input_layernorm",
                    attributes={
                        "self_attn.num_heads": "heads",
                        "self_attn.num_key_value_heads": "count",
                    },
                    head_size="self_attn.head_dim",
                    shared_by="self_attn.num_key_value_groups",
                    hollow="self_attn",
                ),
                gated("mlp", "post_attention_layernorm"),
            ),
        ),
    ),
)
