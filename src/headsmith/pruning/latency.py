"""Latency: how long one forward call takes, measured fairly.

Models are timed in turns, one call each a round and in another order every round, so that a
machine that grows slower or busier is equally unkind to all of them. Medians and quartiles
are kept: means follow the one call that the system interrupted. How much faster one model is than
another is read round by round, from calls that ran one after the other (`ratio`): what slowed
both alike cancels. Only the faster half of the rounds is read, for nothing makes a call faster
than it is.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from headsmith.errors import DataError
from headsmith.pruning.replay import inference
from headsmith.spec.run import Timing

__all__ = ["Ratio", "longest_input", "measure", "random_batch", "ratio", "synchronize"]

_FEWEST_ROUNDS = 3
_USUAL_ROUNDS = 10
_MOST_ROUNDS = 200
_FEWEST_PAIRS = 8
_LEAST_SECONDS = 2.0  # a busy spell of the machine is shorter than that, or lasts
_WARM_UP = 2  # the first call of a shape allocates memory and picks kernels


def measure(
    models: Mapping[str, nn.Module],
    *,
    batch: int,
    length: int,
    rounds: int | None = None,
    min_seconds: float = 1.0,
    max_seconds: float = 30.0,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Timing]:
    """Time forward calls of several models in turns, on the devices they are on.

    Args:
        models: name → model; all are given the same random token ids.
        batch: sequences a call.
        length: tokens a sequence.
        rounds: calls timed of each model; None takes at least 10, as many more as
            `min_seconds` hold, and as few as 3 where `max_seconds` hold no more.
        min_seconds: time to spend at least when `rounds` is None.
        max_seconds: time to spend at most when `rounds` is None.
        seed: of the token ids.
        progress: told `("latency", rounds done, rounds in all)`.

    Returns:
        Name → milliseconds of one call: median and quartiles.

    Raises:
        ValueError: there is no model, or a number is below 1.
        DataError: `length` is more than a model has positions for.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> from headsmith.pruning.latency import measure
        >>> config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
        ...                     num_attention_heads=2, intermediate_size=16)
        >>> found = measure({"tiny": BertModel(config)}, batch=2, length=4, rounds=3)
        >>> found["tiny"].rounds, found["tiny"].median_ms > 0
        (3, True)
    """
    for name, value in (("batch", batch), ("length", length), ("rounds", rounds)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is at least 1. Received {value}.")
    if not models:
        raise ValueError("Give at least one model to time.")
    times: dict[str, list[float]] = {name: [] for name in models}
    with _ready(models, batch, length, seed) as calls:
        if rounds is None:
            rounds = _rounds(
                sum(_warm_up(call) for call in calls.values()), min_seconds, max_seconds
            )
        else:
            for call in calls.values():
                _warm_up(call)
        for number in range(rounds):
            for name, seconds in _one_round(calls, number):
                times[name].append(seconds)
            if progress is not None:
                progress("latency", number + 1, rounds)
    return {name: _timing(found) for name, found in times.items()}


Pair = tuple[float, float]
"""Seconds of one model and of the other in the same round."""


@dataclass(frozen=True)
class Ratio:
    """How long one model takes, as a fraction of another's time.

    Args:
        value: the median over the faster half of the rounds of one call's time by the other's.
        error: standard error of `value`.
        rounds: seconds of the other model and of this one, round by round.
    """

    value: float
    error: float
    rounds: tuple[Pair, ...]

    @classmethod
    def of(cls, rounds: Sequence[Pair]) -> Ratio:
        """Sum up rounds; those of several measurements may be put together."""
        quiet = sorted(rounds, key=lambda pair: pair[0] * pair[1])[: (len(rounds) + 1) // 2]
        ratios = [after / max(before, 1e-9) for before, after in quiet]
        if len(ratios) < 2:
            return cls(ratios[0], math.inf, tuple(rounds))
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
        # Of a normal distribution 1.349 deviations lie between the quartiles, and a median is
        # 1.253 times as uncertain as a mean.
        error = 1.253 * (high - low) / 1.349 / math.sqrt(len(ratios))
        return cls(median, error, tuple(rounds))


def ratio(
    before: nn.Module,
    after: nn.Module,
    *,
    batch: int,
    length: int,
    precision: float = 0.005,
    max_seconds: float = 30.0,
    seed: int = 0,
) -> Ratio:
    """Time two models in turns until it is known how their times compare.

    Args:
        before: the model to compare with.
        after: the one whose time is wanted as a fraction of that of `before`.
        batch: sequences a call.
        length: tokens a sequence.
        precision: standard error, as a fraction of the ratio, at which to stop.
        max_seconds: time to spend at most; 8 rounds at least are timed.
        seed: of the token ids.

    Raises:
        DataError: `length` is more than a model has positions for.
    """
    found: list[Pair] = []
    with _ready({"before": before, "after": after}, batch, length, seed) as calls:
        for call in calls.values():
            _warm_up(call)
        begun = time.perf_counter()
        while True:
            times = dict(_one_round(calls, len(found)))
            found.append((times["before"], times["after"]))
            if len(found) < _FEWEST_PAIRS:
                continue
            known = Ratio.of(found)
            spent = time.perf_counter() - begun
            sure = known.error <= precision * known.value and spent >= _LEAST_SECONDS
            if sure or spent >= max_seconds or len(found) >= _MOST_ROUNDS:
                return known


Calls = Mapping[str, Callable[[], float]]


@contextmanager
def _ready(models: Mapping[str, nn.Module], batch: int, length: int, seed: int) -> Iterator[Calls]:
    """Calls of the models that give their seconds, all on the same ids."""
    inputs = random_batch(list(models.values()), batch=batch, length=length, seed=seed)
    with ExitStack() as stack:
        for model in models.values():
            stack.enter_context(inference(model))
        stack.enter_context(torch.inference_mode())
        yield {
            name: _call(model, {k: v.to(_device(model)) for k, v in inputs.items()})
            for name, model in models.items()
        }


def _one_round(calls: Calls, number: int) -> Iterator[tuple[str, float]]:
    """One call of each, beginning with another one every round."""
    names = list(calls)
    start = number % len(names)
    for name in names[start:] + names[:start]:
        yield name, calls[name]()


def _call(model: nn.Module, inputs: Mapping[str, Tensor]) -> Callable[[], float]:
    device = _device(model)

    def timed() -> float:
        synchronize(device)
        start = time.perf_counter()
        model(**inputs)
        synchronize(device)
        return time.perf_counter() - start

    return timed


def _warm_up(call: Callable[[], float]) -> float:
    return [call() for _ in range(_WARM_UP)][-1]


def _rounds(one_round: float, min_seconds: float, max_seconds: float) -> int:
    one_round = max(one_round, 1e-9)
    wanted = max(_USUAL_ROUNDS, math.ceil(min_seconds / one_round))
    affordable = int(max_seconds / one_round)
    return max(_FEWEST_ROUNDS, min(wanted, affordable, _MOST_ROUNDS))


def _timing(seconds: Sequence[float]) -> Timing:
    milliseconds = [s * 1000 for s in seconds]
    if len(milliseconds) == 1:
        return Timing(milliseconds[0], milliseconds[0], milliseconds[0], 1)
    low, median, high = statistics.quantiles(milliseconds, n=4, method="inclusive")
    return Timing(median, low, high, len(milliseconds))


def random_batch(
    models: Sequence[nn.Module], *, batch: int, length: int, seed: int = 0
) -> dict[str, Tensor]:
    """Token ids that every one of `models` has in its vocabulary, and a mask without padding.

    Args:
        models: Transformers models that take `input_ids`.
        batch: sequences.
        length: tokens a sequence.
        seed: of the ids.

    Returns:
        `input_ids` and `attention_mask`, each (batch, length), on the CPU.

    Raises:
        DataError: `length` is more than a model has positions for.
    """
    longest = [n for n in (longest_input(model) for model in models) if n is not None]
    if longest and length > min(longest):
        raise DataError(
            f"The length is at most {min(longest)} tokens, the positions the model has. "
            f"Received {length}."
        )
    vocabulary = min(int(getattr(_config(model), "vocab_size", 1) or 1) for model in models)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(vocabulary, (batch, length), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def longest_input(model: nn.Module) -> int | None:
    """How many tokens the model has positions for; None where it does not say.

    Example:
        >>> from transformers import RobertaConfig, RobertaModel
        >>> from headsmith.pruning.latency import longest_input
        >>> config = RobertaConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
        ...                        num_attention_heads=2, max_position_embeddings=34)
        >>> longest_input(RobertaModel(config))
        32
    """
    config = _config(model)
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int):
        return None
    for module in model.modules():
        # RoBERTa and its kin count positions from after the padding id.
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, nn.Embedding) and table.padding_idx is not None:
            return positions - table.padding_idx - 1
    return positions


def _config(model: nn.Module) -> Any:
    return getattr(model, "config", None)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def synchronize(device: torch.device) -> None:
    """Wait until `device` has done what it was asked for; a CPU always has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
