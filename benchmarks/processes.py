"""Two processes score twice as much data in the time that one scores it once.

`STSB=folder python -m benchmarks.processes`; the data is that of `benchmarks/pruning.py`. Every
process has one thread. The table is saved to `benchmarks/out/processes.csv`.
"""

import csv
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent / "out" / "processes.csv"
TOKENS = 11000


def main() -> None:
    """Score once, then twice the data in two processes, then as much as at first."""
    rows = []
    for count, tokens in ((1, TOKENS), (2, 2 * TOKENS), (1, 2 * TOKENS)):
        found = _together(count, tokens)
        rows.append({"processes": count, "tokens": tokens, **found})
        print(" ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    same = rows[1]["ranking"] == rows[2]["ranking"]
    print("the rankings of two processes are", "those" if same else "NOT those", "of one")
    OUT.parent.mkdir(exist_ok=True)
    with OUT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _together(count: int, tokens: int) -> dict[str, Any]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.processes", str(tokens)],
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "WORLD_SIZE": str(count),
                "RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
            },
        )
        for rank in range(count)
    ]
    told = [process.communicate()[0] for process in started]
    found: dict[str, Any] = json.loads(told[0].strip().splitlines()[-1])
    return found


def score(tokens: int) -> None:
    """One process of several, or the only one."""
    import torch

    from benchmarks.pruning import Task
    from headsmith.pruning import MatchEmbedding, rank
    from headsmith.pruning.processes import all_of, is_first, processes

    torch.set_num_threads(1)
    with processes():
        task = Task(Path(os.environ["STSB"]))
        model = task.model()
        with torch.no_grad():
            model(**task.calibration[0])  # threads and kernels are made before the clock runs
        all_of(None)
        begun = time.perf_counter()
        found = rank(model, task.calibration, MatchEmbedding(), tokens=tokens)
        seconds = time.perf_counter() - begun
        if is_first():
            orders = json.dumps([r.order for r in found.values()])
            ranking = hashlib.sha256(orders.encode()).hexdigest()[:12]
            print(json.dumps({"seconds": f"{seconds:.1f}", "ranking": ranking}))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        score(int(sys.argv[1]))
    else:
        main()
