"""A supervised model to prune: MiniLM trained for minutes on SST-2, sentences good or bad.

`SST2` names a folder with `train.tsv` and `dev.tsv` (sentence, tab, 0 or 1). The model is trained
once and kept in `benchmarks/out/sst2`, outside of git.
"""

import os
import random
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.pruning_rows import OUT
from headsmith.files import new_folder
from headsmith.pruning import LossObjective, MatchDistribution
from headsmith.pruning.data import Batch

EPOCHS, BATCH, RATE, LENGTH = 2, 32, 4e-5, 64
MOST_SECONDS = 900
CALIBRATION = 1536


class Classifier:
    """SST-2, and the model that was trained on it.

    Args:
        folder: holds the tables.
        encoder: folder of the encoder to begin with.
    """

    measures = ("accuracy", "agreement")
    main = "accuracy"
    length = LENGTH

    def __init__(self, folder: Path, encoder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(encoder)
        self.train, self.dev = (read(folder / f"{part}.tsv") for part in ("train", "dev"))
        self.path = OUT / "sst2"
        if not (self.path / "config.json").exists():
            self._make(encoder)
        chosen = random.Random(0).sample(self.train, CALIBRATION)
        self.calibration = self.batches(chosen)
        random.Random(1).shuffle(self.calibration)
        self.tests = self.batches(self.dev, 64)
        self._whole = self._choices(self.model())

    def model(self) -> nn.Module:
        """A fresh copy of the trained model."""
        return AutoModelForSequenceClassification.from_pretrained(self.path).eval()

    def objective(self, labels: bool) -> Any:
        """The model's own loss, or the distribution it puts out."""
        return LossObjective(lambda out, batch: out.loss) if labels else MatchDistribution()

    def score(self, model: nn.Module) -> dict[str, float]:
        """Percent of the development set that is right, and that is as the unpruned model says."""
        found = self._choices(model)
        truth = torch.cat([b["labels"] for b in self.tests])
        return {
            "accuracy": 100 * (found == truth).float().mean().item(),
            "agreement": 100 * (found == self._whole).float().mean().item(),
        }

    def batches(self, rows: list[tuple[str, int]], size: int = BATCH) -> list[Batch]:
        """Rows of like length together."""
        order = sorted(rows, key=lambda row: len(row[0]))
        return [self._batch(order[i : i + size]) for i in range(0, len(order), size)]

    def _batch(self, rows: list[tuple[str, int]]) -> Batch:
        batch = self.tokenizer(
            [text for text, _ in rows],
            padding=True,
            truncation=True,
            max_length=LENGTH,
            return_tensors="pt",
        )
        return {**batch, "labels": torch.tensor([label for _, label in rows])}

    def _choices(self, model: nn.Module) -> torch.Tensor:
        with torch.inference_mode():
            return torch.cat([model(**batch).logits.argmax(-1) for batch in self.tests])

    def _make(self, encoder: Path) -> None:
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
        batches = self.batches(self.train)
        steps, step = EPOCHS * len(batches), 0
        begun = time.process_time()
        for epoch in range(EPOCHS):
            for batch in random.Random(epoch).sample(batches, len(batches)):
                rate = RATE * min(1.0, (step + 1) / 40) * (1 - step / steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                loss = model(**batch).loss
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                step += 1
                if step % 50 == 0:
                    print(f"  SST-2: step {step} of {steps}, loss {loss.item():.3f}", flush=True)
                if time.process_time() - begun > MOST_SECONDS:
                    break
        with new_folder(self.path, overwrite=True) as aside:
            model.eval().save_pretrained(aside)
            self.tokenizer.save_pretrained(aside)


def read(path: Path) -> list[tuple[str, int]]:
    """Sentences and labels of a table without a head."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.rpartition("\t") for line in lines if line.strip())
    return [(text.strip(), int(label)) for text, _, label in pairs if label.strip() in ("0", "1")]


if __name__ == "__main__":
    from headsmith.cli.demo import _model_folder

    task = Classifier(Path(os.environ["SST2"]), _model_folder())
    print(task.score(task.model()))
