"""Sentence embeddings to prune: all-MiniLM-L6-v2, and what is measured of it.

The text to calibrate on are the training sentences of STS-B without their scores, or lines of
WikiText-2. Measured are Spearman correlations of cosine and human score (STS-B development set,
SICK), and the accuracy of a linear classifier on frozen embeddings (SST-2). Nothing of headsmith
is needed here, so that peers are measured by the same code in their own environment.
"""

import csv
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

PROBED = 2000
"""Sentences of SST-2 that the linear classifier learns from."""
SICK_PAIRS = 1500
RIDGES = (1e-3, 1e-2, 1e-1)


class Sentences:
    """The model, its data, and its measures.

    Args:
        path: folder of the model.
        stsb: folder with `sts-train.csv` and `sts-dev.csv`.
        sick: folder with `SICK_train.txt`; without it there is no such measure.
        sst2: folder with `train.tsv` and `dev.tsv`; the same.
        wikitext: folder with `valid.txt`, for calibration on general text.
    """

    main = "spearman"
    length = 128

    def __init__(
        self,
        path: Path,
        stsb: Path,
        sick: Path | None = None,
        sst2: Path | None = None,
        wikitext: Path | None = None,
    ) -> None:
        self.path, self.wikitext = path, wikitext
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        pairs = [row[5:7] for row in _rows(stsb / "sts-train.csv")]
        self.texts = list(dict.fromkeys(text.strip() for pair in pairs for text in pair))
        self.labelled = [(row[5], row[6], float(row[4])) for row in _rows(stsb / "sts-train.csv")]
        self.dev = [(row[5], row[6], float(row[4])) for row in _rows(stsb / "sts-dev.csv")]
        self.sick = _sick(sick / "SICK_train.txt")[:SICK_PAIRS] if sick else []
        self.sst2 = tuple(_sst2(sst2 / f"{part}.tsv") for part in ("train", "dev")) if sst2 else ()
        self.measures = ("spearman", *("sick",) * bool(self.sick), *("sst2",) * bool(self.sst2))

    def model(self) -> nn.Module:
        """A fresh copy of the unpruned model."""
        return AutoModel.from_pretrained(self.path).eval()

    def general_texts(self) -> list[str]:
        """Sentences of WikiText-2, headings left out."""
        assert self.wikitext is not None  # noqa: S101
        return wiki_sentences((self.wikitext / "valid.txt").read_text(encoding="utf-8"))

    def score(self, model: nn.Module, transfer: bool = True) -> dict[str, float]:
        """All measures, times 100; without `transfer` only that of the task calibrated on."""
        found = {"spearman": self._correlation(model, self.dev)}
        if not transfer:
            return found
        if self.sick:
            found["sick"] = self._correlation(model, self.sick)
        if self.sst2:
            train, dev = self.sst2
            chosen = random.Random(0).sample(train, PROBED)
            found["sst2"] = probe(
                *(self._embedded(model, part) for part in (chosen, dev)),
            )
        return found

    def embed(self, model: nn.Module, texts: Sequence[str]) -> dict[str, Tensor]:
        """Text → mean of its tokens' states, of length 1."""
        found: dict[str, Tensor] = {}
        order = sorted(set(texts), key=len)
        with torch.inference_mode():
            for first in range(0, len(order), 64):
                part = order[first : first + 64]
                batch = self.tokenizer(
                    part, padding=True, truncation=True, max_length=128, return_tensors="pt"
                )
                hidden = model(**batch)[0]
                weights = batch["attention_mask"].to(hidden).unsqueeze(-1)
                pooled = (hidden * weights).sum(1) / weights.sum(1)
                found |= dict(zip(part, F.normalize(pooled, dim=-1), strict=True))
        return found

    def _correlation(self, model: nn.Module, pairs: Sequence[tuple[str, str, float]]) -> float:
        found = self.embed(model, [text for a, b, _ in pairs for text in (a, b)])
        cosines = [float(found[a] @ found[b]) for a, b, _ in pairs]
        human = [score for *_, score in pairs]
        return 100 * float(np.corrcoef(ranks(cosines), ranks(human))[0, 1])

    def _embedded(self, model: nn.Module, rows: Sequence[tuple[str, int]]) -> tuple[Any, Any]:
        found = self.embed(model, [text for text, _ in rows])
        labels = torch.tensor([label for _, label in rows])
        return torch.stack([found[text] for text, _ in rows]).double(), labels


def probe(train: tuple[Tensor, Tensor], dev: tuple[Tensor, Tensor]) -> float:
    """Percent right of a logistic regression; the ridge is chosen on a fifth of `train`."""
    x, y = train
    cut = len(x) * 4 // 5
    trials = {r: _right(_logistic(x[:cut], y[:cut], r), x[cut:], y[cut:]) for r in RIDGES}
    return _right(_logistic(x, y, max(trials, key=lambda r: trials[r])), *dev)


def _logistic(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """Weights of a logistic regression, the last one its bias; Newton's method, float64."""
    x = F.pad(x, (0, 1), value=1.0)
    weights = x.new_zeros(x.shape[1])
    penalty = torch.full_like(weights, ridge)
    penalty[-1] = 0
    for _ in range(25):
        chance = torch.sigmoid(x @ weights)
        gradient = x.T @ (chance - y) / len(x) + penalty * weights
        spread = (chance * (1 - chance)).clamp(min=1e-6)
        step = torch.linalg.solve(
            (x.T * spread) @ x / len(x) + torch.diag(penalty + 1e-9), gradient
        )
        weights = weights - step
        if float(step.abs().max()) < 1e-8:
            break
    return weights


def _right(weights: Tensor, x: Tensor, y: Tensor) -> float:
    return 100 * float((((F.pad(x, (0, 1), value=1.0) @ weights) > 0) == y.bool()).double().mean())


def ranks(values: Sequence[float]) -> Any:
    """Ranks, the mean of their places for equal values."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def wiki_sentences(text: str) -> list[str]:
    """Sentences of 30 to 400 characters, as people write them: without the marks of tokenizers."""
    found = []
    for line in text.splitlines():
        if line.strip().startswith("=") or not line.strip():
            continue
        plain = re.sub(r" @(.)@ ", r"\1", line.replace("<unk>", ""))
        plain = re.sub(r"\s+([,.;:!?)'])", r"\1", plain.replace(" n't", "n't"))
        found += re.split(r"(?<=[.!?]) +(?=[A-Z])", plain)
    return list(dict.fromkeys(s.strip() for s in found if 30 <= len(s.strip()) <= 400))


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _sick(path: Path) -> list[tuple[str, str, float]]:
    return [(row[1], row[2], float(row[3])) for row in _rows(path)[1:]]


def _sst2(path: Path) -> list[tuple[str, int]]:
    pairs = (line.rpartition("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return [(text.strip(), int(label)) for text, _, label in pairs if label.strip() in ("0", "1")]
