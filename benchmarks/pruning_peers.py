"""Torch-Pruning and TextPruner on the same model, data and budget, in an environment of their own.

`python -m benchmarks.pruning_peers REQUEST RESULT` runs there: it reads what to do from one JSON
file and writes what came of it to another. Both prune BERT of Transformers 4.34, which TextPruner
needs; headsmith's engine is not imported. Peers that need labels are given the scores of STS-B's
training pairs: their loss is the squared distance of cosine and score.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from benchmarks.pruning_sentences import Sentences

BATCH, BATCHES = 32, 24
WAYS = (
    "Torch-Pruning, magnitude, uniform",
    "Torch-Pruning, Taylor, uniform",
    "Torch-Pruning, Taylor, global",
    "TextPruner, 4 iterations, even",
    "TextPruner, 4 iterations, uneven",
)


class Paired(nn.Module):
    """The encoder with the loss on pairs of sentences."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert
        self.config = bert.config

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, scores: Tensor
    ) -> dict[str, Tensor]:
        """Loss of a batch whose first half are the first sentences of the pairs."""
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask)[0]
        weights = attention_mask.to(hidden).unsqueeze(-1)
        first, second = ((hidden * weights).sum(1) / weights.sum(1)).chunk(2)
        return {"loss": F.mse_loss(F.cosine_similarity(first, second), scores)}


def batches(task: Sentences) -> list[dict[str, Tensor]]:
    """Pairs with their scores, in the order of a fixed shuffle."""
    order = torch.randperm(len(task.labelled), generator=torch.Generator().manual_seed(0))
    found = []
    for part in order[: BATCH * BATCHES].split(BATCH):
        pairs = [task.labelled[i] for i in part]
        texts = [a for a, _, _ in pairs] + [b for _, b, _ in pairs]
        batch = task.tokenizer(
            texts, padding=True, truncation=True, max_length=64, return_tensors="pt"
        )
        scores = torch.tensor([s / 5 for *_, s in pairs])
        found.append({k: batch[k] for k in ("input_ids", "attention_mask")} | {"scores": scores})
    return found


def prune(way: str, kept: float, model: nn.Module, data: list[dict[str, Tensor]]) -> None:
    """Prune `model` in place."""
    layers = model.encoder.layer
    heads = round(kept * layers[0].attention.self.num_attention_heads)
    neurons = round(kept * layers[0].intermediate.dense.out_features)
    if way.startswith("TextPruner"):
        _text_pruner(model, heads, neurons, data, even=way.endswith(" even"))
    else:
        _torch_pruning(model, kept, data, taylor="Taylor" in way, everywhere="global" in way)


def _torch_pruning(
    model: nn.Module, kept: float, data: list[dict[str, Tensor]], *, taylor: bool, everywhere: bool
) -> None:
    import torch_pruning as tp

    heads = {}
    ignored: list[nn.Module] = []
    for layer in model.encoder.layer:
        attention = layer.attention.self
        for part in (attention.query, attention.key, attention.value):
            heads[part] = attention.num_attention_heads
        ignored += [layer.attention.output.dense, layer.output.dense]
    ignored += [model.embeddings, model.pooler]
    ids = torch.ones(1, 8, dtype=torch.long)
    pruner = tp.pruner.BasePruner(
        model,
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
        importance=tp.importance.GroupTaylorImportance()
        if taylor
        else tp.importance.GroupMagnitudeImportance(),
        global_pruning=everywhere,
        isomorphic=everywhere,
        pruning_ratio=1 - kept,
        head_pruning_ratio=1 - kept,
        ignored_layers=ignored,
        num_heads=heads,
        prune_num_heads=True,
        prune_head_dims=False,
        output_transform=lambda out: out[0].sum(),
    )
    if taylor:
        paired = Paired(model)
        for batch in data:
            paired(**batch)["loss"].backward()
    pruner.step()
    for layer in model.encoder.layer:  # Torch-Pruning leaves these as they were
        attention = layer.attention.self
        attention.num_attention_heads = pruner.num_heads[attention.query]
        attention.all_head_size = attention.query.out_features


def _text_pruner(
    model: nn.Module, heads: int, neurons: int, data: list[dict[str, Tensor]], *, even: bool
) -> None:
    import textpruner

    with tempfile.TemporaryDirectory() as folder:
        pruner = textpruner.TransformerPruner(
            Paired(model),
            textpruner.TransformerPruningConfig(
                target_ffn_size=neurons,
                target_num_of_heads=heads,
                pruning_method="iterative",
                n_iters=4,
                ffn_even_masking=even,
                head_even_masking=even,
            ),
            textpruner.GeneralConfig(use_device="cpu", output_dir=folder),
            base_model_prefix="bert",
        )
        pruner.prune(dataloader=data, save_model=False, rewrite_cache=True)


def sizes(model: nn.Module) -> list[tuple[int, int]]:
    """(heads, neurons) of each layer."""
    return [
        # TextPruner cuts weights and leaves `out_features` as it was.
        (layer.attention.self.num_attention_heads, len(layer.intermediate.dense.weight))
        for layer in model.encoder.layer
    ]


def work(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Prune and measure each (way, kept) that is asked for."""
    folders = {name: Path(path) for name, path in request["folders"].items()}
    task = Sentences(**folders)
    data = batches(task)
    for way, kept in request["jobs"]:
        torch.manual_seed(0)
        model = task.model()
        begun = time.process_time()
        try:
            prune(way, kept, model, data)
            seconds = time.process_time() - begun
            yield {
                "way": way,
                "kept": kept,
                "sizes": sizes(model),
                "cpu_seconds": seconds,
                **task.score(model.eval()),
            }
        except Exception as error:
            # A peer that fails is a row that says so, not the end of the table.
            yield {"way": way, "kept": kept, "failed": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Read a request, write the results so far after each job."""
    from importlib.metadata import version

    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    versions = {
        name: version(name) for name in ("torch", "transformers", "torch-pruning", "textpruner")
    }
    found = []
    for row in work(request):
        found.append(row)
        print(f"  {row}", flush=True)
        Path(sys.argv[2]).write_text(
            json.dumps({"versions": versions, "rows": found}), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
