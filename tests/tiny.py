"""Random two-layer models for tests, in float64 where laws are to hold to the last digits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import nn

from headsmith.pruning import describe
from headsmith.spec.plan import BlockPlan, PrunePlan

_SIZES = {
    "vocab_size": 50,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 32,
}

_GROUPED = {**_SIZES, "num_attention_heads": 6, "hidden_size": 24}
_ROTARY = {**_SIZES, "hidden_size": 24}
_IMAGE = {
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "image_size": 6,
    "patch_size": 2,
    "num_channels": 1,
}
_BART = {
    "vocab_size": 50,
    "d_model": 12,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 20,
    "decoder_ffn_dim": 20,
    "max_position_embeddings": 32,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 0,
    "forced_eos_token_id": None,
}
_OPT = {
    "vocab_size": 50,
    "hidden_size": 12,
    "word_embed_proj_dim": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "ffn_dim": 20,
    "max_position_embeddings": 32,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}


def _build(
    config_class: str, model_class: str, dtype: torch.dtype = torch.float64, **options: Any
) -> nn.Module:
    torch.manual_seed(0)
    config = getattr(transformers, config_class)(**options)
    model = getattr(transformers, model_class)(config)
    # Initial weights are so small that masks hardly show; make them count.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
    return model.to(dtype).eval()


TINY_MODELS: dict[str, Callable[..., nn.Module]] = {
    "bert": functools.partial(_build, "BertConfig", "BertModel", **_SIZES),
    "bert-classifier": functools.partial(
        _build, "BertConfig", "BertForSequenceClassification", num_labels=3, **_SIZES
    ),
    "bert-decoder": functools.partial(
        _build, "BertConfig", "BertLMHeadModel", is_decoder=True, **_SIZES
    ),
    "roberta": functools.partial(_build, "RobertaConfig", "RobertaModel", pad_token_id=1, **_SIZES),
    "electra": functools.partial(
        _build, "ElectraConfig", "ElectraForQuestionAnswering", embedding_size=8, **_SIZES
    ),
    "distilbert": functools.partial(
        _build,
        "DistilBertConfig",
        "DistilBertModel",
        vocab_size=50,
        dim=12,
        n_layers=2,
        n_heads=3,
        hidden_dim=20,
        max_position_embeddings=32,
    ),
    "gpt2": functools.partial(
        _build,
        "GPT2Config",
        "GPT2LMHeadModel",
        vocab_size=50,
        n_embd=12,
        n_layer=2,
        n_head=3,
        n_inner=20,
        n_positions=32,
        bos_token_id=0,
        eos_token_id=0,
    ),
    "llama": functools.partial(
        _build, "LlamaConfig", "LlamaForCausalLM", num_key_value_heads=3, **_GROUPED
    ),
    "qwen3": functools.partial(
        _build, "Qwen3Config", "Qwen3Model", num_key_value_heads=3, head_dim=4, **_GROUPED
    ),
    "vit": functools.partial(_build, "ViTConfig", "ViTForImageClassification", **_IMAGE),
    "dinov2": functools.partial(_build, "Dinov2Config", "Dinov2Model", mlp_ratio=2, **_IMAGE),
    "clip": functools.partial(
        _build,
        "CLIPConfig",
        "CLIPModel",
        text_config={**_SIZES, "projection_dim": 6, "eos_token_id": 2},
        vision_config={**_IMAGE, "projection_dim": 6},
        projection_dim=6,
    ),
    "t5": functools.partial(
        _build,
        "T5Config",
        "T5ForConditionalGeneration",
        vocab_size=50,
        d_model=12,
        d_kv=4,
        d_ff=20,
        num_layers=2,
        num_heads=3,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=0,
        pad_token_id=1,
    ),
    "bart": functools.partial(_build, "BartConfig", "BartForConditionalGeneration", **_BART),
    "mpnet": functools.partial(_build, "MPNetConfig", "MPNetModel", **_SIZES),
    "deberta-v2": functools.partial(
        _build,
        "DebertaV2Config",
        "DebertaV2Model",
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=4,
        **_SIZES,
    ),
    "albert": functools.partial(_build, "AlbertConfig", "AlbertModel", embedding_size=8, **_SIZES),
}
"""Every law and the whole pipeline run on these."""

MORE_MODELS: dict[str, Callable[..., nn.Module]] = {
    "bert-cross": functools.partial(
        _build,
        "BertConfig",
        "BertLMHeadModel",
        is_decoder=True,
        add_cross_attention=True,
        **_SIZES,
    ),
    "gpt2-cross": functools.partial(
        _build,
        "GPT2Config",
        "GPT2LMHeadModel",
        vocab_size=50,
        n_embd=12,
        n_layer=2,
        n_head=3,
        n_inner=20,
        n_positions=32,
        add_cross_attention=True,
        bos_token_id=0,
        eos_token_id=0,
    ),
    "llama-mha": functools.partial(_build, "LlamaConfig", "LlamaModel", **_SIZES),
    "mistral": functools.partial(
        _build,
        "MistralConfig",
        "MistralForCausalLM",
        num_key_value_heads=2,
        sliding_window=6,
        **{**_SIZES, "num_attention_heads": 4, "hidden_size": 16},
    ),
    "qwen2": functools.partial(
        _build, "Qwen2Config", "Qwen2ForCausalLM", num_key_value_heads=3, **_GROUPED
    ),
    "gemma": functools.partial(
        _build,
        "GemmaConfig",
        "GemmaModel",
        num_key_value_heads=2,
        head_dim=4,
        # The root of the hidden size, a buffer, is then the same in every dtype.
        **{**_SIZES, "num_attention_heads": 4, "hidden_size": 16},
    ),
    "phi3": functools.partial(
        _build,
        "Phi3Config",
        "Phi3ForCausalLM",
        num_key_value_heads=3,
        pad_token_id=1,
        **_GROUPED,
    ),
    "gpt-neox": functools.partial(_build, "GPTNeoXConfig", "GPTNeoXForCausalLM", **_ROTARY),
    "gpt-neox-serial": functools.partial(
        _build, "GPTNeoXConfig", "GPTNeoXModel", use_parallel_residual=False, **_ROTARY
    ),
    "opt": functools.partial(_build, "OPTConfig", "OPTForCausalLM", **_OPT),
    "opt-after": functools.partial(
        _build, "OPTConfig", "OPTModel", do_layer_norm_before=False, **_OPT
    ),
    "modernbert": functools.partial(
        _build,
        "ModernBertConfig",
        "ModernBertForMaskedLM",
        pad_token_id=1,
        **{**_SIZES, "hidden_size": 24},
    ),
    "dinov2-gated": functools.partial(
        _build, "Dinov2Config", "Dinov2Model", mlp_ratio=2, use_swiglu_ffn=True, **_IMAGE
    ),
    "dinov2-registers": functools.partial(
        _build, "Dinov2WithRegistersConfig", "Dinov2WithRegistersModel", mlp_ratio=2, **_IMAGE
    ),
    "deit": functools.partial(_build, "DeiTConfig", "DeiTModel", **_IMAGE),
    "clip-text": functools.partial(_build, "CLIPTextConfig", "CLIPTextModel", **_SIZES),
    "clip-vision": functools.partial(
        _build, "CLIPVisionConfig", "CLIPVisionModelWithProjection", **_IMAGE
    ),
    "siglip": functools.partial(
        _build, "SiglipConfig", "SiglipModel", text_config=_SIZES, vision_config=_IMAGE
    ),
    "t5-encoder": functools.partial(
        _build,
        "T5Config",
        "T5EncoderModel",
        vocab_size=50,
        d_model=12,
        d_kv=4,
        d_ff=20,
        num_layers=2,
        num_heads=3,
        relative_attention_num_buckets=8,
        feed_forward_proj="relu",
    ),
    "mt5": functools.partial(
        _build,
        "MT5Config",
        "MT5Model",
        vocab_size=50,
        d_model=12,
        d_kv=4,
        d_ff=20,
        num_layers=2,
        num_heads=3,
        relative_attention_num_buckets=8,
    ),
    "bart-decoder": functools.partial(_build, "BartConfig", "BartForCausalLM", **_BART),
    "mbart": functools.partial(_build, "MBartConfig", "MBartForConditionalGeneration", **_BART),
    "marian": functools.partial(_build, "MarianConfig", "MarianModel", **_BART),
    "pegasus": functools.partial(_build, "PegasusConfig", "PegasusModel", **_BART),
    "whisper": functools.partial(
        _build,
        "WhisperConfig",
        "WhisperForConditionalGeneration",
        num_mel_bins=4,
        max_source_positions=7,
        max_target_positions=32,
        **_BART,
    ),
    "deberta": functools.partial(
        _build,
        "DebertaConfig",
        "DebertaModel",
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        **_SIZES,
    ),
    "deberta-v3": functools.partial(
        _build,
        "DebertaV2Config",
        "DebertaV2ForSequenceClassification",
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        position_buckets=4,
        **_SIZES,
    ),
    "albert-groups": functools.partial(
        _build,
        "AlbertConfig",
        "AlbertForMaskedLM",
        embedding_size=8,
        num_hidden_groups=2,
        inner_group_num=2,
        **{**_SIZES, "num_hidden_layers": 4},
    ),
}
"""Kin of those: the law of removal runs on these, and one small job."""


def _cross(model: nn.Module) -> bool:
    return bool(getattr(model.config, "add_cross_attention", False))


def batch_for(
    model: nn.Module, *, size: int = 3, length: int = 7, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Random ids, the last row padded on the right, and whatever else the model reads."""
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    dtype = next(model.parameters()).dtype
    ids = torch.randint(3, 50, (size, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, length // 2 :] = 0
    ids[mask == 0] = 1
    batch = {"input_ids": ids, "attention_mask": mask}
    if hasattr(config, "patch_size") or hasattr(config, "vision_config"):
        images = torch.randn(size, 1, 6, 6, generator=generator).to(dtype)
        batch = {**batch, "pixel_values": images}
        if hasattr(config, "patch_size"):
            batch = {"pixel_values": images}
    if hasattr(config, "num_mel_bins"):
        batch = {"input_features": torch.randn(size, 4, 14, generator=generator).to(dtype)}
    if config.is_encoder_decoder and not isinstance(model, transformers.T5EncoderModel):
        # Of the same length on purpose: the encoder's mask must not be taken for the decoder's.
        decoder_ids = torch.randint(3, 50, (size, length), generator=generator)
        decoder_mask = torch.ones_like(decoder_ids)
        decoder_mask[0, length // 3 :] = 0
        batch = {
            **batch,
            "decoder_input_ids": decoder_ids,
            "decoder_attention_mask": decoder_mask,
        }
    if _cross(model):
        states = torch.randn(size, length, config.hidden_size, generator=generator).to(dtype)
        seen = torch.ones(size, length, dtype=torch.long)
        seen[0, 2:] = 0
        batch = {**batch, "encoder_hidden_states": states, "encoder_attention_mask": seen}
    return batch


@torch.no_grad()
def output_of(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The model's main output, padding left out where it has positions."""
    output = model(**batch)
    if getattr(output, "text_embeds", None) is not None:
        return torch.cat([output.text_embeds, output.image_embeds])
    for name in ("last_hidden_state", "logits", "start_logits", "image_embeds"):
        if getattr(output, name, None) is not None:
            found: torch.Tensor = getattr(output, name)
            break
    mask = batch.get("decoder_attention_mask", batch.get("attention_mask"))
    if mask is not None and found.shape[:2] == mask.shape:
        found = found[mask.bool()]
    return found


def plan_from(model: nn.Module, choose: Callable[[int], list[int]]) -> PrunePlan:
    """A plan with `choose(count)` as what stays of each block."""
    description = describe(model)
    blocks = {
        b.name: BlockPlan(b.kind, b.count, tuple(choose(b.count))) for b in description.blocks
    }
    return PrunePlan(description.model_type, blocks)
