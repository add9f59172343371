"""`headsmith inspect`: what a model is made of, and which of its heads matter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headsmith.cli.options import (
    MODEL,
    calibration_options,
    data_option,
    device_option,
    length_option,
)
from headsmith.cli.output import Output, output_options

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn

    from headsmith.pruning.families import Description
    from headsmith.pruning.score import Ranking
    from headsmith.spec.plan import PrunePlan

__all__ = ["command"]

_EPILOG = """\b
Examples:
  headsmith inspect sentence-transformers/all-MiniLM-L6-v2
  headsmith inspect my-model --data texts.txt
  headsmith inspect my-model --length 512 --format json
"""


@click.command(epilog=_EPILOG)
@click.argument("model", type=MODEL)
@data_option(required=False)
@calibration_options
@length_option
@device_option
@output_options
def command(
    model: str,
    data: Path | None,
    text_column: str | None,
    score: str,
    match: Any,
    batch_size: int,
    max_length: int,
    seed: int,
    length: int,
    device: str,
    output: Output,
) -> None:
    """Show a model's blocks, heads, parameters and FLOPs.

    MODEL is a local folder or the id of a model on the hub, pruned or not. With --data, its
    heads are scored on these texts and shown as a heat map; nothing is changed.
    """
    with output.working(f"Opening {model}"):
        from headsmith.cli.loading import open_without_tokenizer, pick_device
        from headsmith.pruning import plan_of
        from headsmith.pruning.families import describe

        opened = open_without_tokenizer(model, pick_device(device))
        description = describe(opened)
        plan = plan_of(opened)
    rankings = {}
    if data is not None:
        rankings = _score(
            opened,
            model,
            data,
            column=text_column,
            score=score,
            match=match,
            batch_size=batch_size,
            max_length=max_length,
            seed=seed,
            output=output,
        )
    facts = _facts(model, opened, description, plan, length, rankings)
    shown: list[Any] = [_heading(facts), _table(output, facts), _totals(facts, plan)]
    if rankings:
        shown += ["", f" Heads by rank in their layer, 1 the most important (score: {score})"]
        shown += [_heat_map(description, rankings)]
    output.result(facts, *shown, brief=_brief(facts))


def _score(
    model: nn.Module,
    name: str,
    data: Path,
    *,
    column: str | None,
    score: str,
    match: Any,
    batch_size: int,
    max_length: int,
    seed: int,
    output: Output,
) -> dict[str, Ranking]:
    from headsmith.cli.calibration import make_batches, read_material
    from headsmith.cli.loading import choose_objective, open_tokenizer
    from headsmith.pruning.pipeline import rank

    batches = make_batches(
        read_material(name, data, column),
        model,
        open_tokenizer(name),
        batch_size=batch_size,
        max_length=max_length,
        held_out=1,
        seed=seed,
    )
    objective = choose_objective(model, name, match)
    with output.progress() as report:
        return rank(model, batches.calibration, objective, score=score, seed=seed, progress=report)


def _facts(
    name: str,
    model: nn.Module,
    description: Description,
    plan: PrunePlan | None,
    length: int,
    rankings: dict[str, Ranking],
) -> dict[str, Any]:
    """All that is shown, as plain data."""
    from headsmith.spec.cost import total_flops, total_parameters

    flops = total_flops(description.shapes, length)
    blocks = []
    for block in description.blocks:
        earlier = plan.blocks.get(block.name) if plan else None
        ranking = rankings.get(block.name)
        blocks.append(
            {
                "name": block.name,
                "layer": block.layer_index,
                "kind": block.kind,
                "count": block.count,
                "count_unpruned": earlier.count if earlier else block.count,
                "width": block.width,
                "parameters": block.shape.parameters(),
                "flops": block.shape.flops(length),
                "flops_share": block.shape.flops(length) / flops if flops else 0.0,
                **({"importance": list(ranking.importance)} if ranking else {}),
            }
        )
    return {
        "model": name,
        "model_type": description.model_type,
        "model_class": type(model).__name__,
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "parameters": sum(p.numel() for p in model.parameters()),
        "block_parameters": total_parameters(description.shapes),
        "flops": flops,
        "length": length,
        "blocks": blocks,
        "plan": plan.to_dict() if plan else None,
    }


def _heading(facts: dict[str, Any]) -> str:
    from headsmith.cli.output import clean

    return clean(
        f" {facts['model']}: {facts['model_class']} ({facts['model_type']}), {facts['dtype']}"
    )


def _table(output: Output, facts: dict[str, Any]) -> Table:
    from headsmith.report.numbers import counted

    table = output.table(
        ">Layer",
        ">Heads",
        ">Width",
        ">Params",
        ">FLOPs",
        ">Neurons",
        ">Params",
        ">FLOPs",
    )
    layers: dict[int, list[str]] = {}
    for block in facts["blocks"]:
        row = layers.setdefault(block["layer"], [str(block["layer"])])
        before = block["count_unpruned"]
        row.append(f"{block['count']}" + (f" of {before}" if before != block["count"] else ""))
        if block["kind"] == "heads":
            row.append(str(block["width"]) if block["count"] else "–")
        row += [counted(block["parameters"]), f"{block['flops_share']:.1%}"]
    for row in layers.values():
        table.add_row(*row)
    return table


def _totals(facts: dict[str, Any], plan: PrunePlan | None) -> str:
    from headsmith.report.numbers import counted

    lines = [
        f" Parameters  {counted(facts['parameters'])} in all, "
        f"{counted(facts['block_parameters'])} in the blocks above",
        f" FLOPs       {counted(facts['flops'])} for one token of a sequence of "
        f"{facts['length']}, blocks alone",
    ]
    if plan is not None:
        lines.append(
            f" Pruned      {plan.removed('heads'):,} heads and {plan.removed('neurons'):,} neurons "
            "were removed earlier"
        )
    return "\n".join(lines)


def _heat_map(description: Description, rankings: dict[str, Ranking]) -> Any:
    from headsmith.cli.heatmap import HeadMap, HeadRow

    return HeadMap(
        [
            HeadRow(b.layer_index, rankings[b.name].importance, b.count)
            for b in description.blocks
            if b.kind == "heads"
        ]
    )


def _brief(facts: dict[str, Any]) -> list[str]:
    return [f"{b['name']}\t{b['count']}" for b in facts["blocks"]]
