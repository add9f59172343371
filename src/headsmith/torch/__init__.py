"""PyTorch layers and helpers of the Transformers 4.34 page "Custom Layers and Utilities".

- Layers: `Conv1D`, `SequenceSummary` and, of the SQuAD head of XLNet, `SQuADHead` with its
  poolers and its output.
- Helpers: slicing layers, finding the heads to prune, calling a function in chunks.
- Losses: those of the six task heads; the two of language models also from hidden states.

Names, signatures, weight names and results are those of 4.34; what was mended is told in each
docstring. Needs PyTorch alone.
"""

from __future__ import annotations

from headsmith.extras import require

require("torch", "torch")

from headsmith.torch.chunking import apply_chunking_to_forward
from headsmith.torch.conv1d import Conv1D, conv1d
from headsmith.torch.heads import find_pruneable_heads_and_indices
from headsmith.torch.linear_losses import (
    causal_language_modeling_loss_from_hidden,
    linear_cross_entropy,
    masked_language_modeling_loss_from_hidden,
)
from headsmith.torch.losses import (
    causal_language_modeling_loss,
    masked_language_modeling_loss,
    multiple_choice_loss,
    question_answering_loss,
    sequence_classification_loss,
    token_classification_loss,
)
from headsmith.torch.slicing import prune_conv1d_layer, prune_layer, prune_linear_layer
from headsmith.torch.squad import (
    PoolerAnswerClass,
    PoolerEndLogits,
    PoolerStartLogits,
    SQuADHead,
)
from headsmith.torch.squad_output import SpanPairs, SquadHeadOutput, pair_spans
from headsmith.torch.summary import AttentionPooling, SequenceSummary

__all__ = [
    "AttentionPooling",
    "Conv1D",
    "PoolerAnswerClass",
    "PoolerEndLogits",
    "PoolerStartLogits",
    "SQuADHead",
    "SequenceSummary",
    "SpanPairs",
    "SquadHeadOutput",
    "apply_chunking_to_forward",
    "causal_language_modeling_loss",
    "causal_language_modeling_loss_from_hidden",
    "conv1d",
    "find_pruneable_heads_and_indices",
    "linear_cross_entropy",
    "masked_language_modeling_loss",
    "masked_language_modeling_loss_from_hidden",
    "multiple_choice_loss",
    "pair_spans",
    "prune_conv1d_layer",
    "prune_layer",
    "prune_linear_layer",
    "question_answering_loss",
    "sequence_classification_loss",
    "token_classification_loss",
]
