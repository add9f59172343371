"""What was removed, noted in the model's own config, so that a checkpoint can be built again.

The note is the config's `quantization_config`, whose `quant_method` is `"headsmith"`:
Transformers hands it to us before it loads weights (see `checkpoint.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from headsmith.errors import PlanError
from headsmith.pruning.families import Description, describe
from headsmith.spec.plan import PrunePlan

__all__ = ["METHOD", "forget_foreign_note", "plan_of", "record_plan"]

METHOD = "headsmith"


def plan_of(model: nn.Module) -> PrunePlan | None:
    """The plan that made `model` from its dense ancestor, or None if it was never pruned.

    Args:
        model: any model with a Transformers config.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> from headsmith.pruning import plan_of
        >>> config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
        ...                     num_attention_heads=2, intermediate_size=16)
        >>> plan_of(BertModel(config)) is None
        True
    """
    note = _note_of(getattr(model, "config", None))
    if note is None or note.get("quant_method") != METHOD:
        return None
    plan = PrunePlan.from_dict(note.get("plan"))
    # A dense model may have been built from the config of a pruned one: the note is not its own.
    left = {b.name: b.count for b in describe(model).blocks}
    fits = all(left.get(name) == len(b.kept) for name, b in plan.blocks.items())
    return plan if fits else None


def record_plan(model: nn.Module, plan: PrunePlan, description: Description) -> None:
    """Note in the model's config that `plan` follows what was noted before.

    Where only heads are gone, `config.pruned_heads` is set as well: Transformers 4 reads it.

    Raises:
        PlanError: the model is quantized by someone else, or the plans do not fit together.
    """
    config = getattr(model, "config", None)
    if config is None:
        return
    note = _note_of(config)
    if note is not None and note.get("quant_method") != METHOD:
        raise PlanError(
            f"The model is quantized ({note.get('quant_method')}); prune it before quantizing."
        )
    earlier = plan_of(model)
    whole = plan if earlier is None else earlier.then(plan)
    config = _own_config(model, config)
    config.quantization_config = {"quant_method": METHOD, "plan": whole.to_dict()}
    pruned_heads = _pruned_heads(whole, description)
    if pruned_heads:
        config.pruned_heads = pruned_heads
    elif hasattr(config, "pruned_heads"):
        del config.pruned_heads


def forget_foreign_note(model: nn.Module) -> None:
    """Take a note out of the model's config that tells of another model.

    A model built from the config of a pruned one is dense; saved with that note, its weights
    would not fit what the note says.
    """
    config = getattr(model, "config", None)
    note = _note_of(config)
    if note is None or note.get("quant_method") != METHOD or plan_of(model) is not None:
        return
    config = _own_config(model, config)
    for name in ("quantization_config", "pruned_heads"):
        if hasattr(config, name):
            delattr(config, name)


def _own_config(model: nn.Module, shared: Any) -> Any:
    """Give the model a config that no other model built from the same one shares."""
    copies: dict[int, Any] = {}
    own = copy.deepcopy(shared, copies)
    for module in model.modules():
        # Attention reads its implementation from there: all must go on sharing one. The same
        # goes for the configs inside it, of the towers of a model.
        config = vars(module).get("config")
        if config is not None and id(config) in copies:
            module.config = copies[id(config)]
    return own


def _note_of(config: Any) -> Mapping[str, Any] | None:
    note = getattr(config, "quantization_config", None)
    if note is None or isinstance(note, Mapping):
        return note
    return dict(note.to_dict())


def _pruned_heads(plan: PrunePlan, description: Description) -> dict[int, list[int]]:
    layers = {
        b.name: b.layer_index
        for b in description.blocks
        if b.kind == "heads" and not b.site.cross and description.family.pruned_heads
    }
    if not all(b.kept and name in layers for name, b in plan.blocks.items()):
        return {}
    return {layers[name]: list(block.removed) for name, block in plan.blocks.items()}
