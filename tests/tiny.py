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
        _build,
        "LlamaConfig",
        "LlamaForCausalLM",
        num_key_value_heads=3,
        **{**_SIZES, "num_attention_heads": 6, "hidden_size": 24},
    ),
}


def batch_for(
    model: nn.Module, *, size: int = 3, length: int = 7, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Random ids, the last row padded on the right."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 50, (size, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, length // 2 :] = 0
    ids[mask == 0] = 1
    return {"input_ids": ids, "attention_mask": mask}


@torch.no_grad()
def output_of(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The model's main output, padding left out where it has positions."""
    output = model(**batch)
    for name in ("last_hidden_state", "logits", "start_logits"):
        if getattr(output, name, None) is not None:
            found: torch.Tensor = getattr(output, name)
            break
    if found.shape[:2] == batch["attention_mask"].shape:
        found = found[batch["attention_mask"].bool()]
    return found


def plan_from(model: nn.Module, choose: Callable[[int], list[int]]) -> PrunePlan:
    """A plan with `choose(count)` as what stays of each block."""
    description = describe(model)
    blocks = {
        b.name: BlockPlan(b.kind, b.count, tuple(choose(b.count))) for b in description.blocks
    }
    return PrunePlan(description.model_type, blocks)
