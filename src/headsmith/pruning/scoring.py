"""Score blocks and try sizes of them, stage by stage from the last to the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from headsmith.errors import DataError, HeadsmithError
from headsmith.pruning.data import Batch
from headsmith.pruning.families import Block, Description
from headsmith.pruning.objective import Objective
from headsmith.pruning.processes import agree, count, seed_of
from headsmith.pruning.replay import inference
from headsmith.pruning.score import SCORES, Ranking
from headsmith.pruning.score.ranking import needs_of
from headsmith.pruning.sensitivity import Sensitivity, Trials
from headsmith.pruning.statistics import BlockStatistics, Passes
from headsmith.pruning.tokens import count_tokens
from headsmith.pruning.verify import verify_family
from headsmith.pruning.work import Work, fingerprint_of_data, fingerprint_of_model, key_of, name_of

__all__ = ["STATISTICS_TOKENS", "Scores", "first_batches", "score_blocks"]

# Where more data no longer changed the outcome: tokens for the statistics (half a thousand
# sentences), and for measuring the error of one trial size (under a hundred).
STATISTICS_TOKENS = 16384
_TRIAL_TOKENS = 2048


class Scores:
    """What is known of the blocks so far.

    Attributes:
        rankings: block name → order and importance of its groups.
        sensitivities: block name → error by size; empty where nothing was tried.
    """

    def __init__(self) -> None:
        self.rankings: dict[str, Ranking] = {}
        self.sensitivities: dict[str, Sensitivity] = {}

    def to_dict(self, blocks: Sequence[Block]) -> dict[str, Any]:
        """Plain data of some blocks."""
        return {
            b.name: {
                "order": self.rankings[b.name].order,
                "importance": self.rankings[b.name].importance,
                **(
                    {
                        "sizes": self.sensitivities[b.name].sizes,
                        "errors": self.sensitivities[b.name].errors,
                    }
                    if b.name in self.sensitivities
                    else {}
                ),
            }
            for b in blocks
        }

    def take(self, data: Mapping[str, Any]) -> None:
        """Take in what `to_dict` gave."""
        for name, one in data.items():
            self.rankings[name] = Ranking(tuple(one["order"]), tuple(one["importance"]))
            if "sizes" in one:
                self.sensitivities[name] = Sensitivity(tuple(one["sizes"]), tuple(one["errors"]))

    def in_order(self, description: Description) -> Scores:
        """The same with the blocks in the order they run."""
        found = Scores()
        for block in description.blocks:
            found.rankings[block.name] = self.rankings[block.name]
            if block.name in self.sensitivities:
                found.sensitivities[block.name] = self.sensitivities[block.name]
        return found


def score_blocks(
    model: nn.Module,
    description: Description,
    batches: Sequence[Batch],
    objective: Objective,
    score: str,
    *,
    seed: int,
    trials: bool,
    tokens: int,
    work: Work,
    label: str,
    progress: Callable[[str, int, int], None],
) -> tuple[Scores, str]:
    """Rank the groups of every block, and measure what its sizes cost in error.

    Args:
        model: the unpruned model; left as it was.
        description: what `describe` says of it.
        batches: calibration data.
        objective: what is to be kept.
        score: one of `SCORES`.
        seed: of whatever is random.
        trials: whether to try sizes.
        tokens: of calibration data that statistics are taken of, at most; rounded up to a batch.
        work: where finished stages are kept, and taken from.
        label: goes into the names of those files.
        progress: told how far the work is.

    Returns:
        What was found, and a hash of what it was found with.
    """
    _check(model, description, batches, score)
    chosen = first_batches(batches, tokens)
    tried = len(first_batches(batches, _TRIAL_TOKENS)) if trials else 0
    key = ""
    if work.folder is not None or count() > 1:
        key = key_of(
            fingerprint_of_model(model),
            fingerprint_of_data(_longer(chosen, batches[:tried])),
            [score, seed, trials, *name_of(objective)],
        )
        agree("models, data or settings", key)
    scores = Scores()
    stages = sorted({b.layer_index for b in description.blocks})
    known = set()
    for stage in stages:
        held = work.read(f"scores-{label}{stage}", key)
        if held is not None:
            scores.take(held)
            known.add(stage)
    if len(known) < len(stages):
        _score_rest(
            model, description, chosen, batches[:tried], objective, score, seed,
            scores, known, lambda stage, data: work.write(f"scores-{label}{stage}", key, data),
            progress,
        )  # fmt: skip
    return scores.in_order(description), key


def _check(
    model: nn.Module, description: Description, batches: Sequence[Batch], score: str
) -> None:
    if score not in SCORES:
        raise ValueError(f"score is one of {', '.join(SCORES)}. Received {score!r}.")
    if isinstance(batches, Mapping) or not hasattr(batches, "__getitem__"):
        raise DataError(
            "Calibration data is a list of batches, each a mapping of the model's arguments to "
            f"tensors. Received a {type(batches).__name__}: give [batch], or list(batches)."
        )
    if not batches:
        raise DataError("No calibration data. Give at least one batch.")
    empty = [name for name, p in model.named_parameters() if p.device.type == "meta"]
    if empty:
        raise HeadsmithError(
            f"{len(empty)} weights of the model are not in memory but on the meta device, the "
            f"first {empty[0]!r}. Load the model whole: without offloading, or build it outside "
            "torch.device('meta')."
        )
    if any("input_ids" in batch and "attention_mask" not in batch for batch in batches):
        raise DataError(
            "Every batch of texts needs an attention_mask, 1 where a token is not padding. "
            f"Received {sorted(batches[0])}."
        )
    if description.discovered:
        verify_family(model, batches[0])


def _score_rest(
    model: nn.Module,
    description: Description,
    batches: Sequence[Batch],
    tried: Sequence[Batch],
    objective: Objective,
    score: str,
    seed: int,
    scores: Scores,
    known: set[int],
    keep: Callable[[int, dict[str, Any]], None],
    progress: Callable[[str, int, int], None],
) -> None:
    """Score the stages that are not known, and add them to `scores`."""
    needs = needs_of(SCORES[score])
    places = {b.name: place for place, b in enumerate(description.blocks)}
    ranked = len(scores.rankings)
    with inference(model), torch.no_grad():
        passes = Passes(
            model,
            description,
            _longer(batches, tried),
            objective,
            # The refit of a trial needs the inputs' moments, whatever the score does.
            needs=needs | {"inputs"} if tried else needs,
            seed=seed,
            first=len(batches),
            also=len(tried),
            step=lambda done, total: progress("statistics", done, total),
        )
        trials = None
        if tried:
            own = {i: passes.outputs.batches[i] for i in range(len(tried))}
            trials = Trials(
                description,
                passes.replay,
                own,
                objective,
                passes.outputs.before(len(passes.replay.layers)),
                done=sum(len(s.sizes) - 1 for s in scores.sensitivities.values()),
                step=lambda done, total: progress("sensitivity", done, total),
            )
        for stage, given, statistics in passes.backwards(known):
            if stage in known:
                continue
            blocks = [b for b in description.blocks if b.layer_index == stage]
            for block in blocks:
                own_statistics: BlockStatistics = statistics.pop(block.name)
                generator = seed_of(seed, places[block.name])
                scores.rankings[block.name] = SCORES[score](
                    block, description.base, own_statistics, generator
                )
                ranked += 1
                progress("order", ranked, len(description.blocks))
                if trials is not None:
                    scores.sensitivities[block.name] = trials(
                        block, scores.rankings[block.name], own_statistics.inputs, given
                    )
                del own_statistics
            keep(stage, scores.to_dict(blocks))


def _longer(one: Sequence[Batch], other: Sequence[Batch]) -> Sequence[Batch]:
    """The longer of two beginnings of the same batches."""
    return one if len(one) >= len(other) else other


def first_batches(batches: Sequence[Batch], tokens: int) -> list[Batch]:
    """As many batches as hold `tokens` tokens, in their order, which is random.

    Args:
        batches: calibration data.
        tokens: rounded up to a batch.
    """
    chosen: list[Batch] = []
    found = 0
    for batch in batches:
        chosen.append(batch)
        found += count_tokens(batch)
        if found >= tokens:
            break
    return chosen
