"""Memory of scoring a large model: a billion weights in bfloat16, made at random, LLaMA's shape.

`python -m benchmarks.large_model` takes some minutes: 22 layers of 2048 × 5632, 32 heads in 4
groups. `TOKENS` says on how many tokens, `LAYERS` and `NEURONS` how large, `TRIALS=1` also tries
sizes, `LOUD=1` tells the memory on the way.
"""

import csv
import gc
import os
import time
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from headsmith.pruning import rank
from headsmith.pruning.pipeline import make_plan

OUT = Path(__file__).parent / "out" / "large_model.csv"
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def main() -> None:
    """Make the model, score it, print and save the row."""
    tokens = int(os.environ.get("TOKENS", "1024"))
    layers = int(os.environ.get("LAYERS", "22"))
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=2048,
        intermediate_size=int(os.environ.get("NEURONS", "5632")),
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=4,
    )
    process = _resident()
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = LlamaForCausalLM(config).eval()
    torch.set_default_dtype(torch.float32)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    batches = _batches(tokens)
    gc.collect()
    CLEAR.write_text("5")  # high-water mark := what is resident now
    settled = _resident()
    begun = time.perf_counter()
    peaks: dict[str, int] = {}

    def told(stage: str, done: int, total: int) -> None:
        peaks[stage] = _peak()
        if os.environ.get("LOUD"):
            print(f"{stage} {done}/{total} {_peak() / 2**20:,.0f} MiB", flush=True)

    if os.environ.get("TRIALS"):
        make_plan(model, batches, params=0.5, tokens=tokens, progress=told)
    else:
        rank(model, batches, tokens=tokens, progress=told)
    seconds = time.perf_counter() - begun
    if any(p.grad is not None for p in model.parameters()):
        raise RuntimeError("scoring has made gradients of weights")
    peak = _peak()
    row: dict[str, Any] = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "layers": layers,
        "neurons": config.intermediate_size,
        "weights_mib": weights >> 20,
        "tokens": tokens,
        "trials": int(bool(os.environ.get("TRIALS"))),
        "seconds": f"{seconds:.0f}",
        "peak_mib": peak >> 20,
        "process_mib": process >> 20,
        "with_model_mib": settled >> 20,
        "peak_of_weights": f"{(peak - process) / weights:.2f}",
        "peak_and_process_of_weights": f"{peak / weights:.2f}",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    for name, value in row.items():
        print(f"{name:<30}{value}")
    OUT.parent.mkdir(exist_ok=True)
    with OUT.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if not file.tell():
            writer.writeheader()
        writer.writerow(row)


def _batches(tokens: int) -> list[dict[str, torch.Tensor]]:
    """Rows of 128 tokens, two a batch."""
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(32000, (2, 128), generator=generator) for _ in range(-(-tokens // 256))]
    return [{"input_ids": i, "attention_mask": torch.ones_like(i)} for i in ids]


def _resident() -> int:
    return _field("VmRSS")


def _peak() -> int:
    return _field("VmHWM")


def _field(name: str) -> int:
    line = next(row for row in STATUS.read_text().splitlines() if row.startswith(name))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
