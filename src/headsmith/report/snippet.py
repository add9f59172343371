"""How to open a pruned model, to be pasted."""

from __future__ import annotations

import json
from typing import Literal

from headsmith.spec.run import RunRecord

__all__ = ["Kind", "auto_class", "snippet"]

Kind = Literal["transformers", "standalone", "sentence-transformers"]
"""Opened with headsmith, without it, or as a Sentence-Transformers model."""

_AUTO_CLASSES = (
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
    "ForMaskedLM",
    "ForCausalLM",
)


def auto_class(record: RunRecord) -> str:
    """The auto class that opens the model, such as `"AutoModelForQuestionAnswering"`."""
    auto = next((f"AutoModel{c}" for c in _AUTO_CLASSES if record.model_class.endswith(c)), None)
    return auto or ("AutoModelForCausalLM" if "LMHead" in record.model_class else "AutoModel")


def snippet(record: RunRecord, kind: Kind = "transformers") -> str:
    """Lines of Python that open the model of a run.

    Args:
        record: what was run.
        kind: how it is to be opened.
    """
    folder = record.settings.get("output")
    # JSON writes a string as Python would, with every odd character escaped.
    path = json.dumps(folder if isinstance(folder, str) and folder else "path/to/the/folder")
    if record.model_class == "QAModel":
        return f"from headsmith.qa import QAModel\n\nmodel = QAModel.from_pretrained({path})\n"
    auto = auto_class(record)
    if kind == "standalone":
        return (
            f"from transformers import {auto}\n\n"
            f"model = {auto}.from_pretrained({path}, trust_remote_code=True)\n"
        )
    first = "import headsmith.pruning  # lets Transformers open pruned checkpoints\n"
    if kind == "sentence-transformers":
        return (
            f"{first}from sentence_transformers import SentenceTransformer\n\n"
            f"model = SentenceTransformer({path})\n"
        )
    return f"{first}from transformers import {auto}\n\nmodel = {auto}.from_pretrained({path})\n"
