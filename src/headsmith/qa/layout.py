"""How a tokenizer puts a question and a context together.

```
question first   [CLS] question [SEP] context [SEP]       BERT and its kin
context first    context <sep> question <sep> <cls>       XLNet
```
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headsmith.errors import DataError

__all__ = ["Layout"]

Ints = NDArray[np.int32]


class _Part(NamedTuple):
    ids: Ints
    types: Ints


@dataclass(frozen=True)
class Layout:
    """How a tokenizer puts two texts together, found by looking at what it does to a pair.

    Args:
        before: special tokens in front.
        between: special tokens between the two texts.
        after: special tokens behind.
        types: token type ids of the first and of the second text.
        question_first: whether the question is the first of the two.
        cls_id: id of the token that stands for "no answer".
        pad_id: id of padding.
        pad_type: token type id of padding.
        pad_left: whether padding comes first.
        has_types: whether the model takes token type ids.
    """

    before: _Part
    between: _Part
    after: _Part
    types: tuple[int, int]
    question_first: bool
    cls_id: int
    pad_id: int
    pad_type: int
    pad_left: bool
    has_types: bool

    @property
    def added(self) -> int:
        """How many special tokens a window has."""
        return len(self.before.ids) + len(self.between.ids) + len(self.after.ids)

    @classmethod
    def of(cls, tokenizer: Any, question_first: bool | None = None) -> Layout:
        """Look at what a tokenizer does.

        Args:
            tokenizer: a fast tokenizer of Transformers, of any family.
            question_first: None puts the context first for tokenizers that pad on the left
                and have their CLS token last (XLNet), as the scripts of Transformers do for all
                that pad on the left.

        Raises:
            DataError: it is not a fast tokenizer, or it has no token that could stand for CLS.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise DataError(
                f"{type(tokenizer).__name__} is no fast tokenizer: it cannot tell which "
                "characters a token stands for. Save the model with a tokenizer.json."
            )
        pair = tokenizer("a", "a", return_token_type_ids=True)
        owners = pair.sequence_ids(0)
        ids = np.asarray(pair["input_ids"], np.int32)
        types = np.asarray(pair["token_type_ids"], np.int32)
        inside = [[i for i, owner in enumerate(owners) if owner == n] for n in (0, 1)]
        if not all(inside):
            raise DataError(
                f"{type(tokenizer).__name__} does not keep two texts apart, so it cannot mark "
                "where the context is."
            )
        (a, b), (c, d) = ((group[0], group[-1] + 1) for group in inside)
        parts = [_Part(ids[s], types[s]) for s in (slice(0, a), slice(b, c), slice(d, None))]
        special = {int(i) for part in parts for i in part.ids}
        named = [getattr(tokenizer, n, None) for n in ("cls_token_id", "bos_token_id")]
        named += [getattr(tokenizer, n, None) for n in ("sep_token_id", "eos_token_id")]
        cls_id = next((i for i in named if i is not None and i in special), None)
        if cls_id is None:
            raise DataError(
                f"{type(tokenizer).__name__} adds no CLS token to a pair of texts, nor another "
                "that could stand for it. Expected the tokenizer of an encoder."
            )
        pad_left = tokenizer.padding_side == "left"
        if question_first is None:
            question_first = not (pad_left and cls_id in parts[2].ids)
        pad_id = tokenizer.pad_token_id
        return cls(
            before=parts[0],
            between=parts[1],
            after=parts[2],
            types=(int(types[a]), int(types[c])),
            question_first=question_first,
            cls_id=int(cls_id),
            pad_id=int(cls_id if pad_id is None else pad_id),
            pad_type=int(getattr(tokenizer, "pad_token_type_id", 0) or 0),
            pad_left=pad_left,
            has_types="token_type_ids" in tokenizer.model_input_names,
        )
