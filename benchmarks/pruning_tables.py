"""The tables of the topic pruning, each of them resumable."""

import copy
import json
import os
import subprocess
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import environment, pruning_peers
from benchmarks.pruning_classifier import Classifier
from benchmarks.pruning_language import Language
from benchmarks.pruning_rows import OUT, Row, Table, circumstances
from benchmarks.pruning_sentences import Sentences
from benchmarks.pruning_ways import ALONE, KEPT, Alone, ours
from headsmith.pruning import MatchEmbedding, describe, tokenize
from headsmith.spec.cost import total_flops
from headsmith.spec.plan import BlockPlan, PrunePlan

Folders = Mapping[str, Path]
SIZES = [float(size) for size in os.environ.get("SIZES", "0.5 0.33 0.25 0.7").split()]
MINUTES = float(os.environ.get("FINETUNE", "10"))


def sentences(path: Path, folders: Folders) -> None:
    """MiniLM on STS-B, without labels, beside scores alone and 8-bit integers."""
    task, table = _sentences(path, folders), Table("sentences")
    data = tokenize(task.texts, task.tokenizer, max_length=64).calibration
    whole = _dense(table, task)
    if table.find(way="int8, unpruned", kept=1.0) is None:
        _note(table, task, whole, "int8, unpruned", 1.0, quantised(task.model()))
    for kept in SIZES:
        if table.find(way="headsmith", kept=kept) is None:
            model = task.model()
            plan, seconds, _ = ours(model, data, MatchEmbedding(), 128, flops=kept)
            _note(table, task, whole, "headsmith", kept, model, plan, seconds)
            _note(table, task, whole, "headsmith, then int8", kept, quantised(model), plan, seconds)
    _alone(table, task, whole, data, MatchEmbedding(), labels="")
    if "WIKITEXT" in folders:
        general = tokenize(task.general_texts(), task.tokenizer, max_length=64).calibration
        for kept in SIZES:
            if table.find(way="headsmith, general text", kept=kept) is None:
                model = task.model()
                plan, seconds, _ = ours(model, general, MatchEmbedding(), 128, flops=kept)
                way = "headsmith, general text"
                _note(table, task, whole, way, kept, model, plan, seconds)


def options(path: Path, folders: Folders) -> None:
    """What `--rearrange` and `--rounds` change, on the task of the table of sentences."""
    task, table = _sentences(path, folders), Table("options")
    data = tokenize(task.texts, task.tokenizer, max_length=64).calibration
    whole = _dense(Table("sentences"), task)
    ways: dict[str, dict[str, Any]] = {
        "headsmith": {},
        "headsmith, rearranged": {"rearrange": True},
        "headsmith, 2 rounds": {"rounds": 2},
        "headsmith, 3 rounds": {"rounds": 3},
    }
    for way, settings in ways.items():
        for kept in SIZES:
            if table.find(way=way, kept=kept) is None:
                model = task.model()
                plan, seconds, _ = ours(model, data, MatchEmbedding(), 128, flops=kept, **settings)
                _note(table, task, whole, way, kept, model, plan, seconds)


def peers(path: Path, folders: Folders) -> None:
    """Torch-Pruning and TextPruner, in their own environment, on the same task."""
    task, table = _sentences(path, folders), Table("sentences")
    whole = _dense(table, task)
    jobs = [
        (way, kept)
        for kept in SIZES
        for way in pruning_peers.WAYS
        if table.find(way=way, kept=kept) is None
    ]
    for job in jobs:
        answer = _in_their_environment({"path": path, **_named(folders)}, job)
        (found,) = answer["rows"]
        if "failed" in found:
            print(f"  {job[0]} at {job[1]:.0%}: {found['failed']}")
            continue
        plan = _plan_of_sizes(task.model(), found.pop("sizes"))
        _save_plan(found["way"], found["kept"], plan)
        labels = "yes" if "magnitude" not in found["way"] else ""
        row = {
            "way": found["way"],
            "kept": found["kept"],
            "labels": labels,
            "flops": _flops(task, plan),
            **_scores(task, whole, found),
            "cpu_seconds": found["cpu_seconds"],
            **circumstances(answer["versions"]),
        }
        _tell(task, table.put(row))


def supervised(path: Path, folders: Folders) -> None:
    """A classifier trained on SST-2, with its labels and without."""
    task, table = Classifier(folders["SST2"], path), Table("supervised", ("way", "kept", "labels"))
    _with_and_without_labels(table, task)


def language(path: Path, folders: Folders) -> None:
    """A causal language model trained on WikiText-2, with its own loss and without."""
    task, table = Language(folders["WIKITEXT"]), Table("language", ("way", "kept", "labels"))
    _with_and_without_labels(table, task)


def _with_and_without_labels(table: Table, task: Any) -> None:
    whole = _dense(table, task)
    for kept in SIZES:
        for labels in ("", "yes"):
            if table.find(way="headsmith", kept=kept, labels=labels) is None:
                model = task.model()
                objective = task.objective(bool(labels))
                plan, seconds, _ = ours(model, task.calibration, objective, task.length, flops=kept)
                _note(table, task, whole, "headsmith", kept, model, plan, seconds, labels)
    _alone(table, task, whole, task.calibration, task.objective(True), labels="yes")


def distilled(path: Path, folders: Folders) -> None:
    """`--finetune-minutes` at the small sizes; the minutes are those of the clock."""
    task = _sentences(path, folders)
    table = Table("distilled", ("way", "kept", "minutes"))
    data = tokenize(task.texts, task.tokenizer, max_length=64).calibration
    whole = _dense(Table("sentences"), task)
    for kept in (0.33, 0.25):
        if table.find(way="headsmith", kept=kept, minutes=f"{MINUTES:g}") is None:
            model = task.model()
            begun = time.perf_counter()
            plan, seconds, stages = ours(
                model, data, MatchEmbedding(), 128, flops=kept, finetune_minutes=MINUTES
            )
            more = {
                "minutes": f"{MINUTES:g}",
                "wall_seconds": time.perf_counter() - begun,
                "finetune_wall_seconds": stages.get("distillation", 0.0),
            }
            _note(table, task, whole, "headsmith", kept, model, plan, seconds, "", more)


def timing(path: Path, folders: Folders) -> None:
    """Milliseconds of all models of the table of sentences, in turns, on two shapes."""
    from benchmarks.pruning_timing import fill

    fill(_sentences(path, folders), Table("sentences"), _load_plan, quantised)


def latency(path: Path, folders: Folders) -> None:
    """`--latency 0.5` on two shapes, beside the FLOPs budget that takes as long."""
    from benchmarks.pruning_timing import latency_table

    latency_table(_sentences(path, folders), Table("latency", ("way", "batch", "length")))


def latency_accuracy(path: Path, folders: Folders) -> None:
    """What the models of that table keep."""
    from benchmarks.pruning_timing import latency_accuracy

    latency_accuracy(_sentences(path, folders), Table("latency", ("way", "batch", "length")))


def job(path: Path, folders: Folders) -> None:
    """How long the whole job takes by the clock."""
    task, table = _sentences(path, folders), Table("job", ("kept", "threads"))
    data = tokenize(task.texts, task.tokenizer, max_length=64).calibration
    for kept in (0.5,):
        begun = time.perf_counter()
        _, seconds, stages = ours(task.model(), data, MatchEmbedding(), 128, flops=kept)
        row = {
            "kept": kept,
            "wall_seconds": time.perf_counter() - begun,
            "cpu_seconds": seconds,
            **{f"{name}_seconds": value for name, value in stages.items()},
            **circumstances(),
            "threads": torch.get_num_threads(),
        }
        print(f"  {table.put(row)}")


def quantised(model: nn.Module) -> nn.Module:
    """Linear layers in 8-bit integers, activations scaled as they come."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(  # type: ignore[no-any-return]
            copy.deepcopy(model), {nn.Linear}, dtype=torch.qint8
        )


def _sentences(path: Path, folders: Folders) -> Sentences:
    return Sentences(path, **_named(folders))


def _named(folders: Folders) -> dict[str, Path]:
    return {name.lower(): folder for name, folder in folders.items()}


def _dense(table: Table, task: Any) -> Row:
    found = table.find(way="unpruned", kept=1.0, labels="")
    return found or _note(table, task, {}, "unpruned", 1.0, task.model())


def _alone(table: Table, task: Any, whole: Row, data: Any, objective: Any, labels: str) -> None:
    for score in ALONE:
        way, own = f"{score} alone", labels if score in ("gradient", "fisher") else ""
        missing = [k for k in KEPT if table.find(way=way, kept=k, labels=own) is None]
        if not missing:
            continue
        cut = Alone(score, task.model(), data, objective)
        for kept in missing:
            model = task.model()
            plan = cut(model, kept)
            transfer = not isinstance(task, Sentences)
            _note(table, task, whole, way, kept, model, plan, cut.seconds, own, transfer=transfer)


def _note(
    table: Table,
    task: Any,
    whole: Mapping[str, Any],
    way: str,
    kept: float,
    model: nn.Module,
    plan: PrunePlan | None = None,
    seconds: float | None = None,
    labels: str = "",
    more: Mapping[str, Any] | None = None,
    transfer: bool = True,
) -> Row:
    """Measure a model, and save its row and its plan."""
    if plan is not None:
        _save_plan(f"{table.path.stem} {way} {labels}".strip(), kept, plan)
    row = {
        "way": way,
        "kept": kept,
        "labels": labels,
        **(more or {}),
        "flops": 1.0 if plan is None else _flops(task, plan),
        **_scores(task, whole, task.score(model, **({} if transfer else {"transfer": False}))),
        "cpu_seconds": seconds,
        **circumstances(),
        "threads": torch.get_num_threads(),
    }
    saved = table.put(row)
    _tell(task, saved)
    return saved


def _scores(task: Any, whole: Mapping[str, Any], found: Mapping[str, float]) -> dict[str, float]:
    dense = float(whole.get(task.main) or found[task.main])
    ratio = {"of_dense": found[task.main] / dense}
    return {name: found[name] for name in task.measures if name in found} | ratio


def _tell(task: Any, row: Row) -> None:
    told = "  ".join(f"{name} {float(row[name]):.2f}" for name in task.measures if row.get(name))
    seconds = f"{float(row['cpu_seconds']):.0f} CPU s" if row["cpu_seconds"] else ""
    labels = " with labels" if row["labels"] else ""
    name = f"{row['way']}{labels}"
    share = f"{float(row['of_dense']):.1%}"
    print(f"  {name:<44}{float(row['kept']):>5.0%}  {told}  {share}  {seconds}", flush=True)


def _flops(task: Any, plan: PrunePlan) -> float:
    shapes = describe(task.model()).shapes
    kept = {name: len(block.kept) for name, block in plan.blocks.items()}
    return total_flops(shapes, task.length, kept) / total_flops(shapes, task.length)


def _plan_of_sizes(model: nn.Module, sizes: list[tuple[int, int]]) -> PrunePlan:
    """A plan of these widths; which heads they were does not matter for the time they take."""
    blocks = {}
    for block in describe(model).blocks:
        size = sizes[block.layer_index][0 if block.kind == "heads" else 1]
        blocks[block.name] = BlockPlan(block.kind, block.count, tuple(range(size)))
    return PrunePlan("bert", blocks)


def _plan_file(way: str, kept: float) -> Path:
    name = "".join(c if c.isalnum() else "-" for c in f"{way} {kept}")
    return OUT / "plans" / f"{name}.json"


def _save_plan(way: str, kept: float, plan: PrunePlan) -> None:
    path = _plan_file(way, kept)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(plan.to_json(), encoding="utf-8")


def _load_plan(way: str, kept: float) -> PrunePlan | None:
    for name in (f"pruning-sentences {way}", way):
        path = _plan_file(name, kept)
        if path.exists():
            return PrunePlan.from_json(path.read_text(encoding="utf-8"))
    return None


def _in_their_environment(folders: Mapping[str, Path], job: tuple[str, float]) -> dict[str, Any]:
    OUT.mkdir(parents=True, exist_ok=True)
    request, result = OUT / "peers-request.json", OUT / "peers-result.json"
    told = {"folders": {k: str(v) for k, v in folders.items()}, "jobs": [job]}
    request.write_text(json.dumps(told), encoding="utf-8")
    result.unlink(missing_ok=True)
    subprocess.run(
        [environment.python("peers"), "-m", "benchmarks.pruning_peers", request, result],
        cwd=environment.ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(["src", "."]),
            "PYTHONWARNINGS": "ignore",
            "TRANSFORMERS_VERBOSITY": "error",
        },
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found
