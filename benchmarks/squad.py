"""`SQuADHead`, whole: beam search and training step, with and without masked rows."""

from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from transformers import modeling_utils as reference

import headsmith.torch.squad as ours
from benchmarks.harness import Case, Sides

SHAPES = [
    *((8, length, hidden) for length in (384, 512) for hidden in (384, 768, 1024)),
    *((32, 384, hidden) for hidden in (384, 768)),
]
"""Batch, length, hidden size."""
VALID = 0.42
"""Share of the positions that may be an answer: the context less its padding."""


def cases() -> Iterator[Case]:
    """Inference and training at every shape; then what the dtypes cost in exactness."""
    for batch, length, hidden in SHAPES:
        for masked in (False, True):
            rows = f", {VALID:.0%} valid" if masked else ""
            make = partial(_sides, batch, length, hidden, masked)
            setting = f"{batch}×{length}×{hidden}, 5×5 beams{rows}"
            yield Case("SQuADHead inference", setting, partial(make, False), weigh=True)
            setting = f"{batch}×{length}×{hidden}{rows}"
            yield Case("SQuADHead forward + backward", setting, partial(make, True), weigh=True)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        setting = f"8×384×768, 5 starts, {str(dtype).removeprefix('torch.')}"
        yield Case("PoolerEndLogits against float64", setting, partial(_exactness, dtype))


def _sides(batch: int, length: int, hidden: int, masked: bool, train: bool) -> Sides:
    torch.manual_seed(0)
    config = SimpleNamespace(hidden_size=hidden, layer_norm_eps=1e-12, start_n_top=5, end_n_top=5)
    heads = ours.SQuADHead(config), reference.SQuADHead(config)
    heads[1].load_state_dict(heads[0].state_dict())
    x = torch.randn(batch, length, hidden, requires_grad=train)
    kwargs: dict[str, Any] = {"cls_index": torch.zeros(batch, dtype=torch.long)}
    begin = length // 10
    if masked:
        kwargs["p_mask"] = torch.ones(batch, length)
        kwargs["p_mask"][:, begin : begin + int(VALID * length)] = 0
    if train:
        kwargs["start_positions"] = torch.full((batch,), begin + 5)
        kwargs["end_positions"] = torch.full((batch,), begin + 9)
        kwargs["is_impossible"] = torch.zeros(batch)

    def call(head: torch.nn.Module) -> Any:
        if not train:
            with torch.no_grad():
                return head(x, **kwargs)
        (loss,) = head(x, **kwargs)
        return torch.autograd.grad(loss, [x, *head.parameters()])

    return Sides(*(partial(call, head) for head in heads))


def _exactness(dtype: torch.dtype) -> Sides:
    torch.manual_seed(0)
    config = SimpleNamespace(hidden_size=768, layer_norm_eps=1e-12)
    heads = [ours.PoolerEndLogits(config).to(dtype), reference.PoolerEndLogits(config).to(dtype)]
    heads[1].load_state_dict(heads[0].state_dict())
    exact = reference.PoolerEndLogits(config).double()
    exact.load_state_dict(heads[0].state_dict())
    x, start = torch.randn(8, 384, 1, 768).to(dtype), torch.randn(8, 1, 5, 768).to(dtype)

    @torch.no_grad()
    def call(head: torch.nn.Module, x: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        both = x.expand(-1, -1, 5, -1), start.expand(-1, 384, -1, -1)
        scores: torch.Tensor = head(both[0], start_states=both[1])
        return scores

    return Sides(
        *(partial(call, head, x, start) for head in heads),
        truth=partial(call, exact, x.double(), start.double()),
    )
