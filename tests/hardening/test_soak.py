"""Many rounds of pruning, saving and loading leave no memory, no files and no threads behind."""

from __future__ import annotations

import gc
import os
import shutil
import threading
from pathlib import Path

import psutil
import pytest
import torch
from tiny import TINY_MODELS, batch_for, output_of

from headsmith.pruning import apply_plan, load, plan_of, save
from headsmith.spec.plan import BlockPlan, PrunePlan

ROUNDS = int(os.environ.get("HEADSMITH_SOAK_ROUNDS", "60"))
PLAN = PrunePlan(
    "bert",
    {
        "encoder.layer.0.attention": BlockPlan("heads", 3, (0, 2)),
        "encoder.layer.1.intermediate": BlockPlan("neurons", 20, tuple(range(9))),
    },
)


@pytest.mark.skipif(not hasattr(psutil.Process, "num_fds"), reason="counts file descriptors")
def test_rounds_leave_nothing_behind(tmp_path: Path) -> None:
    process = psutil.Process()
    half = []

    def once() -> None:
        model = TINY_MODELS["bert"]()
        apply_plan(model, PLAN)
        save(model, tmp_path / "m", overwrite=True)
        loaded = load(tmp_path / "m")
        assert plan_of(loaded) == PLAN
        batch = batch_for(model)
        assert torch.equal(output_of(loaded, batch), output_of(model, batch))

    for number in range(ROUNDS):
        once()
        if number in (ROUNDS // 2, ROUNDS - 1):
            gc.collect()
            half.append((process.num_fds(), threading.active_count(), process.memory_info().rss))
    (files, threads, memory), (files_after, threads_after, memory_after) = half
    assert files_after <= files
    assert threads_after <= threads
    # A model kept alive each round would be some 60 kB; the allocator's own steps are larger.
    assert memory_after - memory < 20_000 * (ROUNDS // 2) + 4 * 2**20
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    shutil.rmtree(tmp_path / "m")
