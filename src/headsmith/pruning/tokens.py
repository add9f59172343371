"""Which rows of a model's features are tokens, and which are padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from headsmith.pruning.families.stack import Tokens

__all__ = ["count_tokens", "rows_of", "states_of", "token_mask"]

_IGNORED = -100  # what labels hold where nothing is to be predicted
_PATCHES = 64  # an image counts as so many tokens where only a rough number is wanted


def token_mask(
    batch: Mapping[str, Tensor], shape: tuple[int, int], tokens: Tokens = "encoder"
) -> Tensor | None:
    """True where a token is not padding, (batch, seq), or None where there is no padding.

    Args:
        batch: arguments of the model.
        shape: (batch, seq) of the features asked about; a mask of another shape is not theirs.
        tokens: whose tokens they are.
    """
    if tokens == "image":
        return None
    mask = batch.get("attention_mask")
    if tokens == "decoder":
        labels = batch.get("labels")
        alone = not any(name.startswith("decoder_") for name in batch) and labels is None
        # A decoder without an encoder has the mask of any language model.
        mask = batch.get("decoder_attention_mask", mask if alone else None)
        if mask is None and labels is not None and "decoder_input_ids" not in batch:
            mask = labels != _IGNORED
    if mask is None or tuple(mask.shape) != shape:
        return None
    return mask.bool()


def rows_of(features: Tensor, batch: Mapping[str, Tensor], tokens: Tokens = "encoder") -> Tensor:
    """The rows of (batch, seq, features) that are not padding, (tokens, features).

    Features that a model has flattened to (batch × seq, features) are taken as well.
    """
    if features.ndim == 2:
        size = len(next(iter(batch.values())))
        features = features.reshape(size, len(features) // size, features.shape[-1])
    mask = token_mask(batch, (features.shape[0], features.shape[1]), tokens)
    if mask is None:
        return features.flatten(0, 1)
    return features[mask.to(features.device)]


def states_of(output: Any, batch: Mapping[str, Tensor], name: str = "last_hidden_state") -> Tensor:
    """What a model puts out for each token that is not padding, (tokens, features).

    Models of text and images (CLIP) put out an embedding for each: both, one below the other.

    Args:
        output: what the model returned; a bare tensor is taken for its states.
        batch: what it was given.
        name: the member of `output`, (batch, seq, features).
    """
    if isinstance(output, Tensor):
        return rows_of(output, batch)
    both = [getattr(output, f"{side}_embeds", None) for side in ("text", "image")]
    embeddings = [e for e in both if e is not None]
    if embeddings:
        return torch.cat(embeddings)
    return rows_of(getattr(output, name), batch, _side(output, batch))


def _side(output: Any, batch: Mapping[str, Tensor]) -> Tokens:
    if getattr(output, "encoder_last_hidden_state", None) is not None:
        return "decoder"
    return "image" if "pixel_values" in batch and "input_ids" not in batch else "encoder"


def count_tokens(batch: Mapping[str, Tensor]) -> int:
    """About how many tokens a batch holds, padding left out."""
    if "attention_mask" in batch:
        return int(batch["attention_mask"].sum())
    if "input_ids" in batch:
        return batch["input_ids"].numel()
    return _PATCHES * len(next(iter(batch.values())))
