"""Run a model from one layer on, given what the layers before it put out.

The layers before are stood in for by what they would have returned, so the model's own code
makes masks, positions and heads as always; nothing about its call conventions is known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from headsmith.pruning.data import Batch
from headsmith.pruning.families import Description

__all__ = ["Replay", "inference", "to_device"]


class _Stopped(Exception):  # noqa: N818 - a signal, not an error
    """The layer asked for has run."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


def to_device(batch: Batch, model: nn.Module) -> dict[str, Tensor]:
    """The batch on the model's device."""
    device = next(model.parameters()).device
    return {name: value.to(device) for name, value in batch.items()}


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, frozen parameters and no key-value cache; all put back afterwards."""
    was_training = {m: m.training for m in model.modules()}
    asked = [p for p in model.parameters() if p.requires_grad]
    config = getattr(model, "config", None)
    use_cache = getattr(config, "use_cache", None)
    model.eval()
    for parameter in asked:
        parameter.requires_grad_(False)
    if use_cache is not None:
        config.use_cache = False  # type: ignore[union-attr]
    try:
        yield
    finally:
        for module, training in was_training.items():
            module.training = training
        for parameter in asked:
            parameter.requires_grad_(True)
        if use_cache is not None:
            config.use_cache = use_cache  # type: ignore[union-attr]


class Replay:
    """Runs of one model that may begin after one layer and end after another.

    Args:
        model: the whole model, as users call it.
        description: what `describe` says of it.
    """

    def __init__(self, model: nn.Module, description: Description) -> None:
        self.model = model
        paths: dict[int, str] = {b.layer_index: b.layer for b in description.blocks}
        self.layers = [description.base.get_submodule(paths[i]) for i in sorted(paths)]

    def __call__(
        self, batch: Batch, *, start: int = 0, given: Any = None, stop: int | None = None
    ) -> Any:
        """Run on `batch`.

        Args:
            batch: arguments of the model, on its device.
            start: the first layer that really runs.
            given: what layer `start - 1` put out; needed where `start` is above 0.
            stop: the last layer to run; None runs to the end.

        Returns:
            The model's output, or with `stop` what that layer put out.
        """
        replaced = self.layers[:start]
        handle = None
        if stop is not None:
            handle = self.layers[stop].register_forward_hook(_stop)
        try:
            for layer in replaced:
                layer.forward = lambda *_, **__: given
            return self.model(**batch)
        except _Stopped as stopped:
            return stopped.output
        finally:
            for layer in replaced:
                vars(layer).pop("forward", None)
            if handle is not None:
                handle.remove()


def _stop(module: nn.Module, args: Any, output: Any) -> None:
    raise _Stopped(output)


@contextmanager
def watching(base: nn.Module, inputs: list[str], outputs: list[str]) -> Iterator[dict[str, Tensor]]:
    """Note the first input and the output of modules as they run.

    Args:
        base: the base model.
        inputs: module paths whose first input is noted under the path + `"<"`.
        outputs: module paths whose output is noted under the path + `">"`.

    Yields:
        A dict that each run of the model fills anew.
    """
    seen: dict[str, Tensor] = {}
    handles = []

    def note_input(path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen[path + "<"] = args[0] if args else next(iter(kwargs.values()))

        return hook

    def note_output(path: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            seen[path + ">"] = output

        return hook

    try:
        for path in inputs:
            module = base.get_submodule(path)
            handles.append(module.register_forward_pre_hook(note_input(path), with_kwargs=True))
        for path in outputs:
            handles.append(base.get_submodule(path).register_forward_hook(note_output(path)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def rows_of(features: Tensor, batch: Batch) -> Tensor:
    """The rows of (batch, seq, features) that are not padding, (tokens, features)."""
    mask = batch.get("attention_mask")
    if mask is None or mask.shape != features.shape[:2]:
        return features.reshape(-1, features.shape[-1])
    return features[mask.to(features.device, torch.bool)]
