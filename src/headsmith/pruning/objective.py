"""What a pruned model is asked to keep: the unpruned model's outputs, or a user's loss.

An objective does two things. It gives a scalar whose gradient shows which features matter
(`probe`), and it measures how far a changed model is from the unpruned one (`error`).

Matching the unpruned model has no useful gradient at the unpruned model itself: the error is
at its minimum, zero. So `probe` projects the outputs on random directions; gradients of such
projections are unbiased samples of the Gauss-Newton matrix of the error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from headsmith.pruning.data import Batch
from headsmith.pruning.families.describe import base_of
from headsmith.pruning.tokens import states_of, token_mask

__all__ = [
    "LossObjective",
    "MatchDistribution",
    "MatchEmbedding",
    "MatchHidden",
    "Objective",
    "objective_for",
]

_MOST_ROWS = 64  # positions a batch on which a distribution over a large vocabulary is compared
_LARGE_VOCABULARY = 4096


class Objective(Protocol):
    """What pruning is to preserve."""

    @property
    def name(self) -> str:
        """A word for reports."""

    def target(self, output: Any, batch: Batch) -> Tensor:
        """What is kept of the unpruned model's output, to compare others with."""

    def probe(self, output: Any, batch: Batch, generator: torch.Generator) -> Tensor:
        """A scalar, summed over examples, whose gradient is one sample of what matters."""

    def error(self, output: Any, batch: Batch, target: Tensor) -> tuple[Tensor, float]:
        """How far `output` is from `target`, with a gradient, and the scale; both summed."""


@dataclass(frozen=True)
class MatchEmbedding:
    """Keep sentence embeddings: their directions, and so the similarities among them.

    Args:
        pooling: `"mean"` over the tokens that are not padding, or `"cls"` for the first token.
    """

    pooling: Literal["mean", "cls"] = "mean"
    name: str = "embedding"

    def target(self, output: Any, batch: Batch) -> Tensor:
        """Unit embeddings, (batch, hidden)."""
        hidden: Tensor = output.last_hidden_state
        pooled: Tensor = hidden[:, 0]
        if self.pooling == "mean":
            mask = token_mask(batch, (hidden.shape[0], hidden.shape[1]))
            if mask is None:
                return F.normalize(hidden.mean(1), dim=-1)
            weights = mask.to(hidden).unsqueeze(-1)
            pooled = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
        return F.normalize(pooled, dim=-1)

    def probe(self, output: Any, batch: Batch, generator: torch.Generator) -> Tensor:
        """Project the similarity matrix of the batch on random directions."""
        embedding = self.target(output, batch)
        size = len(embedding)
        noise = _normal((size, size), embedding, generator)
        # The change of e·eᵀ along noise; a lone example has only its direction to keep.
        directions = noise @ embedding.detach() / size**0.5
        if size == 1:
            directions = _normal(tuple(embedding.shape), embedding, generator)
        projected: Tensor = (embedding * directions).sum()
        return projected

    def error(self, output: Any, batch: Batch, target: Tensor) -> tuple[Tensor, float]:
        """One minus the cosine, summed over the examples, and their number."""
        cosine = (self.target(output, batch).float() * target.float()).sum(-1)
        return (1 - cosine).sum(), float(len(cosine))


@dataclass(frozen=True)
class MatchHidden:
    """Keep the last hidden state of every token that is not padding.

    Of a model of texts and images (CLIP) its embeddings of both are kept instead.
    """

    name: str = "hidden"

    def target(self, output: Any, batch: Batch) -> Tensor:
        """Hidden states, (tokens, hidden)."""
        return states_of(output, batch)

    def probe(self, output: Any, batch: Batch, generator: torch.Generator) -> Tensor:
        """Project each token's state on a random direction."""
        states = self.target(output, batch)
        return (states * _normal(tuple(states.shape), states, generator)).sum()

    def error(self, output: Any, batch: Batch, target: Tensor) -> tuple[Tensor, float]:
        """Squared distance and the target's own variance, summed."""
        states, target = self.target(output, batch).float(), target.float()
        return (
            (states - target).square().sum(),
            float((target - target.mean(0)).square().sum()),
        )


@dataclass(frozen=True)
class MatchDistribution:
    """Keep the distributions a task head puts out: classes, next tokens, answer positions.

    A head with a single output (regression) is matched in value.
    """

    name: str = "distribution"

    def target(self, output: Any, batch: Batch) -> Tensor:
        """Logits, (rows, classes)."""
        if getattr(output, "logits", None) is None:
            # Answer spans: a distribution over positions each for start and end. Padding is
            # left out by a large negative score, so that it carries no probability.
            padding = ~batch["attention_mask"].bool()
            both = torch.cat([output.start_logits, output.end_logits])
            return both.masked_fill(torch.cat([padding, padding]), -1e4)
        logits: Tensor = output.logits
        if logits.ndim == 2:
            return logits
        rows = states_of(output, batch, "logits")
        if rows.shape[-1] > _LARGE_VOCABULARY and len(rows) > _MOST_ROWS:
            rows = rows[:: -(-len(rows) // _MOST_ROWS)]
        return rows

    def probe(self, output: Any, batch: Batch, generator: torch.Generator) -> Tensor:
        """Log-probability of an outcome drawn from the model's own distribution."""
        logits = self.target(output, batch)
        if logits.shape[-1] == 1:
            return (logits * _normal(tuple(logits.shape), logits, generator)).sum()
        probabilities = logits.detach().float().softmax(-1).cpu()
        drawn = torch.multinomial(probabilities, 1, generator=generator).to(logits.device)
        return logits.log_softmax(-1).gather(-1, drawn).sum()

    def error(self, output: Any, batch: Batch, target: Tensor) -> tuple[Tensor, float]:
        """Divergence from the target's distribution, summed over rows, and their number."""
        logits, target = self.target(output, batch).float(), target.float()
        if logits.shape[-1] == 1:
            return (
                (logits - target).square().sum(),
                float((target - target.mean(0)).square().sum().clamp(min=1e-12)),
            )
        divergence = F.kl_div(
            logits.log_softmax(-1), target.log_softmax(-1), reduction="sum", log_target=True
        )
        return divergence, float(len(logits))


@dataclass(frozen=True)
class LossObjective:
    """Keep a loss of the user's low, such as the model's own on labelled data.

    Args:
        loss: takes the model's output and the batch; gives a scalar, the mean over the batch.
    """

    loss: Callable[[Any, Batch], Tensor]
    name: str = "loss"

    def target(self, output: Any, batch: Batch) -> Tensor:
        """The unpruned model's loss, a scalar."""
        return self.loss(output, batch)

    def probe(self, output: Any, batch: Batch, generator: torch.Generator) -> Tensor:
        """The loss itself, summed over the batch."""
        return self.loss(output, batch) * len(next(iter(batch.values())))

    def error(self, output: Any, batch: Batch, target: Tensor) -> tuple[Tensor, float]:
        """How much the loss rose, summed over the batch, and its size."""
        size = len(next(iter(batch.values())))
        return (self.loss(output, batch) - target) * size, float(size)


def objective_for(model: nn.Module) -> Objective:
    """What to keep of a model of which nothing else is known.

    A base model keeps its last hidden states, a model with a task head the distributions that
    the head puts out.
    """
    # An encoder-decoder may hold its stacks directly and have a language-model head all the same.
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if any(hasattr(model, f"{side}_projection") for side in ("text", "visual")):
        return MatchHidden()  # embeddings, not a distribution
    return MatchHidden() if base_of(model)[0] is model and head is None else MatchDistribution()


def _normal(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    # Drawn on the CPU, so that one seed means the same numbers on every device.
    return torch.randn(shape, generator=generator).to(like)
