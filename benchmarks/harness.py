"""Time two sides of a case in turns, after making sure that they compute the same."""

import gc
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

SAMPLE_SECONDS = 0.005
"""A sample repeats a call until it lasts so long: far above the resolution of the clock."""
BUDGET_SECONDS = 6.0
MIN_ROUNDS, MAX_ROUNDS = 7, 41
LONG_SECONDS, LONG_ROUNDS = 4.0, 3
"""Calls that last so long are made fewer times: what disturbs them is small beside them."""


@dataclass(frozen=True)
class Sides:
    """What a case compares, ready to be called.

    Attributes:
        ours: One call of headsmith.
        reference: The same in Transformers 4.34.
        reset: Undoes what a call has changed; not timed. With it every sample is one call.
        truth: The same in float64, against which both are held in place of each other.
    """

    ours: Callable[[], Any]
    reference: Callable[[], Any]
    reset: Callable[[], None] | None = None
    truth: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: What is called.
        setting: Shapes and options, for people.
        make: Builds the inputs; called only when the turn of the case has come.
        weigh: Whether to measure peak memory as well.
    """

    name: str
    setting: str
    make: Callable[[], Sides]
    weigh: bool = False


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, one entry a round.

    Attributes:
        ours: Of headsmith.
        reference: Of the other side.
        errors: Largest difference from the truth, of ours and of the reference, where told.
    """

    ours: list[float]
    reference: list[float]
    errors: tuple[float, float] | None = None

    def faster(self, summary: Callable[[list[float]], float]) -> float:
        """How many times faster ours is, each side summed up as told: median, min."""
        return summary(self.reference) / summary(self.ours)


def measure(sides: Sides) -> Timing:
    """Time both sides, alternating which goes first, so that a slow spell hits both alike."""
    errors = None
    if sides.truth is None:
        _assert_same(sides)
    else:
        errors = _error(sides.ours, sides.truth), _error(sides.reference, sides.truth)
    calls = (sides.ours, sides.reference)
    once = [_sample(call, 1, sides.reset) for call in calls]
    long = sum(once) > LONG_SECONDS
    if not long:
        again = [_sample(call, 1, sides.reset) for call in calls]
        once = [min(pair) for pair in zip(once, again, strict=True)]
    loops = [1 if sides.reset else max(1, math.ceil(SAMPLE_SECONDS / t)) for t in once]
    a_round = sum(t * n for t, n in zip(once, loops, strict=True))
    rounds = max(LONG_ROUNDS if long else MIN_ROUNDS, int(BUDGET_SECONDS / a_round))
    rounds = min(MAX_ROUNDS, rounds)
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for side in (0, 1) if number % 2 else (1, 0):
            seconds[side].append(_sample(calls[side], loops[side], sides.reset))
    return Timing(*seconds, errors=errors)


def _sample(call: Callable[[], Any], loops: int, reset: Callable[[], None] | None) -> float:
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        for _ in range(loops):
            call()
        return (time.perf_counter() - start) / loops
    finally:
        gc.enable()
        if reset is not None:
            reset()


def _assert_same(sides: Sides) -> None:
    results = []
    for call in (sides.ours, sides.reference):
        results.append([value.detach().clone() for value in _tensors(call())])
        if sides.reset is not None:
            sides.reset()
    torch.testing.assert_close(*results)


def _error(call: Callable[[], Any], truth: Callable[[], Any]) -> float:
    pairs = zip(_tensors(call()), _tensors(truth()), strict=True)
    return max((got.double() - wanted).abs().max().item() for got, wanted in pairs)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, nn.Module):
        yield from value.state_dict().values()
    elif isinstance(value, (tuple, list)):
        for member in value:
            yield from _tensors(member)
