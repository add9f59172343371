"""Backward through a model one stage at a time, so that one stage's graph exists at a time.

```
forward    batch ─ stage 0 ─ stage 1 ─ … ─ head        without a graph; what each stage puts
                  └ kept    └ kept                     out is kept (`Outputs`)
backward             again ← again ← … ← probe         each stage runs once more, with a graph,
                                                       from what was kept (`Gradients`)
```

A stage may read what several stacks put out, as a decoder reads its encoder. The gradients of
all who read a stack's last output are added up before the stack's own stages have their turn.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from headsmith.pruning.data import Batch
from headsmith.pruning.replay import Replay

__all__ = ["Gradients", "Outputs", "Watched", "watching_gradients"]

_KEPT_BYTES = 1 << 28


class Outputs:
    """What each stage of a model puts out for some batches.

    Where that takes more than 256 MiB, only that of some stages is kept, and the others' is
    made again from there when it is asked for.

    Args:
        replay: of the model.
        batches: place among all batches → batch, on the model's device.
    """

    def __init__(self, replay: Replay, batches: Mapping[int, Batch]) -> None:
        self._replay = replay
        self.batches = batches
        self._kept: dict[int, dict[int, Any]] = {}  # stage → place → what was put out by then
        self._last = len(replay.layers) - 1
        self._fill(0)

    def before(self, stage: int) -> dict[int, Any]:
        """Place of a batch → what a run from `stage` on is to be given; later ones are dropped."""
        for later in [s for s in self._kept if s >= stage]:
            del self._kept[later]
        if not stage or not self.batches:
            return dict.fromkeys(self.batches)
        if stage - 1 not in self._kept:
            self._last = stage - 1
            self._fill(max((s for s in self._kept if s < stage), default=-1) + 1)
        return self._kept[stage - 1]

    def _fill(self, first: int) -> None:
        """Run from `first` to the last stage, and keep as many of their outputs as have room."""
        given = self._kept.get(first - 1, dict.fromkeys(self.batches))
        every = 1
        for place, batch in self.batches.items():
            found = self._replay.each(batch, start=first, given=given[place], stop=self._last)
            if place == next(iter(self.batches)):
                size = max(1, _bytes(found[-1][self._replay.stack(self._last)]))
                room = max(1, _KEPT_BYTES // (size * len(self.batches)))
                every = -(-len(found) // room)
            for stage, put_out in enumerate(found, start=first):
                if (self._last - stage) % every == 0:
                    self._kept.setdefault(stage, {})[place] = put_out


@dataclass
class Watched:
    """What a stage's writers read and put out in one run, with a graph.

    Args:
        inputs: path → what came in, one entry a run.
        outputs: path → what went out.
    """

    inputs: dict[str, list[Tensor]] = field(default_factory=dict)
    outputs: dict[str, list[Tensor]] = field(default_factory=dict)


@contextmanager
def watching_gradients(base: nn.Module, writers: Sequence[str]) -> Iterator[Watched]:
    """Note what passes through modules, so that gradients of what they put out can be asked for.

    Args:
        base: the base model.
        writers: paths of the modules, below it.
    """
    watched = Watched()

    def note(path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            watched.inputs.setdefault(path, []).append(args[0].detach())
            if not output.requires_grad:
                # Before the first stage nothing has a gradient: the graph begins here.
                output.requires_grad_(True)
            watched.outputs.setdefault(path, []).append(output)
            # What follows may write into it.
            return output.clone()

        return hook

    handles = [base.get_submodule(path).register_forward_hook(note(path)) for path in writers]
    try:
        yield watched
    finally:
        for handle in handles:
            handle.remove()


class Gradients:
    """The gradient of a scalar at what each stack put out, for each batch.

    Begins at the head and goes back stage by stage.

    Args:
        replay: of the model.
    """

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        # place of a batch → stack → one entry for each tensor that the stack put out
        self.kept: dict[int, dict[str, list[Tensor | None]]] = {}

    def begin(self, place: int, batch: Batch, given: Any, scalar: Callable[[Any], Tensor]) -> None:
        """Take the gradient of `scalar(output of the model)`.

        Args:
            place: of the batch among all.
            batch: on the model's device.
            given: what the last stage left.
            scalar: of the whole model's output.
        """
        leaves = {stack: _leaves(tree) for stack, tree in given.items()}
        with torch.enable_grad():
            output = self._replay(batch, start=len(self._replay.layers), given=leaves)
            wanted = [t for tree in leaves.values() for t in _tensors(tree) if t.requires_grad]
            found = torch.autograd.grad(scalar(output), wanted, allow_unused=True)
        self._note(place, leaves, iter(found))

    def back(
        self, place: int, batch: Batch, given: Any, stage: int, more: Callable[[], list[Tensor]]
    ) -> list[Tensor | None]:
        """Go back through one stage.

        Args:
            place: of the batch among all.
            batch: on the model's device.
            given: what the stage was given; None for the first.
            stage: which.
            more: called when the stage has run: further tensors to take the gradient of.

        Returns:
            The gradients of those; None where nothing depends on them.
        """
        own = self._replay.stack(stage)
        leaves = {stack: _leaves(tree) for stack, tree in (given or {}).items()}
        with torch.enable_grad():
            output = self._replay(batch, start=stage, given=leaves or None, stop=stage)[own]
            further = more()
            wanted = [t for tree in leaves.values() for t in _tensors(tree) if t.requires_grad]
            pairs = [
                (tensor, gradient)
                for tensor, gradient in zip(
                    _tensors(output), self.kept[place].pop(own, []), strict=False
                )
                if gradient is not None and tensor.requires_grad
            ]
            found: Sequence[Tensor | None] = [None] * (len(wanted) + len(further))
            if pairs and found:
                found = torch.autograd.grad(
                    [tensor for tensor, _ in pairs],
                    [*wanted, *further],
                    [gradient for _, gradient in pairs],
                    allow_unused=True,
                )
        self._note(place, leaves, iter(found[: len(wanted)]))
        return list(found[len(wanted) :])

    def _note(self, place: int, leaves: Mapping[str, Any], found: Iterator[Tensor | None]) -> None:
        """Add what was found to what is kept of each stack."""
        kept = self.kept.setdefault(place, {})
        for stack, tree in leaves.items():
            new = [next(found) if t.requires_grad else None for t in _tensors(tree)]
            old = kept.get(stack, [None] * len(new))
            kept[stack] = [_sum(a, b) for a, b in zip(old, new, strict=True)]


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _tensors(tree: Any) -> Iterator[Tensor]:
    """The tensors in what a module put out, in a fixed order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for member in tree.values():
            yield from _tensors(member)
    elif isinstance(tree, tuple | list):
        for member in tree:
            yield from _tensors(member)


def _leaves(tree: Any) -> Any:
    """The same with tensors that a graph begins at."""
    if isinstance(tree, Tensor):
        leaf = tree.detach()
        return leaf.requires_grad_(True) if leaf.is_floating_point() else leaf
    if isinstance(tree, Mapping):
        made: Any = copy.copy(tree)
        for name, member in tree.items():
            made[name] = _leaves(member)
        return made
    if isinstance(tree, tuple | list):
        members = [_leaves(member) for member in tree]
        return type(tree)(*members) if hasattr(tree, "_fields") else type(tree)(members)
    return tree


def _bytes(tree: Any) -> int:
    return sum(t.numel() * t.element_size() for t in _tensors(tree))
