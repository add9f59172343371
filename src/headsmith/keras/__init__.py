"""Keras 3 layers, losses and helpers: one code for TensorFlow, JAX and PyTorch backends.

The TensorFlow half of the Transformers 4.34 page "Custom Layers and Utilities", and what that
page had for PyTorch alone:

- Layers: `Conv1D`, `SequenceSummary` and, of the SQuAD head of XLNet, `SQuADHead` with its
  poolers. `TFConv1D` and `TFSequenceSummary`, 4.34's names, are the same objects.
- Losses of the six task heads: functions, `keras.losses.Loss` classes under the plain names,
  and 4.34's mixins under the `TF…` names.
- Helpers: `get_initializer`, `shape_list`, `keras_serializable`.

Names, signatures, weight names and results are those of 4.34; what was mended is told in each
docstring. Needs Keras 3 and one backend, and imports no other. Files that hold
these layers and losses open without `custom_objects` once `headsmith.keras` is imported.
"""

from __future__ import annotations

from headsmith.extras import require

require("keras", "keras")

# Registering with Keras is what lets it open saved files, so all is loaded at once.
from headsmith.keras.conv1d import Conv1D, TFConv1D, conv1d
from headsmith.keras.initializers import get_initializer
from headsmith.keras.linear_losses import (
    causal_language_modeling_loss_from_hidden,
    linear_cross_entropy,
    masked_language_modeling_loss_from_hidden,
)
from headsmith.keras.losses import (
    CausalLanguageModelingLoss,
    MaskedLanguageModelingLoss,
    MultipleChoiceLoss,
    QuestionAnsweringLoss,
    SequenceClassificationLoss,
    TFCausalLanguageModelingLoss,
    TFMaskedLanguageModelingLoss,
    TFMultipleChoiceLoss,
    TFQuestionAnsweringLoss,
    TFSequenceClassificationLoss,
    TFTokenClassificationLoss,
    TokenClassificationLoss,
    causal_language_modeling_loss,
    masked_language_modeling_loss,
    multiple_choice_loss,
    question_answering_loss,
    sequence_classification_loss,
    token_classification_loss,
)
from headsmith.keras.serialization import keras_serializable
from headsmith.keras.shapes import shape_list
from headsmith.keras.squad import (
    PoolerAnswerClass,
    PoolerEndLogits,
    PoolerStartLogits,
    SQuADHead,
)
from headsmith.keras.squad_output import SpanPairs, pair_spans
from headsmith.keras.summary import AttentionPooling, SequenceSummary, TFSequenceSummary

__all__ = [
    "AttentionPooling",
    "CausalLanguageModelingLoss",
    "Conv1D",
    "MaskedLanguageModelingLoss",
    "MultipleChoiceLoss",
    "PoolerAnswerClass",
    "PoolerEndLogits",
    "PoolerStartLogits",
    "QuestionAnsweringLoss",
    "SQuADHead",
    "SequenceClassificationLoss",
    "SequenceSummary",
    "SpanPairs",
    "TFCausalLanguageModelingLoss",
    "TFConv1D",
    "TFMaskedLanguageModelingLoss",
    "TFMultipleChoiceLoss",
    "TFQuestionAnsweringLoss",
    "TFSequenceClassificationLoss",
    "TFSequenceSummary",
    "TFTokenClassificationLoss",
    "TokenClassificationLoss",
    "causal_language_modeling_loss",
    "causal_language_modeling_loss_from_hidden",
    "conv1d",
    "get_initializer",
    "keras_serializable",
    "linear_cross_entropy",
    "masked_language_modeling_loss",
    "masked_language_modeling_loss_from_hidden",
    "multiple_choice_loss",
    "pair_spans",
    "question_answering_loss",
    "sequence_classification_loss",
    "shape_list",
    "token_classification_loss",
]
