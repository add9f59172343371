"""Names of model modules that are told by their form: every module of a kind had one.

`headsmith.compat.names` has the table of the others and reads these rules too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["FAST_TOKENIZERS", "MODEL_FILE", "ONNX", "RULES", "SHIMS", "Method", "by_rule"]

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

_HELPERS = "headsmith.compat.model_helpers"
_EXACT = {
    "_expand_mask": f"{_HELPERS}:expand_mask",
    "_make_causal_mask": f"{_HELPERS}:causal_mask",
    "_get_unpad_data": f"{_HELPERS}:get_unpad_data",
    "create_position_ids_from_input_ids": f"{_HELPERS}:create_position_ids_from_input_ids",
    "drop_path": f"{_HELPERS}:drop_path",
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
    Method("`…TokenizerFast` in `tokenization_…_fast`", "ok", "gone", "`transformers`"),
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
