"""Run records to draw: one like those of a real run, and the bare minimum."""

from __future__ import annotations

import random

import pytest

from headsmith.spec.run import BlockRun, LatencyRun, RunRecord, Timing


@pytest.fixture
def record() -> RunRecord:
    """A sentence encoder of six layers, cut to half its FLOPs."""
    generator = random.Random(0)
    blocks = []
    for layer, heads in enumerate((7, 6, 5, 6, 0, 11)):
        for kind, name, count, left in (
            ("heads", "attention", 12, heads),
            ("neurons", "intermediate", 1536, 600 + 50 * layer),
        ):
            importance = [generator.random() for _ in range(count)]
            order = sorted(range(count), key=lambda i: importance[i])
            kept = sorted(order[count - left :])
            path = f"encoder.layer.{layer}.{name}"
            blocks.append(BlockRun(path, kind, layer, count, kept, importance, 0.02, 0.005))
    return RunRecord(
        model="sentence-transformers/all-MiniLM-L6-v2",
        model_type="bert",
        model_class="BertModel",
        headsmith="0.1.0",
        versions={"python": "3.11.7", "torch": "2.13.0"},
        machine={"device": "cpu", "cores": 2, "threads": 2},
        created="2025-06-01T12:34:56+00:00",
        command="headsmith prune all-MiniLM-L6-v2 --data texts.txt --flops 0.5 -o smaller",
        settings={"flops": 0.5, "length": 128, "seed": 0, "repair": True, "output": "smaller"},
        data={"source": "texts.txt", "texts": 1536, "tokens": 48211, "held_out": 128},
        blocks=blocks,
        before={
            "parameters": 22713216,
            "encoder_parameters": 10617600,
            "flops": 22413312,
            "bytes": 90852864,
        },
        after={
            "parameters": 17398912,
            "encoder_parameters": 5303296,
            "flops": 11204210,
            "bytes": 69595648,
        },
        quality={"cosine": 0.9413, "cosine_low": 0.8812},
        latency=[
            LatencyRun(1, 32, Timing(9.84, 9.51, 10.6, 64), Timing(6.41, 6.2, 6.9, 64)),
            LatencyRun(32, 128, Timing(812.0, 790.1, 861.0, 10), Timing(441.3, 433.0, 470.2, 10)),
        ],
        seconds={"statistics": 14.2, "sensitivity": 41.8},
        samples=[{"text": "A class definition defines a class object.", "cosine": 0.972}],
    )


@pytest.fixture
def bare() -> RunRecord:
    """A record of which everything that may be empty is."""
    return RunRecord("m", "bert", "BertModel", "0.1.0", {}, {}, "", "", {}, {}, [], {}, {})
