"""How long each block takes on this device, by how much of it stays.

FLOPs are a poor clock: narrow products run below the speed of wide ones, attention's softmax is
not counted, a batch of one is bound by memory. So each kind of block is cut to a few sizes,
and its layer timed in the model, all kinds and sizes in turns. The differences are what a size
costs; what does not depend on any block (embeddings, LayerNorm, heads on top) is what is left of
the whole, which is timed in the same rounds. Times are compared within rounds, and only the
faster half of the rounds counts: a machine that grows slow for a while changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headsmith.pruning.families import Block, Description, describe
from headsmith.pruning.latency import random_batch, synchronize
from headsmith.pruning.replay import Replay, inference, to_device
from headsmith.pruning.sharing import twin
from headsmith.pruning.surgery import cut
from headsmith.spec.cost import BlockShape
from headsmith.spec.plan import BlockPlan, PrunePlan

__all__ = ["BlockTimes", "block_times"]

_FRACTIONS = (0.0, 1 / 12, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6)
_FEWEST_ROUNDS, _MOST_ROUNDS = 8, 80


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
        step: called with (percent of the time spent, 100).

    Raises:
        DataError: `length` is more than the model has positions for.
    """
    inputs = to_device(random_batch([model], batch=batch, length=length), model)
    kinds: dict[tuple[Any, ...], list[Block]] = {}
    for block in description.blocks:
        shape = block.shape
        same = (shape.kind, shape.count, shape.width, shape.products_per_group, shape.least)
        kinds.setdefault(same, []).append(block)
    sizes: dict[str, tuple[int, ...]] = {}
    found: dict[str, tuple[float, ...]] = {}
    with inference(model), torch.inference_mode():
        trials = [_Trial(model, description, inputs)]
        for alike in kinds.values():
            first = alike[0]
            chosen = _sizes(first.count, first.shape.least)
            index = first.layer_index
            given = Replay(model, description)(inputs, stop=index - 1) if index else None
            layers = [_cut_layer(model, description, first, size) for size in chosen]
            trials += [_Trial(model, description, inputs, first, cut, given) for cut in layers]
            sizes |= {block.name: chosen for block in alike}
        whole_ms, *others = _in_turns(trials, seconds * len(kinds), step).tolist()
    milliseconds = iter(others)
    for alike in kinds.values():
        chosen = sizes[alike[0].name]
        times = _added(chosen, np.array([next(milliseconds) for _ in chosen]))
        found |= {block.name: times for block in alike}
    return BlockTimes(whole_ms, sizes, found)


def _sizes(count: int, least: int) -> tuple[int, ...]:
    # Neurons in steps of 32, as the search chooses them.
    step = 32 if count >= 512 else 1
    sizes = {max(least, round(count * f / step) * step) for f in _FRACTIONS}
    return (*sorted(sizes - {count}), count)


class _Trial:
    """The whole model, or one layer that stands in for another, and how to time it."""

    def __init__(
        self,
        model: nn.Module,
        description: Description,
        inputs: dict[str, Tensor],
        block: Block | None = None,
        layer: nn.Module | None = None,
        given: Any = None,
    ) -> None:
        self._model, self._description, self._inputs = model, description, inputs
        self._block, self._layer, self._given = block, layer, given

    def __call__(self) -> float:
        """Seconds of one run."""
        if self._block is None or self._layer is None:
            return self._timed(lambda: self._model(**self._inputs))
        index, base = self._block.layer_index, self._description.base
        with _standing_in(base, self._block.layer, self._layer):
            run = Replay(self._model, self._description)
            return self._timed(
                lambda: run(self._inputs, start=index, given=self._given, stop=index)
            )

    def _timed(self, call: Callable[[], object]) -> float:
        device = next(iter(self._inputs.values())).device
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        return time.perf_counter() - start


def _in_turns(
    trials: list[_Trial], seconds: float, step: Callable[[int, int], None] | None
) -> NDArray[np.float64]:
    """Milliseconds of each trial, all of them timed once a round."""
    for trial in trials:  # the first call allocates memory and picks kernels
        trial()
    rounds: list[list[float]] = []
    begun = time.perf_counter()
    while len(rounds) < _FEWEST_ROUNDS or (
        len(rounds) < _MOST_ROUNDS and time.perf_counter() - begun < seconds
    ):
        times = [0.0] * len(trials)
        for number in range(len(trials)):
            turn = (number + len(rounds)) % len(trials)
            times[turn] = trials[turn]()
        rounds.append(times)
        if step is not None:
            spent = (time.perf_counter() - begun) / seconds
            step(min(int(100 * spent), 99), 100)
    if step is not None:
        step(100, 100)
    found = 1000 * np.array(rounds)
    quiet = np.argsort(found.sum(1), kind="stable")[: (len(found) + 1) // 2]
    found = found[quiet]
    # What slowed a whole round is taken out of it; what struck single calls, the median leaves out.
    pace = np.median(found, axis=1, keepdims=True)
    return np.asarray(np.median(found / pace, axis=0) * np.median(pace))


def _added(sizes: tuple[int, ...], milliseconds: NDArray[np.float64]) -> tuple[float, ...]:
    """What each size adds to the time of the layer with the block gone."""
    rising = _isotonic(milliseconds)
    times = rising - rising[0]
    if sizes[0] and len(sizes) > 1:
        # Where some have to stay, what they cost is what as many others do.
        times = times + times[-1] * sizes[0] / (sizes[-1] - sizes[0])
    return tuple(float(t) for t in times)


def _isotonic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The closest values that never fall: a larger block is never faster in truth."""
    pools: list[tuple[float, int]] = []
    for value in values:
        pools.append((float(value), 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (low, few), (high, many) = pools.pop(), pools.pop()
            pools.append(((low * few + high * many) / (few + many), few + many))
    return np.repeat([mean for mean, _ in pools], [size for _, size in pools])


def _cut_layer(model: nn.Module, description: Description, block: Block, size: int) -> nn.Module:
    """A copy of the block's layer in which the first `size` groups of the block stay."""
    base = description.base
    layer = twin(base.get_submodule(block.layer))
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
