"""What every configuration had in Transformers 4, and what some models' had besides.

Filled in on the configuration object a legacy model is built from, where it is absent; classes
are not touched. Generation settings are left out: Transformers 5 refuses them in a configuration.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from headsmith.compat.methods import heads_by_layer

__all__ = ["defaults_of", "fill_defaults", "without_defaults"]

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
    for name, value in defaults_of(config).items():
        if not hasattr(config, name):
            setattr(config, name, value)
    # An encoder-decoder's number of layers had this name too.
    if not hasattr(config, "num_hidden_layers") and hasattr(config, "encoder_layers"):
        config.num_hidden_layers = config.encoder_layers
    _fill_rope(config)
    # Configurations of the T5 family say True whatever they were given, and note what it was
    # under another name; that of mT5 forgets it.
    if getattr(config, "scale_decoder_outputs", None) is False or config.model_type == "mt5":
        config.tie_word_embeddings = False
    config.pruned_heads = heads_by_layer(getattr(config, "pruned_heads", None) or {})


def _fill_rope(config: Any) -> None:
    """Rotary settings in the fields that 4.34 had for them."""
    rope = getattr(config, "rope_parameters", None)
    if not isinstance(rope, dict) or "rope_theta" not in rope:
        return
    part = rope.get("partial_rotary_factor")
    fields = {
        "rope_theta": rope["rope_theta"],
        "rotary_emb_base": rope["rope_theta"],
        "rotary_pct": part,
        "partial_rotary_factor": part,
    }
    for name, value in fields.items():
        if value is not None and not hasattr(config, name):
            setattr(config, name, value)
    if isinstance(getattr(type(config), "rope_scaling", None), property):
        config.__class__ = _with_rope_scaling(type(config))  # type: ignore[arg-type]


@cache
def _with_rope_scaling(cls: type) -> type:
    """The same class with the `rope_scaling` of 4.34: None where nothing is scaled.

    That of Transformers 5 is another name for `rope_parameters`, a property of all
    configurations; no value of an object could stand before it.
    """

    def scaling(config: Any) -> Any:
        rope = config.rope_parameters
        kind = rope.get("type", rope.get("rope_type", "default")) if rope else "default"
        return None if kind == "default" else {**rope, "type": kind}

    def scale(config: Any, value: Any) -> None:
        old: Any = cls.rope_scaling  # type: ignore[attr-defined]
        old.fset(config, value)

    def reduced(config: Any, protocol: Any) -> Any:
        # Pickled as what it was: this class is not found by its name.
        return _unreduced, (cls, dict(vars(config)))

    def copied(config: Any, memo: dict[int, Any]) -> Any:
        made: Any = object.__new__(type(config))
        memo[id(config)] = made
        vars(made).update(copy.deepcopy(vars(config), memo))
        return made

    return _same_but(
        cls,
        {
            "__reduce_ex__": reduced,
            "__deepcopy__": copied,
            "rope_scaling": property(scaling, scale),
        },
    )


def _unreduced(cls: type, held: dict[str, Any]) -> Any:
    made: Any = object.__new__(cls)
    vars(made).update(held)
    return made


def defaults_of(config: Any) -> dict[str, Any]:
    """What a configuration of its type had in 4.34, beside settings of generation."""
    return {
        **_COMMON,
        "pruned_heads": {},
        **_OF_MODEL.get(str(getattr(config, "model_type", "")), {}),
    }


@contextmanager
def its_own_text(config: Any) -> Iterator[None]:
    """Let Transformers 5 take a configuration for that of its text, as 4.34 did.

    It looks for another one in `text_config` and the like, where an old class may keep anything.
    """
    held = vars(config)
    parts = [held[name] for name in ("text_config", "decoder", "text_encoder") if name in held]
    if not parts or any(hasattr(part, "to_dict") for part in parts):
        yield
        return
    held["get_text_config"] = lambda *_, **__: config
    try:
        yield
    finally:
        del held["get_text_config"]


@contextmanager
def without_defaults(config: Any) -> Iterator[None]:
    """Take what `fill_defaults` filled in off a configuration while it is saved.

    As in Transformers 4, a saved configuration names what is not the default. Values that a
    configuration class sets itself come back from the class.
    """
    held = vars(config)
    fields = getattr(type(config), "__dataclass_fields__", {})
    gone = {
        name: held[name]
        for name, value in defaults_of(config).items()
        if name in held and name not in fields and held[name] == value
    }
    for name in gone:
        del held[name]
    before = type(config)
    config.__class__ = _saved_as_it_is(before)  # type: ignore[arg-type]
    try:
        yield
    finally:
        config.__class__ = before
        held.update(gone)


@cache
def _saved_as_it_is(cls: type) -> type:
    """The same class, which does not refuse to save settings of generation.

    4.34 saved them with a configuration; in Transformers 5 they have a file of their own.
    """
    return _same_but(cls, {"_get_generation_parameters": lambda _: {}})


def _same_but(cls: type, members: dict[str, Any]) -> type:
    """A subclass with other members that goes by the name of the class."""
    return type(
        cls.__name__,
        (cls,),
        {
            "__init__": cls.__init__,  # type: ignore[misc]
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__doc__": cls.__doc__,
            **members,
        },
    )
