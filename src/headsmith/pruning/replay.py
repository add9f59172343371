"""Run a model from one layer on, given what the layers before it put out.

The layers before are stood in for by what they would have returned, so the model's own code
makes masks, positions and heads as always; nothing about its call conventions is known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from headsmith.pruning.data import Batch
from headsmith.pruning.families import Block, Description
from headsmith.pruning.families.stack import find
from headsmith.pruning.tokens import rows_of

__all__ = ["Replay", "Seen", "inference", "to_device", "watching"]


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
    """Runs of one model that may begin after one stage and end after another.

    A stage is a layer, or all layers together where they share their weights. Models of several
    stacks (encoder and decoder, two towers) have the stages of all of them, one after the other.

    Args:
        model: the whole model, as users call it.
        description: what `describe` says of it.
    """

    def __init__(self, model: nn.Module, description: Description) -> None:
        self.model = model
        stages = {b.layer_index: b for b in description.blocks}
        self.layers = [description.base.get_submodule(stages[i].stage) for i in sorted(stages)]
        self._stacks = [stages[i].stack for i in sorted(stages)]

    def each(
        self, batch: Batch, *, start: int = 0, given: Any = None, stop: int
    ) -> list[dict[str, Any]]:
        """Run stages `start` to `stop`; what `given` would be after each of them."""
        outputs: dict[int, Any] = {}
        wanted = range(start, stop + 1)
        handles = [
            self.layers[i].register_forward_hook(_keep(outputs, i, len(wanted))) for i in wanted
        ]
        try:
            self(batch, start=start, given=given)
        except _Stopped:
            pass
        finally:
            for handle in handles:
                handle.remove()
        put_out, found = dict(given or {}), []
        for i in wanted:
            if i in outputs:
                put_out = {**put_out, self._stacks[i]: outputs[i]}
            found.append(put_out)
        return found

    def stack(self, stage: int) -> str:
        """The stack that a stage belongs to."""
        return self._stacks[stage]

    def __call__(
        self, batch: Batch, *, start: int = 0, given: Any = None, stop: int | None = None
    ) -> Any:
        """Run on `batch`.

        Args:
            batch: arguments of the model, on its device.
            start: the first stage that really runs.
            given: what a run with `stop=start - 1` returned; needed where `start` is above 0.
            stop: the last stage to run; None runs to the end.

        Returns:
            The model's output, or with `stop` what each stack put out last, by its path.
        """
        replaced = list(zip(self.layers, self._stacks, strict=True))[:start]
        put_out = dict(given or {})
        # Accelerate, for one, sets a layer's `forward` on the instance: it is put back.
        own = [vars(layer).get("forward") for layer, _ in replaced]
        handles = []
        if stop is not None:
            for layer, stack in list(zip(self.layers, self._stacks, strict=True))[start:stop]:
                handles.append(layer.register_forward_hook(_note(put_out, stack)))
            handles.append(self.layers[stop].register_forward_hook(_stop))
        try:
            for layer, stack in replaced:
                layer.forward = _puts_out(put_out[stack])
            return self.model(**batch)
        except _Stopped as stopped:
            if stop is None:
                raise
            return {**put_out, self._stacks[stop]: stopped.output}
        finally:
            for (layer, _), forward in zip(replaced, own, strict=True):
                vars(layer).pop("forward", None)
                if forward is not None:
                    layer.forward = forward
            for handle in handles:
                handle.remove()


def _puts_out(given: Any) -> Any:
    return lambda *_, **__: given


def _note(put_out: dict[str, Any], stack: str) -> Any:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        put_out[stack] = output

    return hook


def _keep(outputs: dict[int, Any], stage: int, wanted: int) -> Any:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        outputs[stage] = output
        # Stacks may run in another order than they are told in; the last to run ends it.
        if len(outputs) == wanted:
            raise _Stopped(output)

    return hook


def _stop(module: nn.Module, args: Any, output: Any) -> None:
    raise _Stopped(output)


class Seen:
    """What flowed through some blocks while the model ran; padding left out.

    Where layers share their weights a block runs several times: all its rows are there, one
    run's below the other's.
    """

    def __init__(self, base: nn.Module) -> None:
        self._base = base
        self._inputs: dict[str, list[Tensor]] = {}
        self._outputs: dict[str, list[Tensor]] = {}

    def start(self) -> None:
        """Forget what was seen: a run begins."""
        self._inputs.clear()
        self._outputs.clear()

    def ran(self, block: Block) -> bool:
        """Whether the model ran the block; cross-attention needs something to attend to."""
        return block.writer in self._inputs

    def inputs(self, block: Block, batch: Batch) -> Tensor:
        """What the block's writer read, (tokens, features)."""
        return self._rows(self._inputs, block.writer, block, batch)

    def stream(self, block: Block, batch: Batch) -> Tensor | None:
        """The residual stream that the writer adds to, (tokens, hidden); None if unknown."""
        if not block.residual:
            return None
        stream = self._rows(self._inputs, block.residual, block, batch)
        if block.beside:
            stream = stream + self._rows(self._outputs, block.beside, block, batch)
        return stream

    def added(self, block: Block, batch: Batch) -> Tensor:
        """What the writer adds to that stream, (tokens, hidden)."""
        output = self._rows(self._outputs, block.writer, block, batch)
        scale = self.scale(block)
        return output if scale is None else output * scale

    def scale(self, block: Block) -> Tensor | None:
        """What the writer's output is multiplied by, (hidden,), or None."""
        return cast(Tensor, find(self._base, block.scale)).detach() if block.scale else None

    def _rows(
        self, seen: Mapping[str, list[Tensor]], path: str, block: Block, batch: Batch
    ) -> Tensor:
        return torch.cat([rows_of(features, batch, block.tokens) for features in seen[path]])


@contextmanager
def watching(base: nn.Module, blocks: Sequence[Block]) -> Iterator[Seen]:
    """Note what flows through blocks as the model runs.

    Args:
        base: the base model.
        blocks: those to watch.
    """
    seen = Seen(base)
    handles = []

    def note_input(path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            first = args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values())))
            seen._inputs.setdefault(path, []).append(first)

        return hook

    def note_output(path: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            seen._outputs.setdefault(path, []).append(output)

        return hook

    inputs = {path for b in blocks for path in (b.writer, b.residual) if path}
    outputs = {path for b in blocks for path in (b.writer, b.beside) if path}
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
