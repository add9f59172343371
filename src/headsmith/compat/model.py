"""LegacyModel: what stands between a model class of Transformers 4 and `PreTrainedModel` of 5.

`legacy.py` puts it among the bases of the classes that need it. It answers where Transformers 5
asks for what such a class does not have, and leaves everything that a class does itself to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from headsmith.compat.config_defaults import fill_defaults, its_own_text, without_defaults
from headsmith.compat.loading import building, kept_while_initialising, on_cpu, place_missing
from headsmith.compat.native import is_native, is_of_a_model_file
from headsmith.compat.renamed_weights import complete, refuse_unread
from headsmith.compat.tying import (
    declared_for_saving,
    settle_missing,
    shared_parameters,
    tie,
    tie_encoder_to_decoder,
)

__all__ = ["LegacyModel", "of_a_model_class"]

_REGISTERING = "_headsmith_registering"


class _TiedKeys:
    """`all_tied_weights_keys` of a model whose `__init__` never asked for initialisation."""

    def __get__(self, model: Any, cls: type) -> dict[str, str]:
        if model is None:
            return {}
        found = shared_parameters(model)
        vars(model)["all_tied_weights_keys"] = found
        return found


class LegacyModel:
    """Construction, tying, loading and saving as in Transformers 4."""

    all_tied_weights_keys = _TiedKeys()

    def __init__(self, config: Any, *inputs: Any, **kwargs: Any) -> None:
        from transformers.configuration_utils import PretrainedConfig

        if isinstance(config, PretrainedConfig):
            fill_defaults(config)
        super().__init__(config, *inputs, **kwargs)  # type: ignore[call-arg]

    def init_weights(self: Any) -> None:
        """Prune what the configuration says is pruned, initialise, tie, and register.

        In Transformers 4 a class called this, and nothing else, at the end of `__init__`.
        """
        if vars(self).get(_REGISTERING):
            return  # asked by post_init of Transformers 5, below
        pruned = getattr(self.config, "pruned_heads", None)
        # A stack inside an encoder-decoder shares its configuration and leaves pruning to it.
        if pruned and hasattr(self.base_model, "_prune_heads"):
            self.prune_heads(pruned)
        if not building():
            self.initialize_weights()
        self.tie_weights()
        self._register()
        # Read by save_pretrained of any model that this one is part of.
        vars(self)["_tied_weights_keys"] = {
            f"^{re.escape(name)}$": source for name, source in self.all_tied_weights_keys.items()
        }

    def _register(self: Any) -> None:
        """Note what Transformers 5 wants to know of the model and its parts; nothing is changed."""
        vars(self)[_REGISTERING] = True
        try:
            super().post_init()  # type: ignore[misc]
        finally:
            del vars(self)[_REGISTERING]

    def post_init(self: Any) -> None:
        """Do what `init_weights` does; the other name for it in Transformers 4."""
        self.init_weights()

    def _init_weights(self: Any, module: Any) -> None:
        # 4.x left modules as torch made them where a class did not say otherwise.
        own = of_a_model_class(self, "_init_weights", behind=LegacyModel)
        if own is not None:
            own(self, module)

    def _initialize_weights(self: Any, module: Any, *_: Any, **__: Any) -> None:
        # 5.x passes over modules without weights of their own, and with them what T5 and its
        # like do for a whole attention block.
        if not getattr(module, "_is_hf_initialized", False):
            self._init_weights(module)
            module._is_hf_initialized = True

    def get_output_embeddings(self: Any) -> Any:
        """None where no class of the model says what they are, as in Transformers 4."""
        own = of_a_model_class(self, "get_output_embeddings", behind=LegacyModel)
        return None if own is None else own(self)

    def get_expanded_tied_weights_keys(self: Any, all_submodels: bool = False) -> dict[str, str]:
        """The names under which one weight appears again, read off the model."""
        return shared_parameters(self)

    def tie_weights(
        self: Any, missing_keys: set[str] | None = None, recompute_mapping: bool = True
    ) -> None:
        """Tie as Transformers 4 did, then what nested models of Transformers 5 declare."""
        tie_with(self, lambda: tie(self, self.get_output_embeddings), missing_keys)

    def resize_token_embeddings(
        self: Any,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = False,
    ) -> Any:
        """Resize the input embeddings; new ones are initialised by `_init_weights`, as in 4.34."""
        with its_own_text(self.config):
            return super().resize_token_embeddings(  # type: ignore[misc]
                new_num_tokens, pad_to_multiple_of, mean_resizing
            )

    def _resize_token_embeddings(self: Any, *args: Any, **kwargs: Any) -> Any:
        # Tied output embeddings get their new weight, and a longer bias, by being tied again;
        # 5.x would put another module in their place.
        if not getattr(self.config, "tie_word_embeddings", True):
            return super()._resize_token_embeddings(*args, **kwargs)  # type: ignore[misc]
        vars(self)["get_output_embeddings"] = _nothing
        try:
            return super()._resize_token_embeddings(*args, **kwargs)  # type: ignore[misc]
        finally:
            del vars(self)["get_output_embeddings"]

    @staticmethod
    def _tie_encoder_decoder_weights(
        encoder: Any, decoder: Any, base_model_prefix: str = "", *_: Any
    ) -> None:
        tie_encoder_to_decoder(encoder, decoder)

    @classmethod
    def _can_set_experts_implementation(cls) -> bool:
        # Early 5 reads the file of the class to know, and a notebook has none.
        return False

    @classmethod
    def get_init_context(cls, *args: Any, **kwargs: Any) -> list[Any]:
        """Build on the CPU, where buffers keep what `__init__` puts into them."""
        return on_cpu(super().get_init_context(*args, **kwargs))  # type: ignore[misc]

    @classmethod
    def _load_pretrained_model(
        cls, model: Any, state_dict: Any, checkpoint_files: Any, load_config: Any, *args: Any
    ) -> Any:
        complete(model, load_config.weight_mapping)
        found = super()._load_pretrained_model(  # type: ignore[misc]
            model, state_dict, checkpoint_files, load_config, *args
        )
        info = found[0] if isinstance(found, tuple) else found
        refuse_unread(
            model,
            info.missing_keys,
            info.unexpected_keys,
            lambda: state_dict or _without_values(checkpoint_files),
        )
        return found

    def _move_missing_keys_from_meta_to_device(
        self: Any, missing_keys: set[str], device_map: Any, *_: Any, **__: Any
    ) -> None:
        from transformers.integrations.accelerate import get_device

        place_missing(
            self,
            set(missing_keys) - set(self.all_tied_weights_keys),
            lambda name: get_device(device_map, name, valid_torch_device=True),
        )

    def _initialize_missing_keys(self: Any, *args: Any, **kwargs: Any) -> None:
        with kept_while_initialising(self):
            super()._initialize_missing_keys(*args, **kwargs)  # type: ignore[misc]

    def _adjust_missing_and_unexpected_keys(self: Any, *args: Any, **kwargs: Any) -> Any:
        # Where `__init__` asked for nothing, the names to be passed over are still in lists.
        if not isinstance(self._keys_to_ignore_on_load_unexpected, set):
            self._register()
        return super()._adjust_missing_and_unexpected_keys(*args, **kwargs)  # type: ignore[misc]

    def save_pretrained(self: Any, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        """Save as safetensors; a weight with several names is saved once."""
        # The names are the class's own: those that Transformers 5 gives a native model of the
        # same type are not.
        kwargs.setdefault("save_original_format", False)
        with (
            without_defaults(self.config),
            declared_for_saving(self, kwargs.pop("state_dict", None)) as state,
        ):
            return super().save_pretrained(save_directory, *args, state_dict=state, **kwargs)  # type: ignore[misc]


def _without_values(files: list[str]) -> dict[str, Any]:
    from transformers.modeling_utils import load_state_dict

    return {n: t for f in files for n, t in load_state_dict(f, map_location="meta").items()}


def _nothing() -> None:
    """No output embeddings."""


def tie_with(model: Any, tie_as_before: Callable[[], None], missing_keys: set[str] | None) -> None:
    """Tie as Transformers 4 did, then what was tied before or what nested models declare.

    Args:
        model: a legacy model.
        tie_as_before: ties it as it was tied in Transformers 4.
        missing_keys: what a checkpoint that is being read did not have; None outside of that.
    """
    from transformers.modeling_utils import PreTrainedModel

    pairs = dict(vars(model).get("all_tied_weights_keys", {}))
    if missing_keys is not None:
        settle_missing(model, pairs, missing_keys)
    tie_as_before()
    vars(model)["all_tied_weights_keys"] = {**pairs, **shared_parameters(model)}
    PreTrainedModel.tie_weights(model, missing_keys=missing_keys, recompute_mapping=False)


def of_a_model_class(model: Any, name: str, behind: type) -> Callable[..., Any] | None:
    """The next method of that name behind a class, unless it is Transformers' generic one."""
    order = type(model).__mro__
    order = order[order.index(behind) + 1 :]
    for cls in order:
        if name in vars(cls):
            generic = is_native(cls) and not is_of_a_model_file(cls)
            if not generic:
                return vars(cls)[name]  # type: ignore[no-any-return]
            built_on_native = any(is_of_a_model_file(c) for c in order)
            return vars(cls)[name] if built_on_native else None
    return None
