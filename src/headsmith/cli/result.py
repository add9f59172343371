"""Before and after, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from headsmith.cli.output import Output
from headsmith.report.numbers import counted, milliseconds, sized

if TYPE_CHECKING:
    from rich.table import Table

    from headsmith.spec.cost import BlockShape
    from headsmith.spec.plan import PrunePlan
    from headsmith.spec.run import RunRecord

__all__ = ["plan_table", "size_table", "summary"]

_QUALITY = {
    "cosine": "mean cosine to the unpruned output, unseen text",
    "cosine_low": "the same, 5th percentile",
    "similarity_rank_correlation": "rank correlation of pairwise similarities",
    "agreement": "same top choice as the unpruned model, unseen text",
    "error": "error of the objective, unseen text",
}


def size_table(before: Mapping[str, int], after: Mapping[str, int]) -> Table:
    """Parameters, FLOPs and bytes, before and after.

    Args:
        before: `parameters`, `encoder_parameters`, `flops` and `bytes`.
        after: the same.
    """
    table = Output.table("", ">before", ">after", ">change")
    _add_sizes(table, before, after)
    return table


def _add_sizes(table: Table, before: Mapping[str, int], after: Mapping[str, int]) -> None:
    rows = (
        ("parameters", "parameters", counted),
        ("parameters of the blocks", "encoder_parameters", counted),
        ("FLOPs a token of the blocks", "flops", counted),
        ("size in memory and on disk", "bytes", sized),
    )
    for title, key, written in rows:
        old, new = before[key], after[key]
        change = f"{(new / old - 1) * 100:+.0f}%" if old else ""
        table.add_row(title, written(old), written(new), change)


def summary(record: RunRecord) -> list[Table]:
    """The table that ends a pruning run.

    Args:
        record: told of the run.
    """
    table = Output.table("", ">before", ">after", ">change", title=record.model)
    _add_sizes(table, record.before, record.after)
    for kind, title in (("heads", "attention heads"), ("neurons", "feed-forward neurons")):
        blocks = [b for b in record.blocks if b.kind == kind]
        old, new = sum(b.count for b in blocks), sum(len(b.kept) for b in blocks)
        table.add_row(title, f"{old:,}", f"{new:,}", f"{(new / max(1, old) - 1) * 100:+.0f}%")
    for run in record.latency:
        table.add_row(
            f"latency, batch {run.batch} × {run.length} tokens",
            milliseconds(run.before.median_ms),
            milliseconds(run.after.median_ms),
            f"{run.speedup:.2f}× as fast",
        )
    quality = Output.table(f"on {record.data.get('held_out', 0)} texts not seen before", ">value")
    for key, title in _QUALITY.items():
        if key in record.quality:
            quality.add_row(title, f"{record.quality[key]:.4f}")
    return [table, quality]


def plan_table(shapes: Sequence[BlockShape], plan: PrunePlan) -> Table:
    """What each block keeps.

    Args:
        shapes: the model's blocks.
        plan: what stays.
    """
    table = Output.table("block", "", ">before", ">after", "stays", title="Plan")
    for shape in shapes:
        block = plan.blocks.get(shape.name)
        kept = shape.count if block is None else len(block.kept)
        filled = round(20 * kept / max(1, shape.count))
        table.add_row(
            shape.name, shape.kind, str(shape.count), str(kept), "█" * filled + "░" * (20 - filled)
        )
    return table
