"""Two processes that prune one model together come to what one comes to."""

from __future__ import annotations

import copy
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

from headsmith.pruning import apply_plan, distil, make_plan, objective_for, prune
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


def _start(count: int, *arguments: str, code: str = _CODE) -> list[subprocess.Popen[str]]:
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
            [sys.executable, "-c", code, str(Path(__file__).parents[1]), *arguments],
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


_DISTIL = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from test_processes import distilled
from headsmith.pruning.processes import all_of, is_first, number, processes
with processes():
    told = all_of(distilled(number()))
    if is_first():
        print(json.dumps(told))
"""


def distilled(number: int = 0) -> dict[str, Any]:
    """Distil for a second; what came of it, and the places of the batches that were trained on."""
    dense = TINY_MODELS["bert"]()
    data = [batch_for(dense, size=8, length=12, seed=i) for i in range(9)]
    pruned = copy.deepcopy(dense)
    apply_plan(pruned, make_plan(dense, data, keep=0.5, length=12)[0])
    seen = set()

    def remember(module: torch.nn.Module, inputs: Any, kwargs: dict[str, Any]) -> None:
        if torch.is_grad_enabled():
            (place,) = (
                i for i, b in enumerate(data) if torch.equal(b["input_ids"], kwargs["input_ids"])
            )
            seen.add(place)

    pruned.register_forward_pre_hook(remember, with_kwargs=True)
    found = distil(dense, pruned, data, objective_for(dense), minutes=1 / 60)
    weights = b"".join(p.detach().numpy().tobytes() for p in pruned.parameters())
    return {
        "before": found.before,
        "after": found.after,
        "steps": found.steps,
        "seen": sorted(seen),
        "bits": hashlib.sha256(weights).hexdigest(),
    }


def test_two_processes_distil_one_model() -> None:
    started = _start(2, code=_DISTIL)
    outputs = [process.communicate(timeout=120) for process in started]
    assert all(p.returncode == 0 for p in started), outputs
    one, two = json.loads(outputs[0][0])
    assert one["steps"] > 4
    assert one["after"] < one["before"]
    assert {name: one[name] for name in ("bits", "steps", "before", "after")} == {
        name: two[name] for name in ("bits", "steps", "before", "after")
    }
    assert 1 not in {*one["seen"], *two["seen"]}  # set aside to judge by
    assert one["seen"] != []
    assert two["seen"] != []


def test_the_mean_of_gradients_is_that_of_the_batches() -> None:
    """What two processes step along is what one has of both batches."""
    started = _start(2, code=_MEAN)
    outputs = [process.communicate(timeout=120) for process in started]
    assert all(p.returncode == 0 for p in started), outputs
    one, two = json.loads(outputs[0][0])
    # Gradients are 1 and 3 where both have one, 5 in the second alone; the first tells the time.
    assert one["both"] == two["both"] == [2.0, 2.0]
    assert one["second alone"] == two["second alone"] == [2.5]
    assert one["spent"] == two["spent"]
    # The second has nothing finite: what is left is the mean of one.
    assert one["left"] == two["left"] == [7.0, 7.0]
    assert one["none"] is two["none"] is False


_MEAN = """
import json
import torch
from headsmith.pruning.distil import _Together
from headsmith.pruning.processes import all_of, is_first, number, processes
with processes():
    first = is_first()
    a, b = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))
    together = _Together([a, b], 10.0)
    a.grad = torch.full((2,), 1.0 if first else 3.0)
    b.grad = None if first else torch.full((1,), 5.0)
    assert together.mean_gradients()
    told = {"both": a.grad.tolist(), "second alone": b.grad.tolist(), "spent": together.spent}
    a.grad, b.grad = (torch.full((2,), 7.0), torch.zeros(1)) if first else (None, None)
    assert together.mean_gradients()
    told["left"] = a.grad.tolist()
    a.grad = b.grad = None
    told["none"] = together.mean_gradients()
    every = all_of(told)
    if first:
        print(json.dumps(every))
"""


def test_alone_there_is_one() -> None:
    with processes() as together:
        assert together == 1
    tensor = torch.ones(2)
    add_up(tensor)
    assert tensor.tolist() == [1, 1]
    assert (from_first("x"), all_of("x")) == ("x", ["x"])
    assert share(["a", "b"]) == [(0, "a"), (1, "b")]
    agree("anything", "same")
