"""Two processes that prune one model together come to what one comes to."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TINY_MODELS, batch_for

from headsmith.pruning import prune
from headsmith.pruning.processes import add_up, agree, all_of, from_first, processes, share

_CODE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from test_processes import job
from headsmith.pruning.processes import all_of, is_first, number, processes
with processes() as together:
    found = [job(kind, together, number()) for kind in sys.argv[2:]]
    told = all_of(found)
    if is_first():
        print(json.dumps(told))
"""


def job(kind: str, together: int = 1, number: int = 0) -> dict[str, Any]:
    """One job; what came of it as plain data."""
    torch.manual_seed(0)
    model = TINY_MODELS[kind]()
    data = [batch_for(model, size=8, length=12, seed=i) for i in range(5)]
    told: list[str] = []
    result = prune(model, data, flops=0.5, length=12, progress=lambda stage, *_: told.append(stage))
    ranking = next(iter(result.rankings.values()))
    return {
        "together": together,
        "plan": result.plan.to_dict(),
        "refits": {name: r.ridge for name, r in result.refits.items()},
        "sum": float(sum(p.detach().double().abs().sum() for p in model.parameters())),
        "bits": hashlib.sha256(
            b"".join(p.detach().numpy().tobytes() for p in model.parameters())
        ).hexdigest(),
        "importance": ranking.importance,
        "statistics": told.count("statistics"),
    }


def _start(count: int, *arguments: str) -> list[subprocess.Popen[str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {
        **os.environ,
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    return [
        subprocess.Popen(
            [sys.executable, "-c", _CODE, str(Path(__file__).parents[1]), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**common, "RANK": str(rank), "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
            )},
        )
        for rank in range(count)
    ]  # fmt: skip


def test_the_plan_and_the_weights_do_not_depend_on_the_number_of_processes() -> None:
    kinds = ("bert", "llama", "t5")
    started = _start(2, *kinds)
    outputs = [process.communicate(timeout=120) for process in started]
    assert all(p.returncode == 0 for p in started), outputs
    assert outputs[1][0] == ""
    first, second = json.loads(outputs[0][0])
    for place, kind in enumerate(kinds):
        one, two = first[place], second[place]
        assert one["together"] == 2
        assert one["bits"] == two["bits"]
        alone = job(kind)
        for found in (one, two):
            assert found["plan"] == alone["plan"]
            assert found["refits"] == alone["refits"]
            assert found["sum"] == pytest.approx(alone["sum"], rel=1e-9)
            assert found["importance"] == pytest.approx(alone["importance"], rel=1e-6)
        # Five batches: three are one's, two the other's.
        assert one["statistics"] > two["statistics"]
        assert alone["statistics"] > one["statistics"]


def test_alone_there_is_one() -> None:
    with processes() as together:
        assert together == 1
    tensor = torch.ones(2)
    add_up(tensor)
    assert tensor.tolist() == [1, 1]
    assert (from_first("x"), all_of("x")) == ("x", ["x"])
    assert share(["a", "b"]) == [(0, "a"), (1, "b")]
    agree("anything", "same")
