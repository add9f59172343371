"""LateModel: what a model class of Transformers 4 needs on the last versions of 4 themselves.

Those still have the old names and methods, and tie as before. But they save safetensors, which
refuses a weight with two names that no list declares; they build on the meta device, where two
names of one weight come apart; and they initialise what a class says nothing of. `legacy.py` puts
this among the bases of the classes that need it.
"""

from __future__ import annotations

from typing import Any

from headsmith.compat.loading import building, on_cpu, while_building
from headsmith.compat.model import of_a_model_class
from headsmith.compat.tying import declared_for_saving, settle_missing, shared_parameters

__all__ = ["LateModel"]

_BEFORE = "_headsmith_before_reading"


class LateModel:
    """Construction, loading and saving as in Transformers 4.34, on 4.50 to 4.57."""

    def init_weights(self: Any) -> None:
        """Prune what the configuration says is pruned, then initialise and tie."""
        pruned = getattr(self.config, "pruned_heads", None)
        if not pruned or hasattr(self.base_model, "_prune_heads"):
            super().init_weights()  # type: ignore[misc]
            return
        # A stack inside an encoder-decoder shares its configuration and leaves pruning to it.
        self.config.pruned_heads = {}
        try:
            super().init_weights()  # type: ignore[misc]
        finally:
            self.config.pruned_heads = pruned

    def _init_weights(self: Any, module: Any) -> None:
        # 4.34 left modules as torch made them where a class did not say otherwise. While weights
        # are read they are not made by torch, and what the checkpoint lacks would be garbage.
        own = of_a_model_class(self, "_init_weights", behind=LateModel)
        if own is not None:
            own(self, module)
        elif building():
            super()._init_weights(module)  # type: ignore[misc]

    @classmethod
    def get_init_context(cls, is_quantized: bool, *args: Any, **kwargs: Any) -> list[Any]:
        """Build on the CPU, where one weight under two names stays one."""
        contexts: list[Any] = super().get_init_context(is_quantized, *args, **kwargs)  # type: ignore[misc]
        return contexts if is_quantized else on_cpu(contexts)

    def _initialize_missing_keys(self: Any, *args: Any, **kwargs: Any) -> None:
        # Called when the model is built and tied, before anything is read.
        parameters = dict(self.named_parameters(remove_duplicate=False))
        vars(self)[_BEFORE] = parameters, shared_parameters(self)
        with while_building():
            super()._initialize_missing_keys(*args, **kwargs)  # type: ignore[misc]

    def _adjust_missing_and_unexpected_keys(self: Any, *args: Any, **kwargs: Any) -> Any:
        # Called when everything is read, before it is tied again. What was read is another object.
        before, pairs = vars(self).pop(_BEFORE, ({}, {}))
        now = dict(self.named_parameters(remove_duplicate=False))
        missing = {name for name, parameter in before.items() if now.get(name) is parameter}
        settle_missing(self, pairs, missing)
        return super()._adjust_missing_and_unexpected_keys(*args, **kwargs)  # type: ignore[misc]

    def save_pretrained(self: Any, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        """Save as `save_pretrained` does; a weight with several names is saved once."""
        with declared_for_saving(self, kwargs.pop("state_dict", None)) as state:
            return super().save_pretrained(save_directory, *args, state_dict=state, **kwargs)  # type: ignore[misc]
