"""Extractive question answering: windows, a model, training, decoding, metrics, "no answer".

Names are imported when they are used: `metrics`, `squad_data`, `features` and `decoding` need
NumPy alone, the model and training need PyTorch and Transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headsmith.qa.decoding import Prediction as Prediction
    from headsmith.qa.decoding import Span as Span
    from headsmith.qa.features import Featurizer as Featurizer
    from headsmith.qa.metrics import evaluate as evaluate
    from headsmith.qa.model import QAModel as QAModel
    from headsmith.qa.no_answer import calibrate as calibrate
    from headsmith.qa.predicting import DecodingOptions as DecodingOptions
    from headsmith.qa.predicting import answer as answer
    from headsmith.qa.predicting import predict as predict
    from headsmith.qa.refit import refit_answer_class as refit_answer_class
    from headsmith.qa.settings import Calibration as Calibration
    from headsmith.qa.settings import QASettings as QASettings
    from headsmith.qa.squad_data import Problems as Problems
    from headsmith.qa.squad_data import Question as Question
    from headsmith.qa.squad_data import read_squad as read_squad
    from headsmith.qa.training import TrainingOptions as TrainingOptions
    from headsmith.qa.training import train as train

_HOMES = {
    "Calibration": "settings",
    "DecodingOptions": "predicting",
    "Featurizer": "features",
    "Prediction": "decoding",
    "Problems": "squad_data",
    "QAModel": "model",
    "QASettings": "settings",
    "Question": "squad_data",
    "Span": "decoding",
    "TrainingOptions": "training",
    "answer": "predicting",
    "calibrate": "no_answer",
    "evaluate": "metrics",
    "predict": "predicting",
    "read_squad": "squad_data",
    "refit_answer_class": "refit",
    "train": "training",
}

__all__ = [
    "Calibration",
    "DecodingOptions",
    "Featurizer",
    "Prediction",
    "Problems",
    "QAModel",
    "QASettings",
    "Question",
    "Span",
    "TrainingOptions",
    "answer",
    "calibrate",
    "evaluate",
    "predict",
    "read_squad",
    "refit_answer_class",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"headsmith.qa.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'headsmith.qa' has no attribute {name!r}")
