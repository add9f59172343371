"""How long each block takes on this device, by how much of it stays.

FLOPs are a poor clock: narrow products run below the speed of wide ones, attention's softmax is
not counted, a batch of one is bound by memory. So each kind of block is cut to a few sizes,
and its layer timed in the model, in turns. The differences are what a size costs; what does
not depend on any block (embeddings, LayerNorm, heads on top) is what is left of the whole.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from headsmith.pruning.families import Block, Description, describe
from headsmith.pruning.latency import measure, random_batch, synchronize
from headsmith.pruning.replay import Replay, inference, to_device
from headsmith.pruning.surgery import cut
from headsmith.spec.cost import BlockShape
from headsmith.spec.plan import BlockPlan, PrunePlan

__all__ = ["BlockTimes", "block_times"]

_FRACTIONS = (0.0, 1 / 12, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6)
_FEWEST_ROUNDS, _MOST_ROUNDS = 5, 60


@dataclass(frozen=True)
class BlockTimes:
    """Milliseconds by size, measured for one batch size and length on one device.

    Args:
        whole_ms: one forward call of the unpruned model.
        sizes: block name → the sizes timed, ascending, the last being all.
        milliseconds: block name → what a block of such a size adds to the model's time.
    """

    whole_ms: float
    sizes: dict[str, tuple[int, ...]]
    milliseconds: dict[str, tuple[float, ...]]

    def cost(self, shape: BlockShape, kept: int) -> float:
        """Milliseconds of a block of which `kept` groups stay, interpolated."""
        return float(np.interp(kept, self.sizes[shape.name], self.milliseconds[shape.name]))

    @property
    def fixed_ms(self) -> float:
        """Milliseconds that stay when every block is gone."""
        return self.whole_ms - sum(found[-1] for found in self.milliseconds.values())


def block_times(
    model: nn.Module,
    description: Description,
    *,
    batch: int,
    length: int,
    seconds: float = 4.0,
    step: Callable[[int, int], None] | None = None,
) -> BlockTimes:
    """Time every kind of block of `model` at a few sizes.

    Args:
        model: the model; left as it was.
        description: what `describe` says of it.
        batch: sequences a call.
        length: tokens a sequence.
        seconds: to spend at most on one kind of block, less where enough rounds are done.
        step: called with (kinds done, kinds in all).

    Raises:
        DataError: `length` is more than the model has positions for.
    """
    whole = measure({"model": model}, batch=batch, length=length, max_seconds=3 * seconds)
    inputs = to_device(random_batch([model], batch=batch, length=length), model)
    kinds: dict[tuple[Any, ...], list[Block]] = {}
    for block in description.blocks:
        shape = block.shape
        same = (shape.kind, shape.count, shape.width, shape.products_per_group, shape.least)
        kinds.setdefault(same, []).append(block)
    sizes: dict[str, tuple[int, ...]] = {}
    found: dict[str, tuple[float, ...]] = {}
    with inference(model), torch.inference_mode():
        for number, alike in enumerate(kinds.values(), start=1):
            chosen = _sizes(alike[0].count, alike[0].shape.least)
            times = _time_sizes(model, description, alike[0], chosen, inputs, seconds)
            for block in alike:
                sizes[block.name], found[block.name] = chosen, times
            if step is not None:
                step(number, len(kinds))
    return BlockTimes(whole["model"].median_ms, sizes, found)


def _sizes(count: int, least: int) -> tuple[int, ...]:
    # Neurons in steps of 32, as the search chooses them.
    step = 32 if count >= 512 else 1
    sizes = {max(least, round(count * f / step) * step) for f in _FRACTIONS}
    return (*sorted(sizes - {count}), count)


def _time_sizes(
    model: nn.Module,
    description: Description,
    block: Block,
    sizes: Sequence[int],
    inputs: dict[str, Tensor],
    seconds: float,
) -> tuple[float, ...]:
    """Milliseconds by which the layer is slower at each size than with the block gone."""
    base, index = description.base, block.layer_index
    replay = Replay(model, description)
    given = replay(inputs, stop=index - 1) if index else None
    layers = [_cut_layer(model, description, block, size) for size in sizes]
    spent: list[list[float]] = [[] for _ in sizes]
    begun = time.perf_counter()
    rounds = 0
    while rounds < _FEWEST_ROUNDS or (
        rounds < _MOST_ROUNDS and time.perf_counter() - begun < seconds
    ):
        for number in range(len(sizes)):
            turn = (number + rounds) % len(sizes)
            with _standing_in(base, block.layer, layers[turn]):
                run = Replay(model, description)
                spent[turn].append(_call(run, inputs, index, given))
        rounds += 1
    # The first round allocates memory and picks kernels.
    medians = [statistics.median(each[1:]) * 1000 for each in spent]
    times = np.maximum.accumulate(np.array(medians) - medians[0])
    if sizes[0] and len(sizes) > 1:
        # Where some have to stay, what they cost is what as many others do.
        times = times + times[-1] * sizes[0] / (sizes[-1] - sizes[0])
    return tuple(float(t) for t in times)


def _call(run: Replay, inputs: dict[str, Tensor], layer: int, given: Any) -> float:
    device = next(iter(inputs.values())).device
    synchronize(device)
    start = time.perf_counter()
    run(inputs, start=layer, given=given, stop=layer)
    synchronize(device)
    return time.perf_counter() - start


def _cut_layer(model: nn.Module, description: Description, block: Block, size: int) -> nn.Module:
    """A copy of the block's layer in which the first `size` groups of the block stay."""
    base = description.base
    layer = copy.deepcopy(base.get_submodule(block.layer))
    plan = PrunePlan(
        description.model_type, {block.name: BlockPlan(block.kind, block.count, tuple(range(size)))}
    )
    with _standing_in(base, block.layer, layer):
        cut(describe(model), plan)
    return layer


@contextmanager
def _standing_in(base: nn.Module, path: str, layer: nn.Module) -> Iterator[None]:
    """Let `layer` take the place of the one at `path`."""
    original = base.get_submodule(path)
    base.set_submodule(path, layer)
    try:
        yield
    finally:
        base.set_submodule(path, original)
