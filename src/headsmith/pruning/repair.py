"""Repair: refit what is left so that each block again adds to the residual stream what it did.

Blocks are refitted in the order they run. For each output projection the ridge least squares

    W' x_p + b' ≈ y_d + (r_d − r_p)

is solved over the calibration data, where x_p is the projection's input in the model pruned
and repaired so far, y_d its output in the unpruned model, and r_d − r_p how far the residual
stream has drifted before it. The ridge pulls towards the weights that were kept; it is chosen
on data that was not fitted on, and where no refit does better there, nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from headsmith.pruning.data import Batch
from headsmith.pruning.families import Block, Description, describe
from headsmith.pruning.moments import Moments, sums_device
from headsmith.pruning.processes import share
from headsmith.pruning.projections import bias, sizes, weight, write
from headsmith.pruning.replay import Replay, inference, to_device, watching
from headsmith.pruning.work import Work, fingerprint_of_data, fingerprint_of_model, key_of

__all__ = ["Refit", "repair"]

_RIDGES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_NOTHING = 1e-6  # of the targets' energy
_HELD_OUT = 8  # one batch in eight is not fitted on


@dataclass(frozen=True)
class Refit:
    """What repair did to one block.

    Args:
        before: mean squared error of the block's output on data not fitted on, as pruned.
        after: the same with the refitted projection.
        ridge: the strength chosen; None where the projection was left as it was.
    """

    before: float
    after: float
    ridge: float | None


def repair(
    dense: nn.Module,
    pruned: nn.Module,
    batches: Sequence[Batch],
    *,
    work: Work | None = None,
    label: str = "",
    step: Callable[[int, int], None] | None = None,
) -> dict[str, Refit]:
    """Refit the output projections of `pruned` to follow `dense`, in place.

    Args:
        dense: the unpruned model.
        pruned: the same model after `apply_plan`.
        batches: at least 2 batches of calibration data; of fewer nothing is fitted.
        work: where finished stages are kept, and taken from.
        label: goes into the names of those files.
        step: called with (blocks done, blocks in all).

    Returns:
        Block name → what was done.
    """
    dense_description, description = describe(dense), describe(pruned)
    work = work or Work()
    key = ""
    if work.folder is not None:
        weights = fingerprint_of_model(dense), fingerprint_of_model(pruned)
        key = key_of(*weights, fingerprint_of_data(batches))
    with inference(dense), inference(pruned), torch.no_grad():
        streams = _Streams(
            Replay(dense, dense_description),
            Replay(pruned, description),
            {place: to_device(b, pruned) for place, b in share(batches)},
        )
        found: dict[str, Refit] = {}
        for layer in range(len(streams.pruned.layers)):
            blocks = [b for b in description.blocks if b.layer_index == layer]
            name = f"repair-{label}{layer}"
            held = work.read_tensors(name, key)
            goals = streams.run_dense(
                layer, dense_description, [b.name for b in blocks] if held is None else []
            )
            if held is not None:
                found |= _take(description, blocks, *held)
            for block, goal in zip(blocks, goals, strict=held is None):
                found[block.name] = _refit(streams, layer, description, block, goal)
                if step is not None:
                    step(len(found), len(description.blocks))
            if held is None:
                work.write_tensors(name, key, *_give(description, blocks, found))
            elif step is not None:
                step(len(found), len(description.blocks))
            streams.advance(layer)
    return found


def _give(
    description: Description, blocks: Sequence[Block], found: Mapping[str, Refit]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The projections of some blocks, and what was done to them."""
    tensors = {
        f"{b.name}.{name}": tensor
        for b in blocks
        for name, tensor in description.base.get_submodule(b.writer).state_dict().items()
    }
    return tensors, {b.name: asdict(found[b.name]) for b in blocks}


def _take(
    description: Description,
    blocks: Sequence[Block],
    tensors: Mapping[str, Tensor],
    data: Mapping[str, Any],
) -> dict[str, Refit]:
    """Put in what `_give` gave."""
    for block in blocks:
        own = description.base.get_submodule(block.writer).state_dict()
        for name, tensor in own.items():
            tensor.copy_(tensors[f"{block.name}.{name}"])
    return {b.name: Refit(**data[b.name]) for b in blocks}


class _Streams:
    """What both models have computed so far, by the place of a batch among all."""

    def __init__(
        self, dense: Replay, pruned: Replay, batches: dict[int, dict[str, Tensor]]
    ) -> None:
        self.dense, self.pruned, self.batches = dense, pruned, batches
        self.dense_given: dict[int, Any] = dict.fromkeys(batches)
        self.pruned_given: dict[int, Any] = dict.fromkeys(batches)

    def run_dense(
        self, layer: int, description: Description, names: Sequence[str]
    ) -> list[list[Tensor]]:
        """Advance the unpruned model one layer; y_d + r_d for each named block and batch."""
        blocks = [description[name] for name in names]
        goals: list[list[Tensor]] = [[] for _ in blocks]
        with watching(description.base, blocks) as seen:
            for number, batch in self.batches.items():
                given = self.dense_given[number]
                seen.start()
                output = self.dense(batch, start=layer, given=given, stop=layer)
                self.dense_given[number] = output
                for block, goal in zip(blocks, goals, strict=True):
                    if not seen.ran(block):
                        continue
                    total, stream = seen.added(block, batch), seen.stream(block, batch)
                    goal.append(total if stream is None else total + stream)
        return goals

    def advance(self, layer: int) -> None:
        """Run the pruned model's layer, repaired by now, to begin the next one from."""
        for number, batch in self.batches.items():
            self.pruned_given[number] = self.pruned(
                batch, start=layer, given=self.pruned_given[number], stop=layer
            )


def _refit(
    streams: _Streams, layer: int, description: Description, block: Block, goals: list[Tensor]
) -> Refit:
    writer = description.base.get_submodule(block.writer)
    features, outputs = sizes(writer)
    device = sums_device(weight(writer).device)
    fitted, aside = (Moments(features, outputs, device) for _ in range(2))
    with watching(description.base, [block]) as seen:
        scale = seen.scale(block)
        # Where the block never runs there are no goals, and nothing is fitted.
        own = zip(streams.batches.items(), goals, strict=bool(goals))
        for (number, batch), goal in own:
            given = streams.pruned_given[number]
            seen.start()
            streams.pruned(batch, start=layer, given=given, stop=layer)
            inputs, stream = seen.inputs(block, batch), seen.stream(block, batch)
            target = goal if stream is None else goal - stream
            (aside if number % _HELD_OUT == 1 else fitted).add(inputs, target)
    fitted.add_up()
    aside.add_up()
    return _choose(writer, fitted, aside, scale)


def _choose(
    writer: nn.Module, fitted: Moments, aside: Moments, scale: Tensor | None = None
) -> Refit:
    # What is fitted is what reaches the residual stream: the projection times its scale.
    factor = torch.ones(len(weight(writer)), dtype=torch.float64, device=fitted.device)
    if scale is not None:
        factor = scale.to(fitted.device).double()
    plain = weight(writer).to(fitted.device).double()
    own = factor[:, None] * plain
    own_bias = bias(writer)
    shift = torch.zeros_like(factor)
    if own_bias is not None:
        shift = factor * own_bias.to(fitted.device).double()
    before = aside.error(own, shift)
    best = Refit(before, before, None)
    if not aside.rows or not fitted.rows:
        return best
    chosen: tuple[Tensor, Tensor] | None = None
    # What is so little may be rounding, which is not the same for every number of processes.
    least = _NOTHING * aside.energy
    for ridge in _RIDGES:
        candidate = fitted.fit(own, ridge, centred=own_bias is not None)
        error = aside.error(*candidate)
        if error < best.after - least:
            best, chosen = Refit(before, error, ridge), candidate
    if chosen is not None:
        felt = factor != 0
        divisor = torch.where(felt, factor, 1.0)
        new_weight = torch.where(felt[:, None], chosen[0] / divisor[:, None], plain)
        write(writer, new_weight, chosen[1] / divisor)
    return best
