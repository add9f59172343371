"""PrunePlan: which heads and neurons stay, per block, as data.

A plan says nothing about weights. It can be printed, checked, saved as JSON, composed with
a later plan, and read without any framework. Indices are those of the model it was made for:

```
dense model            heads 0 1 2 3 4 5      plan A keeps 0 2 3 5
after plan A           heads 0 1 2 3          plan B keeps 1 3
A.then(B)              of the dense model:    keeps 2 5
```
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

from headsmith.errors import PlanError

__all__ = ["FORMAT_VERSION", "BlockPlan", "Kind", "PrunePlan", "format_ranges", "parse_ranges"]

Kind = Literal["heads", "neurons"]
"""What a block is made of: attention heads or feed-forward neurons."""

FORMAT_VERSION = 1
"""Of the JSON that plans are written as."""

_LARGEST_COUNT = 2**24  # far above any real block, and all blocks of a real model together
_MOST_BLOCKS = 2**16
_BLOCK_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


def format_ranges(indices: Iterable[int]) -> str:
    """Write ascending integers compactly.

    Example:
        >>> from headsmith.spec.plan import format_ranges
        >>> format_ranges([0, 1, 2, 5, 7, 8])
        '0-2,5,7-8'
    """
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def parse_ranges(text: str, count: int) -> tuple[int, ...]:
    """Read what `format_ranges` wrote: strictly ascending integers below `count`.

    Raises:
        PlanError: the text is malformed, not ascending, or names an index of `count` or more.

    Example:
        >>> from headsmith.spec.plan import parse_ranges
        >>> parse_ranges("0-2,5", count=6)
        (0, 1, 2, 5)
    """
    indices: list[int] = []
    for piece in text.split(",") if text else []:
        match = _RANGE.fullmatch(piece.strip())
        if match is None:
            raise PlanError(
                f"Kept indices are written like '0-3,7'. Received {_short(piece)} "
                f"in {_short(text)}."
            )
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last >= count:
            raise PlanError(f"Kept indices must be below {count}. Received {last}.")
        if last < first or (indices and first <= indices[-1]):
            raise PlanError(f"Kept indices must ascend without repeats. Received {_short(text)}.")
        indices.extend(range(first, last + 1))
    return tuple(indices)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True)
class BlockPlan:
    """What stays of one attention or feed-forward block.

    Args:
        kind: `"heads"` or `"neurons"`.
        count: how many there are in the model the plan is made for.
        kept: indices that stay, ascending, each in [0, `count`); may be empty.

    Raises:
        PlanError: an index is out of range, repeated, or not an integer.
    """

    kind: Kind
    count: int
    kept: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise PlanError(
                f"A block's kind is 'heads' or 'neurons'. Received {_short(self.kind)}."
            )
        if not _is_index(self.count) or not 0 <= self.count <= _LARGEST_COUNT:
            raise PlanError(
                f"A block's count is an integer from 0 to {_LARGEST_COUNT}. "
                f"Received {_short(self.count)}."
            )
        try:
            kept = tuple(self.kept)
        except TypeError as error:
            raise PlanError(
                f"Kept {self.kind} are a sequence of integers. Received {_short(self.kept)}."
            ) from error
        wrong = [k for k in kept if not _is_index(k) or not 0 <= k < self.count]
        if wrong:
            raise PlanError(
                f"Kept {self.kind} must be integers in [0, {self.count}). Received {_short(wrong)}."
            )
        if len(set(kept)) != len(kept):
            raise PlanError(f"Kept {self.kind} must not repeat. Received {_short(list(kept))}.")
        object.__setattr__(self, "kept", tuple(sorted(int(k) for k in kept)))

    @property
    def removed(self) -> tuple[int, ...]:
        """The indices that go, ascending."""
        stays = set(self.kept)
        return tuple(i for i in range(self.count) if i not in stays)

    def then(self, later: BlockPlan, name: str = "block") -> BlockPlan:
        """This block plan followed by one made for what this one leaves."""
        if later.kind != self.kind or later.count != len(self.kept):
            raise PlanError(
                f"{name}: the later plan is for {later.count} {later.kind}, "
                f"but the earlier one leaves {len(self.kept)} {self.kind}."
            )
        return BlockPlan(self.kind, self.count, tuple(self.kept[i] for i in later.kept))


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class PrunePlan:
    """Which heads and neurons stay, block by block; blocks not named stay whole.

    Args:
        model_type: the Transformers `config.model_type` the plan is made for, such as `"bert"`.
        blocks: block name (its module path below the base model) → `BlockPlan`. Blocks that
            keep everything are left out, so that equal plans compare equal.

    Raises:
        PlanError: a name or a block is malformed.

    Example:
        >>> from headsmith import PrunePlan
        >>> from headsmith.spec.plan import BlockPlan
        >>> plan = PrunePlan("bert", {"encoder.layer.0.attention": BlockPlan("heads", 4, (0, 3))})
        >>> plan.blocks["encoder.layer.0.attention"].removed
        (1, 2)
        >>> PrunePlan.from_json(plan.to_json()) == plan
        True
    """

    model_type: str
    blocks: Mapping[str, BlockPlan] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.model_type, str) or not re.fullmatch(
            r"[\w.\-]{1,100}", self.model_type
        ):
            raise PlanError(
                f"A plan names its model type, such as 'bert'. Received {_short(self.model_type)}."
            )
        if not isinstance(self.blocks, Mapping):
            raise PlanError(
                "A plan's blocks are a mapping of block names to BlockPlan. "
                f"Received {_short(self.blocks)}."
            )
        if len(self.blocks) > _MOST_BLOCKS:
            raise PlanError(
                f"A plan has at most {_MOST_BLOCKS} blocks. Received {len(self.blocks)}."
            )
        for name, block in self.blocks.items():
            if not isinstance(name, str) or len(name) > 300 or not _BLOCK_NAME.fullmatch(name):
                raise PlanError(
                    "A block is named by its module path, such as 'encoder.layer.0.attention'. "
                    f"Received {_short(name)}."
                )
            if not isinstance(block, BlockPlan):
                raise PlanError(f"{name}: expected a BlockPlan. Received {_short(block)}.")
        lasting = {n: b for n, b in sorted(self.blocks.items()) if len(b.kept) < b.count}
        object.__setattr__(self, "blocks", MappingProxyType(lasting))

    def __hash__(self) -> int:
        return hash((self.model_type, tuple(self.blocks.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        # A mappingproxy cannot be copied or sent to another process; its contents can.
        return (PrunePlan, (self.model_type, dict(self.blocks)))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is removed."""
        return not self.blocks

    def removed(self, kind: Kind) -> int:
        """How many heads, or neurons, go in all."""
        return sum(b.count - len(b.kept) for b in self.blocks.values() if b.kind == kind)

    def then(self, later: PrunePlan) -> PrunePlan:
        """This plan followed by `later`, as one plan for the model before this one.

        Args:
            later: a plan made for the model that this plan leaves.

        Raises:
            PlanError: the two do not fit one after the other.
        """
        if later.model_type != self.model_type:
            raise PlanError(
                f"Plans for different models cannot follow each other: "
                f"{self.model_type!r}, then {later.model_type!r}."
            )
        blocks = dict(self.blocks)
        for name, block in later.blocks.items():
            blocks[name] = blocks[name].then(block, name) if name in blocks else block
        return PrunePlan(self.model_type, blocks)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; kept indices are written as ranges."""
        return {
            "format": "headsmith-plan",
            "version": FORMAT_VERSION,
            "model_type": self.model_type,
            "blocks": {
                name: {"kind": b.kind, "count": b.count, "kept": format_ranges(b.kept)}
                for name, b in self.blocks.items()
            },
        }

    @classmethod
    def from_dict(cls, data: object) -> PrunePlan:
        """Read what `to_dict` gave, checking every field.

        Raises:
            PlanError: `data` is not a plan; the message names the field.
        """
        if not isinstance(data, Mapping) or data.get("format") != "headsmith-plan":
            raise PlanError(
                'A prune plan is a JSON object with "format": "headsmith-plan". '
                f"Received {_short(data)}."
            )
        if data.get("version") != FORMAT_VERSION:
            raise PlanError(
                f"This headsmith reads prune plans of version {FORMAT_VERSION}. "
                f"Received version {_short(data.get('version'))}: upgrade headsmith to read it."
            )
        blocks = data.get("blocks")
        if not isinstance(blocks, Mapping):
            raise PlanError(f'A plan\'s "blocks" is an object. Received {_short(blocks)}.')
        # Before any range is expanded: a short file must not fill memory.
        counts = {name: _read_count(name, block) for name, block in blocks.items()}
        if sum(counts.values()) > _LARGEST_COUNT:
            raise PlanError(
                f"The blocks of a plan have at most {_LARGEST_COUNT} heads and neurons together. "
                f"Received {sum(counts.values())}."
            )
        return cls(
            data.get("model_type", ""),
            {name: _read_block(name, block, counts[name]) for name, block in blocks.items()},
        )

    def to_json(self) -> str:
        """The plan as a JSON text of readable lines."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> PrunePlan:
        """Read what `to_json` wrote.

        Raises:
            PlanError: the text is not JSON, or not a plan.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PlanError(f"The prune plan is not valid JSON: {error}.") from error
        return cls.from_dict(data)


def _read_count(name: object, data: object) -> int:
    if not isinstance(data, Mapping) or not isinstance(data.get("kept"), str):
        raise PlanError(
            f"Block {_short(name)}: expected an object with kind, count and kept (a text like "
            f"'0-3,7'). Received {_short(data)}."
        )
    count = data.get("count")
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= _LARGEST_COUNT:
        raise PlanError(
            f"Block {_short(name)}: count is an integer from 0 to {_LARGEST_COUNT}. "
            f"Received {_short(count)}."
        )
    return count


def _read_block(name: object, data: Mapping[str, Any], count: int) -> BlockPlan:
    try:
        return BlockPlan(data.get("kind"), count, parse_ranges(data["kept"], count))  # type: ignore[arg-type]
    except PlanError as error:
        raise PlanError(f"Block {_short(name)}: {error}") from error
