"""The SQuAD 2.0 head of XLNet: beam search over starts, ends given a start, answerability.

From Yang et al. 2019, "XLNet" (https://arxiv.org/abs/1906.08237), as Transformers 4.34 had it
in `transformers.modeling_utils`. Names, signatures, state dicts, training losses and inference
outputs are those of 4.34; each class says what is mended.

```
hidden states (batch, seq, H)
   ├─ start_logits ── softmax ── top start_n_top ──┐ states of the best starts
   ├─ end_logits ◄─────────────────────────────────┘ ── softmax ── top end_n_top of each
   └─ answer_class ◄── [start state, CLS state] ── one logit: can the question be answered?
```
"""

from __future__ import annotations

import warnings
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from headsmith.spec.chunks import check_chunk_size
from headsmith.spec.configs import read_float, read_int, read_squad_config
from headsmith.torch.eager import autocast_dtype, compute_dtype, may_read_values, no_autocast
from headsmith.torch.end_logits import EndWeights, end_scores, row_scores
from headsmith.torch.losses import question_answering_loss
from headsmith.torch.p_mask import is_masked, mask_scores
from headsmith.torch.plain import is_plain
from headsmith.torch.squad_output import SquadHeadOutput
from headsmith.torch.summary import check_attention_mask, last_token
from headsmith.torch.take_rows import take_rows

__all__ = [
    "Beams",
    "PoolerAnswerClass",
    "PoolerEndLogits",
    "PoolerStartLogits",
    "SQuADHead",
    "rank_spans",
    "soft_start_state",
    "state_at",
]

_NEITHER = "One of start_states, start_positions should be not None"


def _flat_index(index: Tensor) -> Tensor:
    """Give (batch,) from (batch,) or (batch, 1), leaving the caller's tensor as it is."""
    return index.squeeze(-1) if index.ndim > 1 else index


def state_at(hidden_states: Tensor, index: Tensor) -> Tensor:
    """Take one token's state from each example.

    Args:
        hidden_states: Tensor (batch, seq, H).
        index: int64 tensor (batch,) or (batch, 1) in [0, seq).

    Returns:
        Tensor (batch, H).

    Raises:
        RuntimeError: An index is out of range (on an accelerator: a device-side error).

    Example:
        >>> import torch
        >>> state_at(torch.arange(6.0).view(1, 3, 2), torch.tensor([2])).tolist()
        [[4.0, 5.0]]
    """
    index = _flat_index(index).long()
    expanded = index[:, None, None].expand(-1, 1, hidden_states.shape[-1])
    return hidden_states.gather(1, expanded).squeeze(1)


def soft_start_state(
    hidden_states: Tensor, start_probs: Tensor, p_mask: Tensor | None = None
) -> Tensor:
    """Average the states by the probability that the answer starts there.

    Args:
        hidden_states: Tensor (batch, seq, H).
        start_probs: Tensor (batch, seq), rows that sum to 1.
        p_mask: As in `PoolerStartLogits`. The states of masked positions are left out where
            their probability is zero, so that an infinity or NaN there does not spread. In an
            example that is masked throughout, all states count.

    Returns:
        Tensor (batch, H) in the dtype of `hidden_states`.

    Example:
        >>> import torch
        >>> h = torch.tensor([[[1.0], [3.0], [float("inf")]]])
        >>> p = torch.tensor([[0.5, 0.5, 0.0]])
        >>> soft_start_state(h, p, torch.tensor([[0, 0, 1]])).tolist()
        [[2.0]]
    """
    dtype = hidden_states.dtype
    drop = None
    if p_mask is not None:
        masked = is_masked(p_mask).expand(start_probs.shape)
        drop = masked & ~masked.all(dim=1, keepdim=True)
    state = _weighted_mean(hidden_states, start_probs)
    if drop is not None and not _known_finite(state):
        # Zero times infinity is the only harm a masked state can do, and it shows in the result.
        state = _weighted_mean(hidden_states.masked_fill(drop.unsqueeze(-1), 0.0), start_probs)
    return state.to(dtype)


def _known_finite(tensor: Tensor) -> bool:
    """Look whether all is finite; False where looking is not possible."""
    return may_read_values(tensor) and bool(torch.isfinite(tensor).all())


def _weighted_mean(hidden_states: Tensor, weight: Tensor) -> Tensor:
    dtype = hidden_states.dtype
    if dtype.itemsize < 4 and hidden_states.device.type == "cpu":
        dtype = torch.float32  # a CPU adds 16-bit products up in 16 bits, and slowly
    with no_autocast(hidden_states):
        return torch.bmm(weight.unsqueeze(1).to(dtype), hidden_states.to(dtype)).squeeze(1)


class PoolerStartLogits(nn.Module):
    """Score each token as the start of an answer: one linear layer and a mask.

    As in Transformers 4.34. Mended: `p_mask` may be bool or integer; the fill fits the dtype
    that is computed in, so autocast to float16 gives no -inf; an infinite or NaN score at a
    masked position stays there.

    Args:
        config: Any object with `hidden_size`.

    Attributes:
        dense: Linear, hidden_size to 1.

    Example:
        >>> import torch
        >>> from headsmith.spec.configs import SquadHeadConfig
        >>> PoolerStartLogits(SquadHeadConfig(hidden_size=8))(torch.ones(2, 5, 8)).shape
        torch.Size([2, 5])
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(read_int(config, "hidden_size", type(self).__name__), 1)

    def forward(self, hidden_states: Tensor, p_mask: Tensor | None = None) -> Tensor:
        """Score the starts.

        Args:
            hidden_states: Floating tensor (batch, seq, hidden_size).
            p_mask: Tensor (batch, seq), 1 or True = cannot be an answer. Floats between 0
                and 1 are degrees. Default: nothing is masked.

        Returns:
            Tensor (batch, seq); masked scores are -1e30, or -65500 with float16.
        """
        scores: Tensor = self.dense(hidden_states).squeeze(-1)
        if p_mask is None:
            return scores
        if torch.is_grad_enabled() and not _known_finite(scores):
            # A masked state that is not finite would reach the weight's gradient as 0 * inf.
            masked = is_masked(p_mask).expand(scores.shape).unsqueeze(-1)
            scores = self.dense(hidden_states.masked_fill(masked, 0.0)).squeeze(-1)
        return mask_scores(scores, p_mask, _dtype_of(self.dense, scores))


class PoolerEndLogits(nn.Module):
    """Score each token as the end of an answer, given its start.

    As in Transformers 4.34 in parameters and results, with another way to them (see
    `headsmith.torch.end_logits`): no concatenation, and masked rows are not computed. If
    `dense_0` or its kin were replaced (adapters, quantised layers) or carry hooks, they are
    called as 4.34 calls them. Mended: as in `PoolerStartLogits`.

    Args:
        config: Any object with `hidden_size` and `layer_norm_eps`.
        chunk_size: At most this many tokens at a time, for long inputs; in training the chunks
            are recomputed in the backward pass. None lets the function choose.

    Raises:
        AttributeError: A field is missing in `config`; the message names it.
        ValueError: A field, or `chunk_size`, is out of its range.

    Attributes:
        dense_0: Linear, 2 * hidden_size to hidden_size.
        LayerNorm: LayerNorm over hidden_size.
        dense_1: Linear, hidden_size to 1.

    Example:
        >>> import torch
        >>> from headsmith.spec.configs import SquadHeadConfig
        >>> pooler = PoolerEndLogits(SquadHeadConfig(hidden_size=8))
        >>> pooler(torch.ones(2, 5, 8), start_positions=torch.tensor([0, 3])).shape
        torch.Size([2, 5])
    """

    def __init__(self, config: Any, *, chunk_size: int | None = None) -> None:
        super().__init__()
        name = type(self).__name__
        size = read_int(config, "hidden_size", name)
        self.dense_0 = nn.Linear(size * 2, size)
        self.activation = nn.Tanh()
        self.LayerNorm = nn.LayerNorm(size, eps=read_float(config, "layer_norm_eps", name))
        self.dense_1 = nn.Linear(size, 1)
        check_chunk_size(chunk_size, name)
        self.chunk_size = chunk_size

    def forward(
        self,
        hidden_states: Tensor,
        start_states: Tensor | None = None,
        start_positions: Tensor | None = None,
        p_mask: Tensor | None = None,
    ) -> Tensor:
        """Score the ends.

        Args:
            hidden_states: Floating tensor (batch, seq, H), or (batch, seq, 1 or starts, H) in a
                beam search.
            start_states: Tensor that broadcasts against it: (batch, 1 or seq, H), or
                (batch, 1 or seq, starts, H). Tensors made by `expand`, as 4.34 makes them,
                are as good.
            start_positions: int64 tensor (batch,) or (batch, 1); wins over `start_states`.
            p_mask: As in `PoolerStartLogits`; (batch, seq, 1) in a beam search.

        Returns:
            Tensor (batch, seq), or (batch, seq, starts).

        Raises:
            AssertionError: Neither start is given (the type 4.34 raised).
            RuntimeError: A position is out of range.
        """
        if start_positions is not None:
            start_states = state_at(hidden_states, start_positions).unsqueeze(1)
        if start_states is None:
            raise AssertionError(_NEITHER)
        if self._is_plain():
            skip = None
            # In a beam search each start may have a mask of its own: then no row is skipped.
            if p_mask is not None and (hidden_states.ndim == 3 or p_mask.shape[-1] == 1):
                rows = (
                    hidden_states.shape[:2]
                    if hidden_states.ndim == 3
                    else (*hidden_states.shape[:2], 1)
                )
                skip = is_masked(p_mask).expand(rows)
            scores = end_scores(
                hidden_states,
                start_states,
                self._weights(),
                skip=skip,
                chunk_size=self.chunk_size,
            )
        else:
            both = torch.broadcast_tensors(hidden_states, start_states)  # type: ignore[no-untyped-call]
            x = torch.cat(both, dim=-1)
            x = self.LayerNorm(self.activation(self.dense_0(x)))
            scores = self.dense_1(x).squeeze(-1)
        if p_mask is None:
            return scores
        return mask_scores(scores, p_mask, _dtype_of(self.dense_1, scores))

    def _weights(self) -> EndWeights:
        return EndWeights(
            self.dense_0.weight,
            self.dense_0.bias,
            self.LayerNorm.weight,
            self.LayerNorm.bias,
            self.dense_1.weight,
            self.dense_1.bias,
            self.LayerNorm.eps,
        )

    def _is_plain(self) -> bool:
        """Are the layers what `__init__` made, so that their weights say all about them?"""
        return (
            is_plain(self.dense_0, nn.Linear)
            and is_plain(self.activation, nn.Tanh)
            and is_plain(self.LayerNorm, nn.LayerNorm)
            and is_plain(self.dense_1, nn.Linear)
        )


def _warn_of_half(given: str) -> None:
    """Say that one of two inputs came alone."""
    if torch.compiler.is_compiling():
        return
    missing = "cls_index" if given == "is_impossible" else "is_impossible"
    warnings.warn(
        f"SQuADHead got `{given}` without `{missing}`: the answer class takes no part in this "
        "loss. Give both to train it, or neither.",
        UserWarning,
        stacklevel=6,  # the line that called the head
    )


def _dtype_of(layer: nn.Module, scores: Tensor) -> torch.dtype:
    """Name the dtype of a layer's weight, or of its scores if it has none to show."""
    weight = getattr(layer, "weight", None)
    return weight.dtype if isinstance(weight, Tensor) else scores.dtype


class PoolerAnswerClass(nn.Module):
    """Score how likely a question has *no* answer, from the start's state and the CLS state.

    As in Transformers 4.34. Mended: without `cls_index`, an `attention_mask` says which token
    is the last one; 4.34 takes the last position, padding or not.

    Args:
        config: Any object with `hidden_size`.

    Attributes:
        dense_0: Linear, 2 * hidden_size to hidden_size.
        dense_1: Linear, hidden_size to 1, without bias.

    Example:
        >>> import torch
        >>> from headsmith.spec.configs import SquadHeadConfig
        >>> pooler = PoolerAnswerClass(SquadHeadConfig(hidden_size=8))
        >>> pooler(torch.ones(2, 5, 8), start_positions=torch.tensor([0, 3])).shape
        torch.Size([2])
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        size = read_int(config, "hidden_size", type(self).__name__)
        self.dense_0 = nn.Linear(size * 2, size)
        self.activation = nn.Tanh()
        self.dense_1 = nn.Linear(size, 1, bias=False)

    def forward(
        self,
        hidden_states: Tensor,
        start_states: Tensor | None = None,
        start_positions: Tensor | None = None,
        cls_index: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Score the examples.

        Args:
            hidden_states: Floating tensor (batch, seq, hidden_size).
            start_states: Tensor (batch, hidden_size).
            start_positions: int64 tensor (batch,) or (batch, 1); wins over `start_states`.
            cls_index: int64 tensor (batch,) or (batch, 1). Default: the last token.
            attention_mask: Tensor (batch, seq), non-zero = a token. Read only without
                `cls_index`. Default: all are tokens.

        Returns:
            Tensor (batch,).

        Raises:
            AssertionError: Neither start is given (the type 4.34 raised).
            RuntimeError: A position is out of range.
            ValueError: The attention mask is of another shape.
        """
        if start_positions is not None:
            start_states = state_at(hidden_states, start_positions)
        if start_states is None:
            raise AssertionError(_NEITHER)
        if cls_index is not None:
            cls_state = state_at(hidden_states, cls_index)
        elif attention_mask is not None:
            check_attention_mask(attention_mask, hidden_states)
            cls_state = state_at(hidden_states, last_token(attention_mask))
        else:
            cls_state = hidden_states[:, -1]
        x = self.dense_0(torch.cat([start_states, cls_state], dim=-1))
        scores: Tensor = self.dense_1(self.activation(x)).squeeze(-1)
        return scores


class Beams(NamedTuple):
    """The outcome of a beam search; S and E are the numbers of starts and of ends.

    Attributes:
        start_scores: (batch, S).
        start_index: int64 (batch, S).
        end_scores: (batch, E * S), flattened from (E, S).
        end_index: int64 (batch, E * S).
    """

    start_scores: Tensor
    start_index: Tensor
    end_scores: Tensor
    end_index: Tensor


def _normalise(scores: Tensor, dim: int, log_probs: bool) -> Tensor:
    scores = scores.to(compute_dtype(scores.dtype))
    return scores.log_softmax(dim) if log_probs else scores.softmax(dim)


def rank_spans(
    start_scores: Tensor, end_logits: Tensor, end_n_top: int, start_index: Tensor, log_probs: bool
) -> Beams:
    """Choose the best ends of each start.

    Args:
        start_scores: (batch, S), the scores of the chosen starts.
        end_logits: (batch, seq, S).
        end_n_top: How many ends to keep; no more than seq are.
        start_index: int64 (batch, S).
        log_probs: Whether to give logarithms.

    Returns:
        `Beams` with S = start_scores.shape[1] and E = min(end_n_top, seq).

    Example:
        >>> import torch
        >>> best = rank_spans(torch.ones(1, 1), torch.tensor([[[0.0], [5.0]]]), 1,
        ...                   torch.zeros(1, 1, dtype=torch.long), False)
        >>> best.end_index.tolist()
        [[1]]
    """
    scores = _normalise(end_logits, 1, log_probs)
    top, index = torch.topk(scores, _at_most(end_n_top, scores.shape[1]), dim=1)
    return Beams(start_scores, start_index, top.flatten(1), index.flatten(1))


def _at_most(number: int, length: int) -> int:
    """Give min(number, length), so that a captured graph of dynamic length has a fixed number.

    `min` would be kept as an expression of the length, and with it every shape behind it.
    """
    return number if length >= number else length


class SQuADHead(nn.Module):
    """The SQuAD 2.0 head: a loss from labels, or a beam search over answer spans.

    As in Transformers 4.34 in parameters, losses and outputs. Mended:

    - `p_mask` may be bool or integer, `is_impossible` of any dtype, labels (batch, 1) are read
      and never changed;
    - positions outside [0, seq), -100 among them, are ignored; if all are, the loss is 0;
    - `start_n_top` and `end_n_top` may exceed the length: they are clamped to it;
    - what stands at masked positions does not matter, infinite or NaN;
    - `return_predictions=True` gives the loss and the predictions of one call;
    - `cls_index` without `is_impossible`, or the reverse, warns: the answer class would not
      be trained, in silence.

    **Which start trains the answer class.** 4.34 shows it the state of the *gold* start, which
    is CLS exactly where there is no answer: the label leaks, and the class scores far worse
    at inference, where it sees a soft start. `answer_start="gold"` keeps that, for the same
    losses as 4.34. To train a new model, or to go on training one that is to say "no answer",
    use `answer_start="soft"`: the state averaged by the start probabilities, as XLNet does and
    as inference does in both settings.

    Args:
        config: Any object with `hidden_size`, `layer_norm_eps`, `start_n_top`, `end_n_top`.
        answer_start: "gold" (default, 4.34's training loss) or "soft" (recommended).
        log_probs: Whether `*_log_probs` are logarithms. False, as in 4.34, gives
            probabilities in spite of the name.
        chunk_size: See `PoolerEndLogits`.

    Raises:
        AttributeError: A field is missing in `config`; the message names it.
        ValueError: A field, or `chunk_size`, is out of its range, or `answer_start` unknown.

    Example:
        >>> import torch
        >>> from headsmith.spec.configs import SquadHeadConfig
        >>> from headsmith.torch.squad_output import pair_spans
        >>> head = SQuADHead(SquadHeadConfig(hidden_size=8, start_n_top=3, end_n_top=2))
        >>> hidden_states = torch.randn(2, 10, 8)
        >>> head(hidden_states, torch.tensor([1, 4]), torch.tensor([2, 4]))[0].shape
        torch.Size([])
        >>> pair_spans(*head(hidden_states)[:4]).end_index.shape
        torch.Size([2, 3, 2])
    """

    def __init__(
        self,
        config: Any,
        *,
        answer_start: Literal["gold", "soft"] = "gold",
        log_probs: bool = False,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        if answer_start not in ("gold", "soft"):
            raise ValueError(
                f'SQuADHead expects `answer_start` to be "gold" or "soft". '
                f"Received: {answer_start!r}."
            )
        checked = read_squad_config(config)
        self.start_n_top = checked.start_n_top
        self.end_n_top = checked.end_n_top
        self.answer_start = answer_start
        self.log_probs = log_probs
        self.start_logits = PoolerStartLogits(config)
        self.end_logits = PoolerEndLogits(config, chunk_size=chunk_size)
        self.answer_class = PoolerAnswerClass(config)

    def forward(
        self,
        hidden_states: Tensor,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        cls_index: Tensor | None = None,
        is_impossible: Tensor | None = None,
        p_mask: Tensor | None = None,
        return_dict: bool = False,
        *,
        attention_mask: Tensor | None = None,
        return_predictions: bool = False,
    ) -> SquadHeadOutput | tuple[Tensor, ...]:
        """Compute the loss if both positions are given, the beams otherwise.

        Args:
            hidden_states: Floating tensor (batch, seq, hidden_size).
            start_positions: int64 tensor (batch,) or (batch, 1). Outside [0, seq) = ignored,
                with the end and, for `answer_start="gold"`, the answer class of that example.
            end_positions: int64 tensor (batch,) or (batch, 1). Outside [0, seq) = ignored.
            cls_index: int64 tensor (batch,) or (batch, 1). Default: the last token.
            is_impossible: Bool, integer or float tensor (batch,) or (batch, 1), 1 = there is no
                answer.
            p_mask: As in `PoolerStartLogits`.
            return_dict: Whether to give a `SquadHeadOutput` and not a tuple.
            attention_mask: Tensor (batch, seq), non-zero = a token; says which token is last
                when `cls_index` is not given. Default: all are tokens.
            return_predictions: Whether to give the predictions beside the loss. They carry
                no gradient then.

        Returns:
            The fields of `SquadHeadOutput` that apply: the loss, (0.5 * (start + end) cross
            entropy, + 0.5 * binary cross-entropy of the answer class if `cls_index` and
            `is_impossible` are given), or the beams with S = min(start_n_top, seq) starts and
            E = min(end_n_top, seq) ends each. 16-bit losses and probabilities are computed in
            float32 and given in the dtype of the logits, under autocast in float32.

        Raises:
            ValueError: `hidden_states` has not three dimensions, or no token.

        Warns:
            UserWarning: Only one of `cls_index` and `is_impossible` came with the positions.
        """
        if hidden_states.ndim != 3 or hidden_states.shape[1] == 0:
            raise ValueError(
                "SQuADHead expects `hidden_states` of shape (batch, seq, hidden_size) with at "
                f"least one token. Received: {tuple(hidden_states.shape)}."
            )
        if start_positions is None or end_positions is None:
            output = self._predict(hidden_states, cls_index, p_mask, attention_mask)
        else:
            output = SquadHeadOutput()
            if return_predictions:
                with torch.no_grad():
                    output = self._predict(hidden_states, cls_index, p_mask, attention_mask)
            output["loss"] = self._loss(
                hidden_states,
                _flat_index(start_positions),
                _flat_index(end_positions),
                None if cls_index is None else _flat_index(cls_index),
                None if is_impossible is None else _flat_index(is_impossible),
                p_mask,
            )
            output.move_to_end("loss", last=False)
        return output if return_dict else output.to_tuple()

    def _predict(
        self,
        hidden_states: Tensor,
        cls_index: Tensor | None,
        p_mask: Tensor | None,
        attention_mask: Tensor | None,
    ) -> SquadHeadOutput:
        start_logits = self.start_logits(hidden_states, p_mask=p_mask)
        dtype = self._result_dtype(hidden_states, start_logits)
        start_scores = _normalise(start_logits, 1, self.log_probs)
        number = _at_most(self.start_n_top, start_scores.shape[1])
        top, index = torch.topk(start_scores, number, dim=1)
        wide = index.unsqueeze(-1).expand(-1, -1, hidden_states.shape[-1])
        beams = hidden_states.gather(1, wide)
        if p_mask is not None:
            # With fewer candidates than beams, some beams start at masked positions.
            masked = is_masked(p_mask).expand(start_scores.shape).gather(1, index).unsqueeze(-1)
            beams = beams.masked_fill(masked & ~torch.isfinite(beams), 0.0)
        end_logits = self.end_logits(
            hidden_states.unsqueeze(2),
            start_states=beams.unsqueeze(1),
            p_mask=None if p_mask is None else p_mask.unsqueeze(-1),
        )
        found = rank_spans(top, end_logits, self.end_n_top, index, self.log_probs)
        probs = start_scores.exp() if self.log_probs else start_scores
        cls_logits = self.answer_class(
            hidden_states,
            start_states=soft_start_state(hidden_states, probs, p_mask),
            cls_index=cls_index,
            **({} if attention_mask is None else {"attention_mask": attention_mask}),
        )
        return SquadHeadOutput(
            start_top_log_probs=found.start_scores.to(dtype),
            start_top_index=found.start_index,
            end_top_log_probs=found.end_scores.to(dtype),
            end_top_index=found.end_index,
            cls_logits=cls_logits,
        )

    def _loss(
        self,
        hidden_states: Tensor,
        start_positions: Tensor,
        end_positions: Tensor,
        cls_index: Tensor | None,
        is_impossible: Tensor | None,
        p_mask: Tensor | None,
    ) -> Tensor:
        length = hidden_states.shape[1]
        known = (start_positions >= 0) & (start_positions < length)
        starts = start_positions.masked_fill(~known, 0)
        if p_mask is not None and self._may_pack(hidden_states, p_mask, cls_index):
            start_logits, end_logits, state, cls_state = self._packed_logits(
                hidden_states, starts, cls_index, p_mask
            )
        else:
            start_logits = self.start_logits(hidden_states, p_mask=p_mask)
            state = state_at(hidden_states, starts)
            end_logits = self.end_logits(
                hidden_states, start_states=state.unsqueeze(1), p_mask=p_mask
            )
            cls_state = None
        loss = question_answering_loss(
            # The end is scored given the start, so an unknown start takes the end with it.
            start_logits,
            end_logits,
            start_positions,
            end_positions.masked_fill(~known, -100),
        )
        if cls_index is not None and is_impossible is not None:
            if self.answer_start == "soft":
                probs = _normalise(start_logits, 1, log_probs=False)
                state = soft_start_state(hidden_states, probs, p_mask)
                known = torch.ones_like(known)
            if cls_state is None:
                cls_logits = self.answer_class(
                    hidden_states, start_states=state, cls_index=cls_index
                )
            else:
                cls_logits = self.answer_class(cls_state.unsqueeze(1), start_states=state)
            logits = cls_logits.to(compute_dtype(cls_logits.dtype))
            target = is_impossible.to(logits.dtype)
            each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
            each = each.masked_fill(~known, 0.0)
            loss = loss + 0.5 * each.sum() / known.sum().clamp(min=1)
        elif (cls_index is None) != (is_impossible is None):
            _warn_of_half("is_impossible" if cls_index is None else "cls_index")
        return loss.to(self._result_dtype(hidden_states, start_logits))

    def _may_pack(self, hidden_states: Tensor, p_mask: Tensor, cls_index: Tensor | None) -> bool:
        """May the training step read the hidden states once, for all three poolers?

        It goes past the poolers' `forward`, so they have to be as they were made: hooks (FSDP
        shards by hooks), adapters and replaced layers want to be called.
        """
        return (
            self.end_logits.chunk_size is None
            and p_mask.shape == hidden_states.shape[:2]
            and may_read_values(hidden_states, p_mask, cls_index, self.start_logits.dense.weight)
            and is_plain(self.start_logits, PoolerStartLogits)
            and is_plain(self.end_logits, PoolerEndLogits)
            and is_plain(self.answer_class, PoolerAnswerClass)
            and self.end_logits._is_plain()
        )

    def _packed_logits(
        self, hidden_states: Tensor, starts: Tensor, cls_index: Tensor | None, p_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Give the logits, the start's state and the CLS state from rows that may be answers."""
        batch, length, size = hidden_states.shape
        masked = is_masked(p_mask).reshape(-1)
        rows = (~masked).nonzero().squeeze(1)
        first = torch.arange(0, batch * length, length, device=rows.device)
        wanted = [first + starts]
        if cls_index is not None:
            if bool(((cls_index < 0) | (cls_index >= length)).any()):
                raise IndexError(
                    f"SQuADHead expects `cls_index` in [0, {length}). "
                    f"Received: {cls_index.tolist()}."
                )
            wanted.append(first + cls_index)
        kept, state, *others = take_rows(hidden_states.reshape(-1, size), rows, *wanted)
        start_scores = self.start_logits.dense(kept).squeeze(-1)
        example = torch.div(rows, length, rounding_mode="floor")
        end_scores = row_scores(kept, example, state.unsqueeze(1), self.end_logits._weights())
        whole = start_scores.new_zeros(batch * length)
        weights = self.start_logits.dense.weight.dtype, self.end_logits.dense_1.weight.dtype
        start_logits, end_logits = (
            mask_scores(
                whole.index_copy(0, rows, x.to(whole.dtype)).view(batch, length), p_mask, weight
            )
            for x, weight in zip((start_scores, end_scores.squeeze(1)), weights, strict=True)
        )
        return start_logits, end_logits, state, others[0] if others else None

    def _result_dtype(self, hidden_states: Tensor, logits: Tensor) -> torch.dtype:
        """Name 4.34's dtype of losses and probabilities: autocast gives those in float32."""
        cast = autocast_dtype(hidden_states) is not None
        return compute_dtype(logits.dtype) if cast else logits.dtype

    def extra_repr(self) -> str:
        """Say the settings, for `print`."""
        return (
            f"start_n_top={self.start_n_top}, end_n_top={self.end_n_top}, "
            f"answer_start={self.answer_start!r}, log_probs={self.log_probs}"
        )
