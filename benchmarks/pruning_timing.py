"""Times of the models in the tables; to be taken on a machine that does nothing else.

What a cut model takes depends on its shape alone, so the plans that earlier tables saved are cut
again and timed together, in turns, the unpruned model among them.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from benchmarks.pruning_rows import OUT, Table, circumstances
from headsmith.pruning import MatchEmbedding, apply_plan, describe, tokenize
from headsmith.pruning.budget import Floors
from headsmith.pruning.latency import Ratio, measure, ratio
from headsmith.pruning.latency_search import within_latency
from headsmith.pruning.pipeline import carry_out, make_plan
from headsmith.pruning.score import Ranking
from headsmith.pruning.search import allocate
from headsmith.pruning.sensitivity import Sensitivity
from headsmith.pruning.sharing import twin
from headsmith.spec.cost import total_flops
from headsmith.spec.plan import BlockPlan, PrunePlan

SHAPES = {"1x128": (1, 128, 25.0), "32x128": (32, 128, 130.0)}
"""Name → batch, length, and seconds for all models together."""
FRACTION = 0.5


def fill(
    task: Any,
    table: Table,
    load_plan: Callable[[str, float], PrunePlan | None],
    quantised: Callable[[nn.Module], nn.Module],
) -> None:
    """Put milliseconds into the rows of `table`."""
    dense = task.model()
    models: dict[str, nn.Module] = {"unpruned": dense}
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in table.rows:
        kept, small = float(row["kept"]), "int8" in row["way"]
        plan = load_plan(row["way"], kept)
        if plan is None and kept < 1:
            continue
        shape = "full" if plan is None else str([len(b.kept) for b in plan.blocks.values()])
        name = "unpruned" if plan is None and not small else f"{shape}{small}"
        rows.setdefault(name, []).append(row)
        if name not in models:
            model = twin(dense)
            if plan is not None:
                apply_plan(model, plan)
            models[name] = quantised(model) if small else model
    for shape, (batch, length, seconds) in SHAPES.items():
        found = measure(models, batch=batch, length=length, min_seconds=20, max_seconds=seconds)
        whole = found["unpruned"].median_ms
        for name, alike in rows.items():
            time = found[name]
            for row in alike:
                row |= {
                    f"ms_{shape}": f"{time.median_ms:.2f}",
                    f"ms_{shape}_quartiles": f"{time.low_ms:.2f}–{time.high_ms:.2f}",
                    f"faster_{shape}": f"{whole / time.median_ms:.3f}",
                    "rounds": str(time.rounds),
                    "timing_threads": str(torch.get_num_threads()),
                }
                told = f"{row['way']:<44}{float(row['kept']):>5.0%}  {shape}"
                print(f"  {told} {time.median_ms:>8.1f} ms  {whole / time.median_ms:.2f}×")
        table.save()


def latency_table(task: Any, table: Table) -> None:
    """`--latency 0.5`, and the FLOPs budget whose plan takes as long."""
    model = task.model()
    data = tokenize(task.texts, task.tokenizer, max_length=64).calibration
    search = _Search(model, *_scores(model, data))
    for batch, length, _ in SHAPES.values():
        keys = {"batch": batch, "length": length}
        if table.find(way=f"latency {FRACTION}", **keys) is None:
            plan = within_latency(
                model,
                search.description,
                search.sensitivities,
                FRACTION,
                search.plan_of,
                batch=batch,
                length=length,
                floors=Floors(),
                progress=lambda *_: None,
            )
            _put(table, search, f"latency {FRACTION}", plan, keys)
        if table.find(way="flops, as fast", **keys) is None:
            wanted = float(table.find(way=f"latency {FRACTION}", **keys)["time"])
            _put(table, search, "flops, as fast", search.as_fast(wanted, **keys), keys)


def latency_accuracy(task: Any, table: Table) -> None:
    """What the models of that table keep; done apart, because it does not mind a busy machine."""
    data = tokenize(task.texts, task.tokenizer, max_length=64).calibration
    for row in table.rows:
        if not row.get("spearman"):
            plan = PrunePlan.from_json(_file(row["way"], row).read_text(encoding="utf-8"))
            repaired = carry_out(task.model(), plan, data, MatchEmbedding())
            saved = table.put(row | task.score(repaired.model))
            told = f"{row['way']}, {row['batch']}×{row['length']}"
            print(f"  {told}: {saved['spearman']}", flush=True)


class _Search:
    """The unpruned model with its scores, and plans made of them."""

    def __init__(
        self,
        model: nn.Module,
        rankings: Mapping[str, Ranking],
        sensitivities: Mapping[str, Sensitivity],
    ) -> None:
        self.model, self.description = model, describe(model)
        self.rankings, self.sensitivities = rankings, sensitivities

    def plan_of(self, kept: Mapping[str, int]) -> PrunePlan:
        return PrunePlan(
            self.description.model_type,
            {
                b.name: BlockPlan(b.kind, b.count, self.rankings[b.name].best(kept[b.name]))
                for b in self.description.blocks
            },
        )

    def flops(self, plan: PrunePlan) -> float:
        shapes = self.description.shapes
        kept = {name: len(b.kept) for name, b in plan.blocks.items()}
        return total_flops(shapes, 128, kept) / total_flops(shapes, 128)

    def timed(self, plan: PrunePlan, batch: int, length: int) -> Ratio:
        """A measurement that the search had no part in."""
        small = twin(self.model)
        apply_plan(small, plan)
        return ratio(
            self.model, small, batch=batch, length=length, precision=0.004, max_seconds=30, seed=99
        )

    def as_fast(self, wanted: float, batch: int, length: int) -> PrunePlan:
        """The plan of the FLOPs budget that takes `wanted` of the time, by false position."""
        shapes = self.description.shapes
        whole = total_flops(shapes, 128)
        tried: list[tuple[float, float, PrunePlan]] = []
        budget = 0.9 * wanted
        for _ in range(4):
            kept = allocate(
                shapes, self.sensitivities, lambda s, n: s.flops(128, n), budget * whole
            )
            plan = self.plan_of(kept)
            took = self.timed(plan, batch, length).value
            tried.append((abs(took - wanted), budget, plan))
            if abs(took / wanted - 1) < 0.008:
                break
            budget += 0.95 * (wanted - took)
        return min(tried, key=lambda t: t[0])[2]


def _put(table: Table, search: _Search, way: str, plan: PrunePlan, keys: dict[str, int]) -> None:
    path = _file(way, keys)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(plan.to_json(), encoding="utf-8")
    found = search.timed(plan, **keys)
    row = {
        "way": way,
        **keys,
        "time": found.value,
        "time_error": found.error,
        "rounds": len(found.rounds),
        "flops": search.flops(plan),
        "spearman": "",
        **circumstances(),
        "threads": torch.get_num_threads(),
    }
    table.put(row)
    told = f"{found.value:.3f} ± {found.error:.3f} of the time, {search.flops(plan):.1%} FLOPs"
    print(f"  {way}, {keys['batch']}×{keys['length']}: {told}", flush=True)


def _file(way: str, keys: Mapping[str, Any]) -> Any:
    return OUT / "plans" / f"{way.replace(' ', '-')}-{keys['batch']}-{keys['length']}.json"


def _scores(model: nn.Module, data: Any) -> tuple[dict[str, Ranking], dict[str, Sensitivity]]:
    """Rankings and sensitivities, made once and kept in `benchmarks/out`."""
    path = OUT / "latency-scores.json"
    if not path.exists():
        seen: list[Mapping[str, Sensitivity]] = []

        def look(shapes: Any, sensitivities: Mapping[str, Sensitivity], *rest: Any) -> Any:
            seen.append(sensitivities)
            return allocate(shapes, sensitivities, *rest)

        with patch("headsmith.pruning.pipeline.allocate", look):
            _, rankings = make_plan(model, data, MatchEmbedding(), flops=0.5, length=128)
        kept = {
            name: {
                "order": [int(i) for i in ranking.order],
                "importance": [float(i) for i in ranking.importance],
                "sizes": seen[0][name].sizes,
                "errors": seen[0][name].errors,
            }
            for name, ranking in rankings.items()
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept), encoding="utf-8")
    read = json.loads(path.read_text(encoding="utf-8"))
    return (
        {n: Ranking(tuple(v["order"]), tuple(v["importance"])) for n, v in read.items()},
        {n: Sensitivity(tuple(v["sizes"]), tuple(v["errors"])) for n, v in read.items()},
    )
