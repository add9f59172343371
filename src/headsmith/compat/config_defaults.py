"""What every configuration had in Transformers 4, and what some models' had besides.

Filled in on the configuration object a legacy model is built from, where it is absent; classes
are not touched. Generation settings are left out: Transformers 5 refuses them in a configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from headsmith.compat.methods import heads_by_layer

__all__ = ["fill_defaults", "without_defaults"]

_COMMON: dict[str, Any] = {
    "add_cross_attention": False,
    "bos_token_id": None,
    "cross_attention_hidden_size": None,
    "decoder_start_token_id": None,
    "eos_token_id": None,
    "finetuning_task": None,
    "is_decoder": False,
    "pad_token_id": None,
    "prefix": None,
    "sep_token_id": None,
    "task_specific_params": None,
    "tf_legacy_loss": False,
    "tie_encoder_decoder": False,
    "tie_word_embeddings": True,
    "tokenizer_class": None,
    "torchscript": False,
    "use_bfloat16": False,
}

_ABSOLUTE = (
    "albert bert bert-generation camembert data2vec-text dpr electra ernie git ibert layoutlm "
    "lilt markuplm megatron-bert mra roberta roberta-prelayernorm roc_bert splinter xlm-roberta "
    "xlm-roberta-xl xmod yoso"
)

_OF_MODEL: dict[str, dict[str, Any]] = {
    **{model: {"position_embedding_type": "absolute"} for model in _ABSOLUTE.split()},
    "lxmert": {"layer_norm_eps": 1e-12},
    "splinter": {"position_embedding_type": "absolute", "use_cache": True},
    "videomae": {"qkv_bias": True},
    "xlm": {"eos_index": 1, "bos_index": 0, "pad_index": 2},
    "xlnet": {"untie_r": True},
}
"""Model type → what its configuration of 4.34 had and that of 5.23 has not."""


def fill_defaults(config: Any) -> None:
    """Give a configuration what it would have had in Transformers 4, where that is absent.

    Args:
        config: the configuration of a legacy model; changed in place.

    Example:
        >>> from transformers import BertConfig
        >>> from headsmith.compat.config_defaults import fill_defaults
        >>> config = BertConfig()
        >>> fill_defaults(config)
        >>> config.pruned_heads, config.position_embedding_type
        ({}, 'absolute')
    """
    for name, value in _defaults_of(config).items():
        if not hasattr(config, name):
            setattr(config, name, value)
    # An encoder-decoder's number of layers had this name too.
    if not hasattr(config, "num_hidden_layers") and hasattr(config, "encoder_layers"):
        config.num_hidden_layers = config.encoder_layers
    rope = getattr(config, "rope_parameters", None)
    if not hasattr(config, "rope_theta") and isinstance(rope, dict) and "rope_theta" in rope:
        config.rope_theta = rope["rope_theta"]
    # Configurations of the T5 family say True whatever they were given, and note what it was
    # under another name; that of mT5 forgets it.
    if getattr(config, "scale_decoder_outputs", None) is False or config.model_type == "mt5":
        config.tie_word_embeddings = False
    config.pruned_heads = heads_by_layer(getattr(config, "pruned_heads", None) or {})


def _defaults_of(config: Any) -> dict[str, Any]:
    return {**_COMMON, **_OF_MODEL.get(str(getattr(config, "model_type", "")), {})}


@contextmanager
def without_defaults(config: Any) -> Iterator[None]:
    """Take what `fill_defaults` filled in off a configuration while it is saved.

    As in Transformers 4, a saved configuration names what is not the default. Values that a
    configuration class sets itself come back from the class.
    """
    held = vars(config)
    fields = getattr(type(config), "__dataclass_fields__", {})
    defaults = {**_defaults_of(config), "pruned_heads": {}}
    gone = {
        name: held[name]
        for name, value in defaults.items()
        if name in held and name not in fields and held[name] == value
    }
    for name in gone:
        del held[name]
    try:
        yield
    finally:
        held.update(gone)
