"""Half of all attention heads of a whole model: a plan applied, beside `prune_heads` of 4.34.

Both prune the same object, a model class of 4.34, which is set back after every call.
"""

import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model

import headsmith
from benchmarks.harness import Case, Sides


def _surgery() -> ModuleType:
    """Import `headsmith.pruning.surgery` without `headsmith.pruning`.

    The package as a whole needs Transformers 5, for checkpoints. Cutting does not, and only so
    can both sides work on one model in one process.
    """
    if "headsmith.pruning" not in sys.modules:
        bare = ModuleType("headsmith.pruning")
        bare.__path__ = [str(Path(headsmith.__file__).parent / "pruning")]
        sys.modules["headsmith.pruning"] = bare
    from headsmith.pruning import surgery

    return surgery


def cases() -> Iterator[Case]:
    """The two architectures whose layers differ most: linear, and one fused `Conv1D`."""
    yield Case("prune all layers, half the heads", "BERT-large", partial(_sides, _bert))
    yield Case("prune all layers, half the heads", "GPT-2-medium", partial(_sides, _gpt2))


def _bert() -> Any:
    sizes = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
    # Weights do not matter, and neither do the embeddings, which pruning leaves alone.
    return BertModel(BertConfig(vocab_size=100, intermediate_size=4096, **sizes))


def _gpt2() -> Any:
    return GPT2Model(GPT2Config(vocab_size=100, n_embd=1024, n_layer=24, n_head=16))


def _sides(make: Callable[[], Any]) -> Sides:
    torch.manual_seed(0)
    model = make().eval()
    surgery = _surgery()
    heads = {layer: list(range(0, 16, 2)) for layer in range(24)}

    def ours() -> Any:
        surgery.apply_plan(model, surgery.plan_of_heads(model, heads))
        return model

    def reference() -> Any:
        model.prune_heads(heads)
        return model

    # Pruning puts new layers in the place of old ones, which are untouched: whoever remembers
    # what every module held can undo it without a copy of a gigabyte.
    modules = [(module, _held(module)) for module in model.modules()]
    config = deepcopy(vars(model.config))

    def reset() -> None:
        for module, held in modules:
            vars(module).clear()
            vars(module).update(_copied(held))
        vars(model.config).clear()
        vars(model.config).update(deepcopy(config))

    return Sides(ours, reference, reset)


def _held(module: torch.nn.Module) -> dict[str, Any]:
    return _copied(vars(module))


def _copied(held: dict[str, Any]) -> dict[str, Any]:
    """Copy the attributes of a module, and of its registries one level deep."""
    return {
        name: value.copy() if isinstance(value, (dict, set)) else value
        for name, value in held.items()
    }
