"""Beam search as Transformers 4.34 had it.

Transformers 5 counts only new tokens in `length_penalty` and stops by another rule, so that the
same scores give other texts. Here a text's length is that of the whole sequence, prompt and all,
and a prompt is done by the rule of 4.34. `BeamSearchScorer` keeps the books; code of that time
also imports it by name and runs loops of its own.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["BeamHypotheses", "BeamScorer", "BeamSearchScorer", "search"]

_NEVER = -1e9  # the score of a beam that is not to be chosen
_WARPERS = (
    "TemperatureLogitsWarper",
    "TopKLogitsWarper",
    "TopPLogitsWarper",
    "TypicalLogitsWarper",
    "EpsilonLogitsWarper",
    "EtaLogitsWarper",
    "MinPLogitsWarper",
    "TopHLogitsWarper",
    "LogitNormalization",
)


class BeamHypotheses:
    """The best finished texts of one prompt.

    Args:
        num_beams: how many are kept.
        length_penalty: the power of its length that a text's score is divided by.
        early_stopping: True to be done as soon as there are `num_beams`; False to be done when no
            text of the present length could be better; `"never"` when none of any length could.
        max_length: the longest a text can be; asked for by `"never"`.

    Raises:
        ValueError: `early_stopping` is a word and there is no `max_length`.

    Example:
        >>> import torch
        >>> from headsmith.compat.beam_search import BeamHypotheses
        >>> kept = BeamHypotheses(1, length_penalty=1.0, early_stopping=False)
        >>> kept.add(torch.tensor([5, 6]), -3.0)
        >>> kept.add(torch.tensor([5, 6, 7]), -3.0)
        >>> kept.worst_score, kept.is_done(-2.0, 4), kept.is_done(-9.0, 4)
        (-1.0, False, True)
    """

    def __init__(
        self,
        num_beams: int,
        length_penalty: float,
        early_stopping: bool | str,
        max_length: int | None = None,
    ) -> None:
        if not isinstance(early_stopping, bool) and max_length is None:
            raise ValueError(
                f"Expected max_length with early_stopping={early_stopping!r}. Received None."
            )
        self.num_beams = num_beams
        self.length_penalty = length_penalty
        self.early_stopping = early_stopping
        self.max_length = max_length
        self.beams: list[tuple[float, Tensor, Any]] = []
        self.worst_score = 1e9

    def __len__(self) -> int:
        return len(self.beams)

    def add(self, hyp: Tensor, sum_logprobs: float, beam_indices: Any = None) -> None:
        """Keep a finished text if it is among the best.

        Args:
            hyp: its tokens, (length,).
            sum_logprobs: the sum of their log-probabilities.
            beam_indices: which beam each new token came from.
        """
        score = sum_logprobs / (hyp.shape[-1] ** self.length_penalty)
        if len(self) >= self.num_beams and score <= self.worst_score:
            return
        self.beams.append((score, hyp, beam_indices))
        if len(self) > self.num_beams:
            del self.beams[min(range(len(self)), key=lambda i: self.beams[i][0])]
        self.worst_score = min(score for score, _, _ in self.beams)

    def is_done(self, best_sum_logprobs: float, cur_len: int) -> bool:
        """Whether there are enough, and no running text is going to be better.

        Args:
            best_sum_logprobs: the best sum of a running text.
            cur_len: its length.
        """
        if len(self) < self.num_beams or self.early_stopping is True:
            return len(self) >= self.num_beams
        length = cur_len
        if self.early_stopping is not False and self.length_penalty > 0.0:
            assert self.max_length is not None  # noqa: S101
            length = self.max_length
        return bool(self.worst_score >= best_sum_logprobs / length**self.length_penalty)


class BeamScorer:
    """What the scorers of Transformers 4 inherited from."""


class BeamSearchScorer(BeamScorer):
    """Chooses the beams of the next step and keeps the texts that have ended.

    Args:
        batch_size: how many prompts there are.
        num_beams: beams for each, at least 2.
        device: where its tensors are made.
        length_penalty: the power of its length that a text's score is divided by.
        do_early_stopping: see `BeamHypotheses`.
        num_beam_hyps_to_keep: how many texts `finalize` gives for each prompt.
        num_beam_groups: into how many groups the beams are divided.
        max_length: the longest a text can be.

    Raises:
        ValueError: the numbers of beams and groups do not fit.
    """

    def __init__(
        self,
        batch_size: int,
        num_beams: int,
        device: torch.device | str,
        length_penalty: float = 1.0,
        do_early_stopping: bool | str = False,
        num_beam_hyps_to_keep: int = 1,
        num_beam_groups: int = 1,
        max_length: int | None = None,
        **_: Any,
    ) -> None:
        if not isinstance(num_beams, int) or num_beams <= 1:
            raise ValueError(f"Expected num_beams of at least 2. Received: {num_beams!r}.")
        if not isinstance(num_beam_groups, int) or num_beam_groups < 1 or (
            num_beams % num_beam_groups
        ):  # fmt: skip
            raise ValueError(
                f"Expected num_beam_groups that divides num_beams={num_beams}. "
                f"Received: {num_beam_groups!r}."
            )
        self.num_beams = num_beams
        self.device = torch.device(device)
        self.length_penalty = length_penalty
        self.do_early_stopping = do_early_stopping
        self.num_beam_hyps_to_keep = num_beam_hyps_to_keep
        self.num_beam_groups = num_beam_groups
        self.group_size = num_beams // num_beam_groups
        # The group g of prompt i is number i * num_beam_groups + g.
        self._beam_hyps = [
            BeamHypotheses(self.group_size, length_penalty, do_early_stopping, max_length)
            for _ in range(batch_size * num_beam_groups)
        ]
        self._done = torch.zeros(len(self._beam_hyps), dtype=torch.bool, device=self.device)

    @property
    def is_done(self) -> bool:
        """Whether every prompt is done."""
        return bool(self._done.all())

    def process(
        self,
        input_ids: Tensor,
        next_scores: Tensor,
        next_tokens: Tensor,
        next_indices: Tensor,
        pad_token_id: int | None = None,
        eos_token_id: int | Sequence[int] | None = None,
        beam_indices: Any = None,
        group_index: int = 0,
        **_: Any,
    ) -> UserDict[str, Tensor]:
        """Take candidates in: those that end are kept as texts, the best others run on.

        Args:
            input_ids: the running texts, (prompts × beams of a group, length).
            next_scores: sums of the candidates, best first, (prompts, candidates).
            next_tokens: their last tokens, the same shape.
            next_indices: which beam of the prompt each continues, the same shape.
            pad_token_id: the token for prompts that are done.
            eos_token_id: the tokens that end a text.
            beam_indices: for each running text the beams that its tokens came from.
            group_index: which group of beams this is.

        Returns:
            `next_beam_scores`, `next_beam_tokens` and `next_beam_indices`, (prompts × beams,).

        Raises:
            ValueError: the shapes do not fit, too few candidates run on, or a prompt is done and
                there is no padding token.
        """
        prompts = len(self._beam_hyps) // self.num_beam_groups
        if input_ids.shape[0] != prompts * self.group_size:
            raise ValueError(
                f"Expected {prompts * self.group_size} running texts: {prompts} prompts with "
                f"{self.group_size} beams. Received: {input_ids.shape[0]}."
            )
        ends = _as_list(eos_token_id)
        size = (prompts, self.group_size)
        scores = next_scores.new_zeros(size)
        tokens = next_tokens.new_zeros(size)
        indices = next_indices.new_zeros(size)
        for i in range(prompts):
            group = i * self.num_beam_groups + group_index
            if self._done[group]:
                if pad_token_id is None or not ends:
                    raise ValueError(
                        "Expected pad_token_id and eos_token_id: one prompt is done and another "
                        f"is not. Received: {pad_token_id!r} and {eos_token_id!r}."
                    )
                tokens[i] = int(pad_token_id)
                continue
            place = 0
            for rank in range(next_tokens.shape[1]):
                row = i * self.group_size + int(next_indices[i, rank])
                if int(next_tokens[i, rank]) not in ends:
                    scores[i, place] = next_scores[i, rank]
                    tokens[i, place] = next_tokens[i, rank]
                    indices[i, place] = row
                    place += 1
                    if place == self.group_size:
                        break
                elif rank < self.group_size:
                    came = None if beam_indices is None else (*beam_indices[row], row)
                    self._beam_hyps[group].add(
                        input_ids[row].clone(), next_scores[i, rank].item(), came
                    )
            if place < self.group_size:
                raise ValueError(
                    f"Expected at least {self.group_size} candidates that do not end with "
                    f"{ends}. Received: {next_tokens[i].tolist()}."
                )
            self._done[group] |= self._beam_hyps[group].is_done(
                next_scores[i].max().item(), input_ids.shape[-1] + 1
            )
        return UserDict(
            next_beam_scores=scores.flatten(),
            next_beam_tokens=tokens.flatten(),
            next_beam_indices=indices.flatten(),
        )

    def finalize(
        self,
        input_ids: Tensor,
        final_beam_scores: Tensor,
        final_beam_tokens: Tensor,
        final_beam_indices: Tensor,
        max_length: int | None,
        pad_token_id: int | None = None,
        eos_token_id: int | Sequence[int] | None = None,
        beam_indices: Any = None,
        **_: Any,
    ) -> UserDict[str, Any]:
        """Take in what still runs, and give the best texts.

        Args:
            input_ids: the running texts, (prompts × beams, length).
            final_beam_scores: their sums, (prompts × beams,).
            final_beam_tokens: not used.
            final_beam_indices: not used.
            max_length: the longest that a text may be, or None.
            pad_token_id: what short texts are filled up with.
            eos_token_id: what ends a text that has room for it.
            beam_indices: see `process`.

        Returns:
            `sequences` (prompts × texts, length), best first; `sequence_scores`; `beam_indices`,
            or None where none were given.

        Raises:
            ValueError: texts differ in length and there is no padding token.
        """
        for group, kept in enumerate(self._beam_hyps):
            if self._done[group]:
                continue
            for row in range(group * self.group_size, (group + 1) * self.group_size):
                came = None if beam_indices is None else beam_indices[row]
                kept.add(input_ids[row], final_beam_scores[row].item(), came)
        best = []
        for i in range(0, len(self._beam_hyps), self.num_beam_groups):
            beams = [b for k in self._beam_hyps[i : i + self.num_beam_groups] for b in k.beams]
            # Of equal scores the later one is better.
            best += sorted(beams, key=lambda b: b[0])[: -self.num_beam_hyps_to_keep - 1 : -1]
        lengths = [len(text) for _, text, _ in best]
        longest = max(lengths) + 1
        longest = longest if max_length is None else min(longest, max_length)
        if pad_token_id is None and min(lengths) != max(lengths):
            raise ValueError("Expected pad_token_id: texts differ in length. Received None.")
        fill = 0 if pad_token_id is None else int(pad_token_id)
        sequences = input_ids.new_full((len(best), longest), fill)
        indices = None if best[0][2] is None else input_ids.new_full((len(best), longest), -1)
        ends = _as_list(eos_token_id)
        for row, (_score, text, came) in enumerate(best):
            sequences[row, : len(text)] = text
            if indices is not None:
                indices[row, : len(came)] = torch.tensor([int(b) for b in came])
            if len(text) < longest:
                sequences[row, len(text)] = ends[0]
        scores = torch.tensor([b[0] for b in best], dtype=torch.float32, device=self.device)
        return UserDict(sequences=sequences, sequence_scores=scores, beam_indices=indices)


def search(
    model: Any,
    input_ids: Tensor,
    scorer: Any,
    processors: Any,
    criteria: Any,
    *,
    pad_token_id: int | None,
    eos_token_id: int | Sequence[int] | None,
    do_sample: bool = False,
    output_scores: bool = False,
    output_attentions: bool = False,
    output_hidden_states: bool = False,
    **kwargs: Any,
) -> tuple[UserDict[str, Any], dict[str, Any]]:
    """Run beam search, or sample in beams, to its end.

    Args:
        model: a model that prepares inputs for generation.
        input_ids: the prompts, each as often as there are beams.
        scorer: a `BeamSearchScorer`, or what does the same.
        processors: change scores; those that prepare sampling are applied to sums.
        criteria: end the search.
        pad_token_id: see `BeamSearchScorer.process`.
        eos_token_id: see `BeamSearchScorer.process`.
        do_sample: draw candidates by their sums, and do not take the best.
        output_scores: keep the scores of each step, and where tokens came from.
        output_attentions: keep attention weights of each step.
        output_hidden_states: keep hidden states of each step.
        **kwargs: handed to the model, step by step.

    Returns:
        What `scorer.finalize` gives, and what was kept: `scores`, `outputs` of each step.
    """
    ends = _as_list(eos_token_id)
    beams = scorer.num_beams
    prompts = input_ids.shape[0] // beams
    sums = torch.zeros((prompts, beams), dtype=torch.float, device=input_ids.device)
    if not do_sample:
        sums[:, 1:] = _NEVER  # the beams of a prompt are still alike
    sums = sums.flatten()
    before, after = _divided(processors) if do_sample else (processors, None)
    came: Any = tuple(() for _ in range(len(input_ids))) if output_scores else None
    asked = {
        "output_attentions": output_attentions,
        "output_hidden_states": output_hidden_states,
    }
    kept: dict[str, Any] = {"scores": () if output_scores else None, "outputs": []}
    while True:
        inputs = model.prepare_inputs_for_generation(input_ids, **kwargs)
        for name, wanted in asked.items():
            if wanted:
                inputs.setdefault(name, True)
        outputs = model(**inputs, return_dict=True)
        step = nn.functional.log_softmax(outputs.logits[:, -1, :], dim=-1)
        step = before(input_ids, step)
        totals = step + sums[:, None].expand_as(step)
        if after is not None:
            totals = after(input_ids, totals)
        if output_scores:
            kept["scores"] += (step if after is None else after(input_ids, step),)
        kept["outputs"].append(
            {n: v for n, v in outputs.items() if "attentions" in n or "hidden_states" in n}
        )
        vocabulary = totals.shape[-1]
        totals = totals.view(prompts, beams * vocabulary)
        if do_sample:
            tokens = torch.multinomial(totals.softmax(dim=-1), num_samples=2 * beams)
            scores, order = totals.gather(-1, tokens).sort(descending=True, dim=1)
            tokens = tokens.gather(-1, order)
        else:
            scores, tokens = totals.topk(max(2, 1 + len(ends)) * beams, dim=1)
        indices = tokens // vocabulary
        tokens = tokens % vocabulary
        chosen = scorer.process(
            input_ids, scores, tokens, indices,
            pad_token_id=pad_token_id, eos_token_id=ends or None, beam_indices=came,
        )  # fmt: skip
        sums, rows = chosen["next_beam_scores"], chosen["next_beam_indices"]
        input_ids = torch.cat([input_ids[rows], chosen["next_beam_tokens"][:, None]], dim=-1)
        kwargs = model._update_model_kwargs_for_generation(
            outputs, kwargs, is_encoder_decoder=model.config.is_encoder_decoder
        )
        if kwargs.get("past_key_values") is not None:
            kwargs["past_key_values"] = model._reorder_cache(kwargs["past_key_values"], rows)
        if came is not None:
            came = tuple((*came[row], row) for row in rows.tolist())
        if scorer.is_done or _met(criteria(input_ids, kept["scores"])):
            break
    found = scorer.finalize(
        input_ids, sums, tokens, indices, max_length=criteria.max_length,
        pad_token_id=pad_token_id, eos_token_id=ends or None, beam_indices=came,
    )  # fmt: skip
    return found, {**kept, "past_key_values": kwargs.get("past_key_values")}


def _divided(processors: Any) -> tuple[Any, Any]:
    """What changes a step's scores, and what 4.34 applied to sums when it sampled."""
    kind = type(processors)
    late = [p for p in processors if type(p).__name__ in _WARPERS]
    return kind(p for p in processors if p not in late), kind(late)


def _met(answer: Any) -> bool:
    """Whether criteria are met: told once, or for each text (4.39 and later)."""
    return bool(answer.all()) if isinstance(answer, Tensor) else bool(answer)


def _as_list(tokens: Any) -> list[int]:
    if tokens is None:
        return []
    if isinstance(tokens, Tensor):
        return [int(t) for t in tokens.flatten()]
    return [int(t) for t in tokens] if isinstance(tokens, Sequence) else [int(tokens)]
