"""The families that come with headsmith, one file each."""

from __future__ import annotations

from headsmith.pruning.families.bert import BERT
from headsmith.pruning.families.distilbert import DISTILBERT
from headsmith.pruning.families.gpt2 import GPT2
from headsmith.pruning.families.llama import LLAMA

__all__ = ["KNOWN"]

KNOWN = (BERT, DISTILBERT, GPT2, LLAMA)
