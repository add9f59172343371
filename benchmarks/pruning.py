"""Pruning a sentence encoder: what is left of its accuracy, and how fast it is.

The model is all-MiniLM-L6-v2, the task STS-B (Spearman correlation of cosine and human score on
the development set), the calibration text the training sentences without their labels. The data
is not part of this repository: name a folder that holds `sts-train.csv` and `sts-dev.csv` in
`STSB`, and run `make bench ONLY=pruning STSB=folder`.
"""

import copy
import csv
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer

from headsmith.cli.demo import _model_folder
from headsmith.pruning import MatchEmbedding, prune, tokenize
from headsmith.pruning.latency import measure
from headsmith.pruning.pipeline import Pruned

OUT = Path(__file__).parent / "out" / "pruning.csv"
KEPT = (0.7, 0.5, 0.33, 0.25)
PEERS = ("random", "magnitude", "gradient", "fisher")
SHAPE = {"batch": 32, "length": 128}


def main() -> None:
    """Measure every way at every size, print and save a table."""
    folder = os.environ.get("STSB", "")
    if not Path(folder, "sts-dev.csv").is_file():
        print("The topic pruning needs STS-B: make bench ONLY=pruning STSB=folder")
        return
    task = Task(Path(folder))
    dense = task.model()
    print(f"{'':<34}{'Spearman':>9}{'of dense':>10}{'faster':>8}{'job, s':>8}")
    rows = []
    for name, kept, seconds, model in ways(task, dense):
        score = task.score(model)
        if not rows:
            whole = score
        found = measure({"dense": dense, "this": model}, **SHAPE, max_seconds=20)
        faster = found["dense"].median_ms / found["this"].median_ms
        rows.append(
            {
                "way": name,
                "flops_kept": kept,
                "spearman": f"{score:.2f}",
                "of_dense": f"{score / whole:.4f}",
                "faster_32x128": f"{faster:.2f}",
                "job_seconds": f"{seconds:.0f}",
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
            }
        )
        told = f"{score:>9.2f}{score / whole:>10.2%}{faster:>7.2f}×{seconds:>8.0f}"
        print(f"{name:<28}{kept:>6.0%}{told}", flush=True)
        OUT.parent.mkdir(exist_ok=True)
        with OUT.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def ways(task: "Task", dense: nn.Module) -> Iterator[tuple[str, float, float, nn.Module]]:
    """Give (name, FLOPs kept, seconds of the job, model), the unpruned model first."""
    yield "unpruned", 1.0, 0.0, dense
    yield "int8 dynamic quantisation", 1.0, 0.0, quantised(dense)
    for kept in KEPT:
        for score in PEERS:
            # As peers do it: every block alike, nothing tried, nothing repaired.
            name = f"{score}, every block alike"
            yield name, kept, *_job(task, keep=kept, score=score, mend=False)
        seconds, model = _job(task, flops=kept)
        yield "headsmith", kept, seconds, model
        if kept == 0.5:
            yield "headsmith, then int8", kept, seconds, quantised(model)
    minutes = float(os.environ.get("FINETUNE", "0"))
    for kept in KEPT[2:] if minutes else ():
        name = f"headsmith, distilled {minutes:g} min"
        yield name, kept, *_job(task, flops=kept, finetune_minutes=minutes)


def _job(task: "Task", **settings: Any) -> tuple[float, nn.Module]:
    model = task.model()
    begun = time.perf_counter()
    result: Pruned = prune(model, task.calibration, MatchEmbedding(), length=128, **settings)
    return time.perf_counter() - begun, result.model


def quantised(model: nn.Module) -> nn.Module:
    """Linear layers in 8-bit integers, activations scaled as they come."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(  # type: ignore[no-any-return]
            copy.deepcopy(model), {nn.Linear}, dtype=torch.qint8
        )


class Task:
    """STS-B, and the model that is measured on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = _model_folder()
        self.tokenizer = AutoTokenizer.from_pretrained(self.path)
        pairs = [row[5:7] for row in self._rows("sts-train.csv")]
        texts = list(dict.fromkeys(text.strip() for pair in pairs for text in pair))
        self.calibration = tokenize(texts, self.tokenizer, max_length=64).calibration
        dev = self._rows("sts-dev.csv")
        self.human = [float(row[4]) for row in dev]
        self.pairs = [(row[5], row[6]) for row in dev]

    def _rows(self, name: str) -> list[list[str]]:
        with (self.folder / name).open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))

    def model(self) -> nn.Module:
        """A fresh copy of the unpruned model."""
        return AutoModel.from_pretrained(self.path).eval()

    def score(self, model: nn.Module) -> float:
        """Spearman correlation times 100."""
        texts = sorted({text for pair in self.pairs for text in pair}, key=len)
        found = {}
        with torch.no_grad():
            for first in range(0, len(texts), 64):
                part = texts[first : first + 64]
                batch = self.tokenizer(
                    part, padding=True, truncation=True, max_length=128, return_tensors="pt"
                )
                embedded = MatchEmbedding().target(model(**batch), batch)
                found |= dict(zip(part, embedded, strict=True))
        cosines = [float(found[a] @ found[b]) for a, b in self.pairs]
        return 100 * float(np.corrcoef(_ranks(cosines), _ranks(self.human))[0, 1])


def _ranks(values: list[float]) -> Any:
    """Ranks, the mean of their places for equal values."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]
