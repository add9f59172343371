"""What flows through each block on calibration data, and how much it matters.

One pass forward, and one backward that goes stage by stage (`backward.py`): one stage's
statistics are in memory at a time, and one stage's graph of one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from headsmith.pruning.backward import Gradients, Outputs, Watched, watching_gradients
from headsmith.pruning.data import Batch
from headsmith.pruning.families import Block, Description
from headsmith.pruning.masks import scaled
from headsmith.pruning.moments import Moments, sums_device
from headsmith.pruning.objective import Objective
from headsmith.pruning.processes import add_up, seed_of, share
from headsmith.pruning.projections import sizes
from headsmith.pruning.replay import Replay, inference, to_device
from headsmith.pruning.tokens import rows_of

__all__ = ["ALL", "BlockStatistics", "Need", "Passes", "collect"]

Need = Literal["inputs", "cotangents", "gradient"]
"""A part of `BlockStatistics`; `"gradient"` stands for its square as well."""

ALL: frozenset[Need] = frozenset(("inputs", "cotangents", "gradient"))
"""All parts."""


@dataclass
class BlockStatistics:
    """What the data tells of one block; what nobody asked for is zero.

    Args:
        inputs: moments of the writer's input features.
        cotangents: moments of the objective's gradient at the writer's output.
        gradient: Σ over examples of |∂ objective / ∂ mask|, (count,).
        gradient_squared: Σ over examples of its square, (count,).
    """

    inputs: Moments
    cotangents: Moments
    gradient: Tensor
    gradient_squared: Tensor

    def add_up(self, needs: Collection[Need]) -> None:
        """Take in what other processes have summed."""
        if "inputs" in needs:
            self.inputs.add_up()
        if "cotangents" in needs:
            self.cotangents.add_up()
        if "gradient" in needs:
            add_up(self.gradient, self.gradient_squared)


class Passes:
    """The passes over calibration data, and what each stage is given on the way.

    Args:
        model: the unpruned model, in `inference`; left as it was.
        description: what `describe` says of it.
        batches: calibration data, the same in every process; each reads its share of it.
        objective: gives the scalar whose gradient is taken.
        needs: what is to be collected.
        seed: of the objective's random directions; every batch has its own.
        first: how many of the first batches the statistics are of; None is all.
        also: how many of the first batches every process needs the stages' outputs of.
        step: called with (runs of a batch through a stage done, runs in all).
    """

    def __init__(
        self,
        model: nn.Module,
        description: Description,
        batches: Sequence[Batch],
        objective: Objective,
        *,
        needs: Collection[Need] = ALL,
        seed: int = 0,
        first: int | None = None,
        also: int = 0,
        step: Callable[[int, int], None] | None = None,
    ) -> None:
        self._description, self._objective = description, objective
        self._needs, self._seed, self._step = needs, seed, step
        self.replay = Replay(model, description)
        own = [place for place, _ in share(batches[:first])] if needs else []
        self._own = own
        self._done, self._total = 0, len(own) * (1 + len(self.replay.layers))
        places = sorted({*own, *range(min(also, len(batches)))})
        self.outputs = Outputs(self.replay, {i: to_device(batches[i], model) for i in places})
        self._tell(len(own))

    def backwards(
        self, known: Collection[int] = ()
    ) -> Iterator[tuple[int, dict[int, object], dict[str, BlockStatistics]]]:
        """Go from the last stage to the first.

        Args:
            known: stages whose statistics are not needed any more.

        Yields:
            A stage, what it is given (place of a batch → for `Replay`), and the statistics of
            its blocks by name.
        """
        stages = len(self.replay.layers)
        backward = bool({"cotangents", "gradient"} & set(self._needs))
        last_needed = min((s for s in range(stages) if s not in known), default=stages)
        gradients = Gradients(self.replay)
        given = self.outputs.before(stages)
        if backward and last_needed < stages:
            for place in self._own:
                self._begin(gradients, place, given[place])
        for stage in reversed(range(last_needed, stages)):
            given = self.outputs.before(stage)
            blocks = [b for b in self._description.blocks if b.layer_index == stage]
            needs = () if stage in known else self._needs
            found = {b.name: self._empty(b) for b in blocks}
            for place in self._own:
                if backward:
                    self._back(gradients, place, given[place], stage, blocks, needs, found)
                elif needs:
                    self._forward(place, given[place], stage, blocks, found)
                self._tell(self._done + 1)
            for statistics in found.values():
                statistics.add_up(needs)
            yield stage, given, found
        self._tell(self._total)

    def _begin(self, gradients: Gradients, place: int, given: object) -> None:
        batch = self.outputs.batches[place]
        generator = seed_of(self._seed, place)
        gradients.begin(
            place, batch, given, lambda output: self._objective.probe(output, batch, generator)
        )

    def _back(
        self,
        gradients: Gradients,
        place: int,
        given: object,
        stage: int,
        blocks: Sequence[Block],
        needs: Collection[Need],
        found: dict[str, BlockStatistics],
    ) -> None:
        batch = self.outputs.batches[place]
        base = self._description.base
        present = [b for b in blocks if b.count]
        masks = self._masks(present, batch) if "gradient" in needs else {}
        with ExitStack() as stack:
            # Even a stage whose statistics are known has to have gradients in the first place.
            watched = stack.enter_context(watching_gradients(base, [b.writer for b in blocks]))
            for block in present if masks else ():
                stack.enter_context(
                    scaled(base.get_submodule(block.writer), masks[block.name], block.width)
                )

            def more() -> list[Tensor]:
                outputs = [t for b in blocks for t in watched.outputs.get(b.writer, [])]
                return [*masks.values(), *(outputs if "cotangents" in needs else [])]

            gradient = iter(gradients.back(place, batch, given, stage, more))
        for block in present if masks else ():
            _add_mask(found[block.name], next(gradient))
        for block in blocks if "cotangents" in needs else ():
            for output in watched.outputs.get(block.writer, []):
                cotangent = next(gradient)
                rows = torch.zeros_like(output) if cotangent is None else cotangent
                found[block.name].cotangents.add(rows_of(rows, batch, block.tokens))
        if "inputs" in needs:
            _add_inputs(found, blocks, watched, batch)

    def _forward(
        self,
        place: int,
        given: object,
        stage: int,
        blocks: Sequence[Block],
        found: dict[str, BlockStatistics],
    ) -> None:
        batch = self.outputs.batches[place]
        writers = [b.writer for b in blocks]
        with watching_gradients(self._description.base, writers) as watched:
            self.replay(batch, start=stage, given=given, stop=stage)
        _add_inputs(found, blocks, watched, batch)

    def _masks(self, blocks: Sequence[Block], batch: Batch) -> dict[str, Tensor]:
        size = len(next(iter(batch.values())))
        like = next(self.replay.model.parameters())
        return {
            b.name: torch.ones(
                size, b.count, device=like.device, dtype=like.dtype, requires_grad=True
            )
            for b in blocks
        }

    def _empty(self, block: Block) -> BlockStatistics:
        device = sums_device(next(self.replay.model.parameters()).device)
        _, outputs = sizes(self._description.base.get_submodule(block.writer))
        zeros = torch.zeros(block.count, dtype=torch.float64, device=device)
        return BlockStatistics(
            Moments(block.count * block.width, device=device),
            Moments(outputs, device=device),
            zeros,
            zeros.clone(),
        )

    def _tell(self, done: int) -> None:
        if self._step is not None and done > self._done:
            self._step(done, self._total)
        self._done = done


def collect(
    model: nn.Module,
    description: Description,
    batches: Sequence[Batch],
    objective: Objective,
    *,
    needs: Collection[Need] = ALL,
    seed: int = 0,
) -> dict[str, BlockStatistics]:
    """The statistics of all blocks at once, for models whose blocks are small.

    Args:
        model: the unpruned model; left as it was.
        description: what `describe` says of it.
        batches: calibration data.
        objective: gives the scalar whose gradient is taken.
        needs: what is to be collected.
        seed: of the objective's random directions.

    Returns:
        Block name → statistics.
    """
    found: dict[str, BlockStatistics] = {}
    with inference(model), torch.no_grad():
        passes = Passes(model, description, batches, objective, needs=needs, seed=seed)
        for _, _, statistics in passes.backwards():
            found |= statistics
    return {b.name: found[b.name] for b in description.blocks}


def _add_mask(statistics: BlockStatistics, gradient: Tensor | None) -> None:
    if gradient is not None:
        exact = gradient.to(statistics.gradient.device).double()
        statistics.gradient += exact.abs().sum(0)
        statistics.gradient_squared += exact.square().sum(0)


def _add_inputs(
    found: dict[str, BlockStatistics], blocks: Sequence[Block], watched: Watched, batch: Batch
) -> None:
    for block in blocks:
        for features in watched.inputs.get(block.writer, []):
            found[block.name].inputs.add(rows_of(features, batch, block.tokens))
