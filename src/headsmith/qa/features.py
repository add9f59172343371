"""Questions and contexts as windows of tokens, with the way back to characters.

A long context is read through overlapping windows. Each context is tokenised once, however
many questions there are about it, and windows are cut out of it:

```
question first   [CLS] question [SEP] tokens i … j of the context [SEP]     BERT and its kin
context first    tokens i … j of the context <sep> question <sep> <cls>     XLNet
p_mask            0      1        1    0 0 0 0 0 0 0 0 0 0 0 0 0     1       1 = no answer there
```
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headsmith.qa.layout import Layout
from headsmith.qa.squad_data import Problems, Question

__all__ = ["Featurized", "Featurizer", "Window", "collate", "features"]

Ints = NDArray[np.int32]

_CONTEXTS_KEPT = 8  # of one batch for the next


@dataclass(frozen=True, slots=True)
class Window:
    """One window of one context, without padding.

    Args:
        input_ids: int32 (length,).
        token_type_ids: int32 (length,), or None where the model takes none.
        context_begin: position of the first context token in the window.
        context_tokens: how many context tokens the window holds.
        first_token: which token of the whole context that first one is.
        cls_index: position of the CLS token.
        start_position: of the answer; `cls_index` where the window holds none.
        end_position: the same of its last token.
        is_impossible: whether the window holds no answer.
    """

    input_ids: Ints
    token_type_ids: Ints | None
    context_begin: int
    context_tokens: int
    first_token: int
    cls_index: int
    start_position: int
    end_position: int
    is_impossible: bool

    @property
    def length(self) -> int:
        """Tokens."""
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class Featurized:
    """A question with its windows.

    Args:
        question: as it was read.
        offsets: int32 (tokens of the context, 2), the characters from … to that each token
            stands for, without the white space around it.
        windows: in the order of the context.
    """

    question: Question
    offsets: Ints
    windows: tuple[Window, ...]


class Featurizer:
    """Makes windows of questions.

    Args:
        tokenizer: a fast tokenizer of Transformers.
        max_length: tokens of a window at most, special tokens included.
        stride: context tokens that neighbouring windows share, as Transformers' tokenizers
            count it.
        question_first: see `Layout.of`.

    Raises:
        DataError: the tokenizer cannot be used.
        ValueError: `max_length` or `stride` is out of range.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        max_length: int = 384,
        stride: int = 128,
        question_first: bool | None = None,
    ) -> None:
        self.layout = Layout.of(tokenizer, question_first)
        if stride < 0 or max_length < 1:
            raise ValueError(
                "max_length is at least 1 and stride at least 0. Received "
                f"max_length {max_length} and stride {stride}."
            )
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.stride = stride
        self._contexts: dict[str, tuple[Ints, Ints]] = {}

    def __call__(
        self, questions: Sequence[Question], problems: Problems | None = None
    ) -> list[Featurized]:
        """Make the windows of a batch of questions.

        Args:
            questions: any number; some hundred at once are fastest.
            problems: collects questions that cannot be used; None refuses them.

        Raises:
            DataError: a question is refused.
        """
        problems = Problems(refuse=True) if problems is None else problems
        coded = self._encode([q.question for q in questions], offsets=False)
        known: dict[str, Any] = {}
        for context in dict.fromkeys(q.context for q in questions):
            known[context] = self._contexts.pop(context, None)
        fresh = [context for context, value in known.items() if value is None]
        for context, (ids, offsets) in zip(fresh, self._encode(fresh), strict=True):
            known[context] = (ids, _trimmed(offsets, context))
        # The next batch often goes on with the same contexts.
        self._contexts = {c: v for c, v in list(known.items())[-_CONTEXTS_KEPT:] if v is not None}
        found = []
        for question, (ids, _) in zip(questions, coded, strict=True):
            context_ids, places = known[question.context]
            one = self._windows(question, ids, context_ids, places, problems)
            if one is not None:
                found.append(one)
        return found

    def _encode(self, texts: list[str], offsets: bool = True) -> list[tuple[Ints, Ints]]:
        if not texts:
            return []
        coded = self.tokenizer(
            texts,
            add_special_tokens=False,
            return_offsets_mapping=offsets,
            return_attention_mask=False,
            return_token_type_ids=False,
            truncation=False,
            padding=False,
            verbose=False,
        )
        empty = np.empty((0, 2), np.int32)
        places = coded["offset_mapping"] if offsets else [empty] * len(texts)
        return [
            (np.asarray(i, np.int32), np.asarray(p, np.int32).reshape(-1, 2))
            for i, p in zip(coded["input_ids"], places, strict=True)
        ]

    def _windows(
        self, question: Question, asked: Ints, context: Ints, offsets: Ints, problems: Problems
    ) -> Featurized | None:
        layout = self.layout
        room = self.max_length - layout.added - len(asked)
        if not len(context):
            problems.add(question.id, "empty context", "the context has no tokens.")
            return None
        if room <= min(self.stride, len(context) - 1):
            problems.add(
                question.id,
                "question too long",
                f"its {len(asked)} tokens leave {max(room, 0)} of a window of {self.max_length} "
                f"for the context; more than the stride of {self.stride} are needed. Take longer "
                "windows or a smaller stride.",
            )
            return None
        first, last = _answer_tokens(question, offsets)
        windows = []
        for begin in range(0, len(context), max(1, room - self.stride)):
            end = min(begin + room, len(context))
            windows.append(self._window(asked, context[begin:end], begin, first, last))
            if end == len(context):
                break
        return Featurized(question, offsets, tuple(windows))

    def _window(self, asked: Ints, part: Ints, begin: int, first: int, last: int) -> Window:
        layout = self.layout
        one, two = (asked, part) if layout.question_first else (part, asked)
        ids = np.concatenate([layout.before.ids, one, layout.between.ids, two, layout.after.ids])
        types = None
        if layout.has_types:
            kind = (
                np.full(len(t), n, np.int32) for t, n in zip((one, two), layout.types, strict=True)
            )
            types = np.concatenate(
                [
                    layout.before.types,
                    next(kind),
                    layout.between.types,
                    next(kind),
                    layout.after.types,
                ]
            )
        place = len(layout.before.ids)
        if layout.question_first:
            place += len(asked) + len(layout.between.ids)
        cls_index = self._cls_index(len(one), len(two))
        inside = begin <= first and last < begin + len(part) and first >= 0
        shift = place - begin
        return Window(
            input_ids=ids,
            token_type_ids=types,
            context_begin=place,
            context_tokens=len(part),
            first_token=begin,
            cls_index=cls_index,
            start_position=first + shift if inside else cls_index,
            end_position=last + shift if inside else cls_index,
            is_impossible=not inside,
        )

    def _cls_index(self, one: int, two: int) -> int:
        layout, place = self.layout, 0
        for part, text in ((layout.before, one), (layout.between, two), (layout.after, 0)):
            found = np.flatnonzero(part.ids == layout.cls_id)
            if len(found):
                return place + int(found[0])
            place += len(part.ids) + text
        raise AssertionError("Layout.of chose a CLS token that is among the special tokens")


def features(
    questions: Iterable[Question],
    featurizer: Featurizer,
    *,
    problems: Problems | None = None,
    batch_size: int = 256,
    workers: int = 0,
) -> Iterator[Featurized]:
    """Make windows of a stream of questions, in its order.

    Only some batches are held at any time. Fast tokenizers already use all cores within a
    batch; `workers` help where building windows is what takes the time.

    Args:
        questions: from `read_squad`, `read_lines`, or anywhere.
        featurizer: how to make them.
        problems: collects questions that cannot be used; None refuses them.
        batch_size: questions at once.
        workers: processes to share the work; 0 does all in this one.

    Raises:
        DataError: a question is refused.
    """
    stream = iter(questions)
    batches = iter(lambda: list(islice(stream, batch_size)), [])
    if not workers:
        for batch in batches:
            yield from featurizer(batch, problems)
        return
    from headsmith.qa.workers import mapped

    yield from mapped(featurizer, batches, workers, problems)


def collate(
    windows: Sequence[Window],
    layout: Layout,
    *,
    labels: bool = False,
    multiple_of: int = 1,
) -> dict[str, NDArray[Any]]:
    """Pad windows to one length, on the tokenizer's side.

    Args:
        windows: of one batch.
        layout: of the tokenizer that made them.
        labels: whether to add `start_positions`, `end_positions` and `is_impossible`.
        multiple_of: round the length up to a multiple of this.

    Returns:
        int64 `input_ids`, `attention_mask`, perhaps `token_type_ids` and bool `p_mask`
        (batch, length); int64 `cls_index` (batch,). `p_mask` is True where no answer can be;
        the CLS token is open.
    """
    longest = max(w.length for w in windows)
    shape = (len(windows), -(-longest // multiple_of) * multiple_of)
    ids = np.full(shape, layout.pad_id, np.int64)
    mask = np.zeros(shape, np.int64)
    types = np.full(shape, layout.pad_type, np.int64)
    p_mask = np.ones(shape, bool)
    shifts = np.array([shape[1] - w.length if layout.pad_left else 0 for w in windows])
    for row, (window, shift) in enumerate(zip(windows, shifts, strict=True)):
        whole = slice(shift, shift + window.length)
        ids[row, whole] = window.input_ids
        mask[row, whole] = 1
        if window.token_type_ids is not None:
            types[row, whole] = window.token_type_ids
        begin = shift + window.context_begin
        p_mask[row, begin : begin + window.context_tokens] = False
    cls_index = shifts + [w.cls_index for w in windows]
    p_mask[np.arange(len(windows)), cls_index] = False
    batch = {"input_ids": ids, "attention_mask": mask}
    if layout.has_types:
        batch["token_type_ids"] = types
    batch |= {"p_mask": p_mask, "cls_index": cls_index}
    if labels:
        batch["start_positions"] = shifts + [w.start_position for w in windows]
        batch["end_positions"] = shifts + [w.end_position for w in windows]
        batch["is_impossible"] = np.array([w.is_impossible for w in windows], np.int64)
    return batch


def _trimmed(offsets: Ints, context: str) -> Ints:
    """Offsets without the white space that some tokenizers count to a token."""
    if not len(offsets):
        return offsets
    space = np.fromiter((c.isspace() for c in context), bool, len(context))
    if not (space[offsets[:, 0].clip(max=len(space) - 1)].any() or space[offsets[:, 1] - 1].any()):
        return offsets
    offsets = offsets.copy()
    start, end = offsets[:, 0], offsets[:, 1]  # views
    while (loose := (start < end) & space[start.clip(max=len(space) - 1)]).any():
        start[loose] += 1
    while (loose := (start < end) & space[end - 1]).any():
        end[loose] -= 1
    return offsets


def _answer_tokens(question: Question, offsets: Ints) -> tuple[int, int]:
    """First and last token of the first answer; (-1, -1) where there is none."""
    if question.is_impossible or not question.answers:
        return -1, -1
    answer = question.answers[0]
    text = answer.text
    begin = answer.start + len(text) - len(text.lstrip())
    end = answer.start + len(text.rstrip())
    touched = np.flatnonzero((offsets[:, 1] > begin) & (offsets[:, 0] < end))
    return (int(touched[0]), int(touched[-1])) if len(touched) else (-1, -1)
