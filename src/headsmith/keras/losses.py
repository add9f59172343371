"""The six losses of task heads: functions, `keras.losses.Loss` classes, and 4.34's mixins.

| Task | Function | For `model.compile` | 4.34's mixin |
|---|---|---|---|
| next token | `causal_language_modeling_loss` | `CausalLanguageModelingLoss` | `TFCausalLanguageModelingLoss` |
| masked tokens | `masked_language_modeling_loss` | `MaskedLanguageModelingLoss` | `TFMaskedLanguageModelingLoss` |
| a label per token | `token_classification_loss` | `TokenClassificationLoss` | `TFTokenClassificationLoss` |
| a label per sequence | `sequence_classification_loss` | `SequenceClassificationLoss` | `TFSequenceClassificationLoss` |
| one of several choices | `multiple_choice_loss` | `MultipleChoiceLoss` | `TFMultipleChoiceLoss` |
| start and end of an answer | `question_answering_loss` | `QuestionAnsweringLoss` | `TFQuestionAnsweringLoss` |

The arithmetic is in `loss_functions.py`; `loss_classes.py` and `loss_mixins.py` are thin over it.
"""  # noqa: E501 (a table)

from __future__ import annotations

from headsmith.keras.loss_classes import (
    CausalLanguageModelingLoss,
    MaskedLanguageModelingLoss,
    MultipleChoiceLoss,
    QuestionAnsweringLoss,
    SequenceClassificationLoss,
    TokenClassificationLoss,
)
from headsmith.keras.loss_functions import (
    ProblemType,
    Reduction,
    causal_language_modeling_loss,
    masked_language_modeling_loss,
    multiple_choice_loss,
    question_answering_loss,
    sequence_classification_loss,
    shift_left,
    token_classification_loss,
)
from headsmith.keras.loss_mixins import (
    TFCausalLanguageModelingLoss,
    TFMaskedLanguageModelingLoss,
    TFMultipleChoiceLoss,
    TFQuestionAnsweringLoss,
    TFSequenceClassificationLoss,
    TFTokenClassificationLoss,
)

__all__ = [
    "CausalLanguageModelingLoss",
    "MaskedLanguageModelingLoss",
    "MultipleChoiceLoss",
    "ProblemType",
    "QuestionAnsweringLoss",
    "Reduction",
    "SequenceClassificationLoss",
    "TFCausalLanguageModelingLoss",
    "TFMaskedLanguageModelingLoss",
    "TFMultipleChoiceLoss",
    "TFQuestionAnsweringLoss",
    "TFSequenceClassificationLoss",
    "TFTokenClassificationLoss",
    "TokenClassificationLoss",
    "causal_language_modeling_loss",
    "masked_language_modeling_loss",
    "multiple_choice_loss",
    "question_answering_loss",
    "sequence_classification_loss",
    "shift_left",
    "token_classification_loss",
]
