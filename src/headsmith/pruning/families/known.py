"""The families that come with headsmith."""

from __future__ import annotations

from headsmith.pruning.families.albert import ALBERT
from headsmith.pruning.families.bart import BART, MBART, WHISPER
from headsmith.pruning.families.bert import BERT
from headsmith.pruning.families.clip import CLIP, SIGLIP
from headsmith.pruning.families.deberta import DEBERTA, DEBERTA_V2
from headsmith.pruning.families.distilbert import DISTILBERT
from headsmith.pruning.families.gpt2 import GPT2
from headsmith.pruning.families.gpt_neox import GPT_NEOX
from headsmith.pruning.families.llama import LLAMA
from headsmith.pruning.families.modernbert import MODERNBERT
from headsmith.pruning.families.mpnet import MPNET
from headsmith.pruning.families.opt import OPT
from headsmith.pruning.families.phi3 import PHI3
from headsmith.pruning.families.t5 import T5
from headsmith.pruning.families.vit import DINOV2, VIT

__all__ = ["KNOWN"]

KNOWN = (
    BERT,
    DISTILBERT,
    MPNET,
    DEBERTA,
    DEBERTA_V2,
    ALBERT,
    MODERNBERT,
    GPT2,
    GPT_NEOX,
    OPT,
    LLAMA,
    PHI3,
    VIT,
    DINOV2,
    *CLIP,
    *SIGLIP,
    T5,
    BART,
    MBART,
    WHISPER,
)
