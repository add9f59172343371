"""What a SQuAD head returns, and how to read its beams."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, NoReturn, cast

from torch import Tensor
from torch.utils import _pytree

__all__ = ["SpanPairs", "SquadHeadOutput", "pair_spans"]


@dataclass
class SquadHeadOutput(OrderedDict[str, Any]):
    """The outputs of `SQuADHead`, by attribute, by key and by index.

    Behaves as the `ModelOutput` of Transformers 4.34: a dict that holds only the fields that
    are not None, in the order below; an integer or a slice indexes `to_tuple()`; iterating and
    unpacking give the *keys*, as for any dict, so unpack `to_tuple()`. Items cannot be
    removed. It is registered as a pytree, so `torch.func`, `torch.export` and
    DistributedDataParallel see through it; DataParallel gathers it.

    Args:
        loss: Scalar, when both positions were given.
        start_top_log_probs: (batch, start_n_top), best first. *Probabilities* by default, as
            in 4.34; logarithms with `log_probs=True`.
        start_top_index: (batch, start_n_top) int64, the positions of those starts.
        end_top_log_probs: (batch, end_n_top * start_n_top), flattened from
            (end_n_top, start_n_top): the i-th end of the j-th start is at
            `i * start_n_top + j`. See `pair_spans`.
        end_top_index: int64 of the same shape.
        cls_logits: (batch,), larger = the question is less likely to have an answer.

    Example:
        >>> import torch
        >>> out = SquadHeadOutput(cls_logits=torch.zeros(2))
        >>> list(out), out[0] is out.cls_logits, out["cls_logits"] is out.cls_logits
        (['cls_logits'], True, True)
    """

    loss: Tensor | None = None
    start_top_log_probs: Tensor | None = None
    start_top_index: Tensor | None = None
    end_top_log_probs: Tensor | None = None
    end_top_index: Tensor | None = None
    cls_logits: Tensor | None = None

    def __post_init__(self) -> None:
        names = [f.name for f in fields(self)]
        first = self.__dict__.get(names[0])
        alone = all(self.__dict__.get(name) is None for name in names[1:])
        # DataParallel and dict(...) copies hand over one iterable of (name, value) pairs.
        if alone and first is not None and not isinstance(first, Tensor):
            pairs = _as_pairs(first)
            if pairs is not None:
                object.__setattr__(self, names[0], None)
                OrderedDict.__delitem__(self, names[0])
                for name, value in pairs:
                    if name not in names:
                        raise ValueError(
                            f"{type(self).__name__} has the fields {', '.join(names)}. "
                            f"Received: {name!r}."
                        )
                    setattr(self, name, value)
                return
        for name in names:
            value = self.__dict__.get(name)
            if value is not None:
                OrderedDict.__setitem__(self, name, value)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return OrderedDict.__getitem__(self, key)
        return self.to_tuple()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        OrderedDict.__setitem__(self, key, value)
        object.__setattr__(self, key, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if value is not None and name in self.__dataclass_fields__:
            OrderedDict.__setitem__(self, name, value)
        object.__setattr__(self, name, value)

    def __delitem__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"A {type(self).__name__} keeps its fields: `del` is not possible.")

    def setdefault(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: the fields are fixed."""
        raise TypeError(f"A {type(self).__name__} keeps its fields: no `setdefault`.")

    def pop(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: the fields are fixed."""
        raise TypeError(f"A {type(self).__name__} keeps its fields: no `pop`.")

    def update(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: the fields are fixed."""
        raise TypeError(f"A {type(self).__name__} keeps its fields: no `update`.")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, f.name) for f in fields(self))

    def to_tuple(self) -> tuple[Any, ...]:
        """Give the fields that are not None, in order.

        Example:
            >>> import torch
            >>> len(SquadHeadOutput(loss=torch.zeros(())).to_tuple())
            1
        """
        return tuple(self.values())


def _as_pairs(value: Any) -> list[tuple[str, Any]] | None:
    if isinstance(value, dict):
        return list(value.items())
    if not isinstance(value, Iterable):
        return None
    pairs = list(value)
    good = all(
        isinstance(p, (list, tuple)) and len(p) == 2 and isinstance(p[0], str) for p in pairs
    )
    return cast("list[tuple[str, Any]]", pairs) if good else None


def _flatten(output: SquadHeadOutput) -> tuple[list[Any], list[str]]:
    return list(output.values()), list(output.keys())


def _flatten_with_keys(
    output: SquadHeadOutput,
) -> tuple[list[tuple[_pytree.KeyEntry, Any]], list[str]]:
    keys = list(output.keys())
    return [(_pytree.MappingKey(key), output[key]) for key in keys], keys


def _unflatten(values: Iterable[Any], keys: list[str]) -> SquadHeadOutput:
    output = SquadHeadOutput()
    # Leaves may be anything (None, a spec, an object): keep each under its name all the same.
    for key, value in zip(keys, values, strict=True):
        output[key] = value
    return output


_pytree.register_pytree_node(
    SquadHeadOutput,
    _flatten,
    _unflatten,
    serialized_type_name="headsmith.torch.SquadHeadOutput",
    flatten_with_keys_fn=_flatten_with_keys,
)


class SpanPairs(NamedTuple):
    """Every (start, end) of the beam search, each end beside its start.

    Attributes:
        start_index: int64 (batch, start_n_top, end_n_top).
        end_index: int64 (batch, start_n_top, end_n_top).
        start_score: (batch, start_n_top, end_n_top), a probability or its logarithm.
        end_score: (batch, start_n_top, end_n_top), the same given that start.

    Example:
        >>> import torch
        >>> pairs = pair_spans(
        ...     torch.tensor([[0.6]]), torch.tensor([[3]]), torch.tensor([[0.9, 0.1]]),
        ...     torch.tensor([[5, 4]]),
        ... )
        >>> (pairs.start_score * pairs.end_score).shape
        torch.Size([1, 1, 2])
    """

    start_index: Tensor
    end_index: Tensor
    start_score: Tensor
    end_score: Tensor


def pair_spans(
    start_top_log_probs: Tensor,
    start_top_index: Tensor,
    end_top_log_probs: Tensor,
    end_top_index: Tensor,
) -> SpanPairs:
    """Give each end of the beam search its start.

    The head flattens (end_n_top, start_n_top), as Transformers 4.34 does, while the example
    scripts of that time read the cells as if they were (start_n_top, end_n_top): most ends got
    the wrong start. Use this and do not index by hand. For a probability of the whole span
    multiply the two scores, or add them with `log_probs=True`.

    Args:
        start_top_log_probs: (batch, start_n_top) from `SQuADHead`.
        start_top_index: (batch, start_n_top).
        end_top_log_probs: (batch, end_n_top * start_n_top).
        end_top_index: (batch, end_n_top * start_n_top).

    Returns:
        `SpanPairs`; cells of masked positions and ends before their start are among them.

    Raises:
        ValueError: The second dimension of the ends is no multiple of that of the starts.

    Example:
        >>> import torch
        >>> pairs = pair_spans(
        ...     torch.tensor([[0.6, 0.4]]), torch.tensor([[3, 1]]),
        ...     torch.tensor([[0.9, 0.8, 0.1, 0.2]]), torch.tensor([[5, 2, 4, 3]]),
        ... )
        >>> pairs.start_index.tolist(), pairs.end_index.tolist()
        ([[[3, 3], [1, 1]]], [[[5, 4], [2, 3]]])
    """
    batch, starts = start_top_index.shape
    total = end_top_index.shape[1]
    if starts == 0 or total % starts:
        raise ValueError(
            "Expected `end_top_index` of shape (batch, end_n_top * start_n_top) beside "
            f"`start_top_index` of shape (batch, start_n_top). Received: "
            f"{tuple(end_top_index.shape)} and {tuple(start_top_index.shape)}."
        )
    shape = (batch, starts, total // starts)

    def spread(x: Tensor) -> Tensor:
        return x.unsqueeze(-1).expand(shape)

    def regroup(x: Tensor) -> Tensor:
        return x.reshape(batch, total // starts, starts).transpose(1, 2)

    return SpanPairs(
        spread(start_top_index),
        regroup(end_top_index),
        spread(start_top_log_probs),
        regroup(end_top_log_probs),
    )
