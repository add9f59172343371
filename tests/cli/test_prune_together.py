"""`headsmith prune` in two processes, as a launcher starts them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headsmith.spec.plan import PrunePlan

Run = Callable[..., Any]


def test_one_folder_one_answer_and_the_plan_of_one_process(
    headsmith: Run, tiny_encoder: Path, texts_file: Path, tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = [
        "prune", str(tiny_encoder), "--data", str(texts_file), "--flops", "0.5", "--length", "16",
        "--batch-size", "8", "--no-time",
    ]  # fmt: skip
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "headsmith.cli", *arguments, "-o", str(tmp_path / "two"),
             "--format", "json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ, "WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
            },
        )
        for rank in range(2)
    ]  # fmt: skip
    answers = [process.communicate(timeout=120) for process in started]
    assert [p.returncode for p in started] == [0, 0], answers
    assert answers[1][0] == ""
    assert json.loads(answers[0][0])["written"]["model"] == str(tmp_path / "two")
    assert headsmith(*arguments, "-o", tmp_path / "one").code == 0
    one, two = (
        PrunePlan.from_json((tmp_path / name / "headsmith-plan.json").read_text())
        for name in ("one", "two")
    )
    assert one == two
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]
