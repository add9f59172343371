"""Names of model modules that are told by their form: every module of a kind had one.

Modules that are gone are told so too: those of TensorFlow and Flax, and where Transformers 3 had
its models.

`headsmith.compat.names` has the table of the others and reads these rules too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "CLIP_BLOCKS",
    "CLIP_MODELS",
    "FAST_TOKENIZERS",
    "MODEL_FILE",
    "ONNX",
    "RULES",
    "SHIMS",
    "Method",
    "by_rule",
    "gone_by_rule",
]

SHIMS = "headsmith.compat.shims"
ONNX = "headsmith.compat.onnx_config"


@dataclass(frozen=True)
class Method:
    """A method or behaviour of model classes that Transformers 5 dropped.

    Args:
        name: the method, or a few words for a behaviour.
        status_457: what Transformers 4.57 makes of it.
        status_5: what Transformers 5 makes of it.
        instead: what to use or to write.
    """

    name: str
    status_457: str
    status_5: str
    instead: str


MODEL_FILE = re.compile(r"transformers\.models\.\w+\.(?:modeling|configuration|tokenization)_\w+")
FAST_TOKENIZERS = re.compile(r"transformers\.models\.\w+\.tokenization_\w+_fast")

_OTHER_CLASS = re.compile(r"(?:TF|Flax)[A-Z]\w*")
_OTHER_MODULE = re.compile(
    r"transformers\.(?:(?:models\.\w+\.)?(?:modeling|generation)_(?:tf|flax)_\w+"
    r"|generation\.(?:tf|flax)_\w+|(?:trainer|training_args|optimization)_tf|keras_callbacks)"
)
_NO_OTHERS = "Transformers 5 has PyTorch models alone; layers and losses are in headsmith.keras"
_MODELS_OF_3 = (
    "albert auto bart bert bert_generation bert_japanese bertweet blenderbot camembert ctrl "
    "deberta distilbert dpr electra encoder_decoder flaubert fsmt funnel gpt2 herbert layoutlm "
    "longformer lxmert marian mbart mmbt mobilebert openai pegasus phobert prophetnet rag reformer "
    "retribert roberta squeezebert t5 transfo_xl xlm xlm_prophetnet xlm_roberta xlnet"
)
_OF_3 = re.compile(
    r"transformers\.((?:modeling|configuration|tokenization)_"
    rf"({_MODELS_OF_3.replace(' ', '|')})(?:_fast)?)"
)

_LAST_4 = "copy its code from Transformers 4, or stay there: 5 has nothing like it"
_GONE: tuple[tuple[str, str, str], ...] = (
    (
        "transformers",
        r"(?:TransfoXL|AdaptiveEmbedding|MMBT|ModalEmbeddings|load_tf_weights_in_transfo_xl)\w*",
        _LAST_4,
    ),
    (r"transformers\.models\.(?:deprecated\.)?(?:transfo_xl|mmbt)(?:\.\w+)?", r"\w*", _LAST_4),
    (
        r"transformers(?:\.utils|\.file_utils|\.utils\.hub)?",
        "cached_path",
        "transformers.utils.cached_file or huggingface_hub.hf_hub_download; for any URL, requests",
    ),
    (
        r"transformers(?:\.models\.mt5)?",
        "MT5Tokenizer(?:Fast)?",
        "T5Tokenizer, of which it was another name",
    ),
    (r"transformers\.convert_graph_to_onnx", r"\w*", "headsmith export, or optimum"),
    (
        r"transformers(?:\.data\.datasets(?:\.language_modeling)?)?",
        "(?:TextDataset|TextDatasetForNextSentencePrediction"
        "|LineByLine(?:TextDataset|WithRefDataset|WithSOPTextDataset))",
        'datasets.load_dataset("text", …), and map(…) with the tokenizer',
    ),
)
"""Patterns of modules and of names in them (none for the module itself), and what to do."""
_BLOCKS = {
    "altclip": "AltCLIP",
    "clip": "CLIP",
    "clipseg": "CLIPSeg",
    "git": "GitVision",
    "groupvit": "GroupViT",
    "owlvit": "OwlViT",
    "x_clip": "XCLIP",
}
CLIP_BLOCKS = {f"transformers.models.{m}.modeling_{m}": stem for m, stem in _BLOCKS.items()}
"""The modules with blocks of CLIP's kind, and how the names of these begin."""

_WITHIN = {
    "altclip": "AltCLIP",
    "chinese_clip": "ChineseCLIP",
    "clip": "CLIP",
    "clipseg": "CLIPSeg",
    "siglip": "Siglip",
    "x_clip": "XCLIP",
}
CLIP_MODELS = {f"transformers.models.{m}.modeling_{m}": stem for m, stem in _WITHIN.items()}
"""The modules whose models of texts and images had another within, and how their names begin."""

_HELPERS = "headsmith.compat.model_helpers"
_MASKS = "transformers.modeling_attn_mask_utils"
_EXACT = {
    "_expand_mask": f"{_HELPERS}:expand_mask",
    "_make_causal_mask": f"{_HELPERS}:causal_mask",
    "_get_unpad_data": f"{_HELPERS}:get_unpad_data",
    "create_position_ids_from_input_ids": f"{_HELPERS}:create_position_ids_from_input_ids",
    "drop_path": f"{_HELPERS}:drop_path",
    "_prepare_4d_causal_attention_mask": f"{_MASKS}:_prepare_4d_causal_attention_mask",
    "_prepare_4d_causal_attention_mask_for_sdpa": (
        f"{_MASKS}:_prepare_4d_causal_attention_mask_for_sdpa"
    ),
}
_BOOLEAN = {
    "_expand_mask": f"{_HELPERS}:expand_boolean_mask",
    "_make_causal_mask": f"{_HELPERS}:boolean_causal_mask",
}
_OF_MODEL = {
    "bloom": _BOOLEAN,
    "mpt": _BOOLEAN,
    "falcon": {**_BOOLEAN, "_expand_mask": f"{_HELPERS}:expand_boolean_mask_of_falcon"},
}
_ENDINGS = {
    "_DOCSTRING": f"{SHIMS}:EMPTY_TEXT",
    "_FOR_DOC": f"{SHIMS}:EMPTY_TEXT",
    "_ARCHIVE_LIST": f"{SHIMS}:EMPTY_LIST",
    "_ARCHIVE_MAP": f"{SHIMS}:EMPTY_MAP",
    "PRETRAINED_VOCAB_FILES_MAP": f"{SHIMS}:EMPTY_MAP",
    "PRETRAINED_POSITIONAL_EMBEDDINGS_SIZES": f"{SHIMS}:EMPTY_MAP",
    "PRETRAINED_INIT_CONFIGURATION": f"{SHIMS}:EMPTY_MAP",
    "OnnxConfig": f"{ONNX}:OnnxSeq2SeqConfigWithPast",
}

RULES: tuple[Method, ...] = (
    Method("`…_DOCSTRING`, `…_FOR_DOC`", "gone", "gone", "restored, empty; delete the decorators"),
    Method("`…_ARCHIVE_LIST`, `…_ARCHIVE_MAP`", "gone", "gone", "restored, empty"),
    Method(
        "`PRETRAINED_VOCAB_FILES_MAP`, `PRETRAINED_POSITIONAL_EMBEDDINGS_SIZES`, "
        "`PRETRAINED_INIT_CONFIGURATION`",
        "gone",
        "gone",
        "restored, empty",
    ),
    Method("`load_tf_weights_in_…`", "ok", "gone", "restored; refuses when called"),
    Method("`…OnnxConfig`", "ok", "gone", "restored as a class to inherit from"),
    Method("`logger`", "ok", "partly", "restored; `transformers.utils.logging.get_logger`"),
    Method("`_expand_mask`, `_make_causal_mask`", "gone", "gone", f"`{_HELPERS}`"),
    Method(
        "`create_position_ids_from_input_ids`, `drop_path`, `_get_unpad_data`",
        "partly",
        "gone",
        f"`{_HELPERS}`",
    ),
    Method(
        "`_prepare_4d_causal_attention_mask`, `_prepare_4d_causal_attention_mask_for_sdpa`",
        "partly",
        "gone",
        f"`{_MASKS}`",
    ),
    Method("`…TokenizerFast` in `tokenization_…_fast`", "ok", "gone", "`transformers`"),
    Method(
        "`TF…`, `Flax…` and their modules",
        "needs TF, Flax",
        "gone",
        "`headsmith.keras`: layers, heads and losses",
    ),
    Method(
        "`transformers.modeling_bert` and other modules of Transformers 3",
        "gone",
        "gone",
        "`transformers.models.bert.modeling_bert`",
    ),
)
"""The same for readers: names that many model modules had."""


def by_rule(module: str, name: str) -> str:
    """`"module:name"` of what stands for a name of a model module that is told by its form.

    Example:
        >>> from headsmith.compat.name_rules import by_rule
        >>> by_rule("transformers.models.opt.modeling_opt", "_expand_mask")
        'headsmith.compat.model_helpers:expand_mask'
        >>> by_rule("transformers.models.opt.modeling_opt", "OPTModel")
        ''
    """
    if FAST_TOKENIZERS.fullmatch(module):
        return f"transformers:{name}" if name.endswith("TokenizerFast") else ""
    if module != "transformers" and not MODEL_FILE.fullmatch(module):
        return ""
    for ending, place in _ENDINGS.items():
        if name.endswith(ending):
            return place
    if module == "transformers":
        return ""
    if name.startswith("load_tf_weights_in_"):
        return f"{SHIMS}:load_tf_weights"
    if name == "logger":
        return f"{SHIMS}:LOGGER"
    return {**_EXACT, **_OF_MODEL.get(module.split(".")[2], {})}.get(name, "")


def gone_by_rule(module: str, name: str = "") -> str:
    """What to do about a module, or a name in it, whose form tells that it is gone.

    Args:
        module: an absolute module name.
        name: a name once found in it; empty for the module itself.

    Returns:
        A few words; empty if the form tells nothing.

    Example:
        >>> from headsmith.compat.name_rules import gone_by_rule
        >>> gone_by_rule("transformers.modeling_bert", "BertLayer")
        'since Transformers 4 its module is transformers.models.bert.modeling_bert'
        >>> gone_by_rule("transformers.modeling_utils", "PreTrainedModel")
        ''
    """
    of_models = module == "transformers" or module.startswith("transformers.models.")
    if (of_models and _OTHER_CLASS.fullmatch(name)) or _OTHER_MODULE.fullmatch(module):
        return _NO_OTHERS
    for modules, names, remedy in _GONE:
        if re.fullmatch(modules, module) and re.fullmatch(names, name):
            return remedy
    found = _OF_3.fullmatch(module)
    if found is None:
        return ""
    return f"since Transformers 4 its module is transformers.models.{found[2]}.{found[1]}"
