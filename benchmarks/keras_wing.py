"""The Keras wing beside Transformers 4.34.0 on TensorFlow 2.15, and beside building the logits.

Keras 3 and TensorFlow 2.15 do not live in one environment, so each side has a process of its
own; they take turns, one call after the other, and one waits while the other runs.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from benchmarks import environment, results
from benchmarks.harness import BUDGET_SECONDS, MAX_ROUNDS, SAMPLE_SECONDS, Case, Timing
from benchmarks.keras_cases import KerasCase, cases

MIN_ROUNDS = 3  # the longest calls last many seconds


class Process:
    """A running `keras_side`, asked by calling."""

    def __init__(self, side: str, backend: str, exact: bool = False) -> None:
        told = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
        if exact:  # see `memory.py`: what is resident is then what is in use
            told["MALLOC_MMAP_THRESHOLD_"] = "65536"
        # A file, not a pipe: nobody reads along, and a full pipe would stop the process.
        self.complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 (as long as the process)
        interpreter = environment.python("tensorflow") if side == "4.34" else sys.executable
        self.process = subprocess.Popen(
            [interpreter, "-m", "benchmarks.keras_side", side],
            cwd=environment.ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."]), **told},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            text=True,
        )

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        # Closed input ends the loop of the other process.
        self.process.communicate()
        self.complaints.close()

    def __call__(self, do: str, **arguments: Any) -> Any:
        """Ask for something and wait for it."""
        assert self.process.stdin is not None  # noqa: S101
        assert self.process.stdout is not None  # noqa: S101
        print(json.dumps({"do": do, **arguments}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            self.complaints.seek(0)
            raise RuntimeError(f"A side of the benchmark died:\n{self.complaints.read()}")
        return json.loads(line)


def run() -> Iterator[results.Row]:
    """Measure all cases; both sides of a case are there at the same time."""
    with ExitStack() as stack:
        running: dict[tuple[str, str], Process] = {}

        def process(side: str, backend: str) -> Process:
            key = (side, "tensorflow" if side == "4.34" else backend)
            if key not in running:
                running[key] = stack.enter_context(Process(*key))
            return running[key]

        for number, case in enumerate(cases()):
            sides = (process("ours", case.backend), process(case.other, case.backend))
            yield _row(number, case, *sides)


def _row(number: int, case: KerasCase, ours: Process, other: Process) -> results.Row:
    values = (
        ours("make", number=number, mode=case.mode),
        other("make", number=number, mode=case.other_mode),
    )
    for mine, theirs in zip(*values, strict=True):
        if not math.isclose(mine, theirs, rel_tol=2e-3, abs_tol=1e-3):
            raise RuntimeError(f"Both sides should agree: {case.name}, {mine} and {theirs}.")
    once = [side("time", loops=1) for side in (ours, other)]
    loops = [max(1, math.ceil(SAMPLE_SECONDS / seconds)) for seconds in once]
    rounds = int(BUDGET_SECONDS / sum(t * n for t, n in zip(once, loops, strict=True)))
    rounds = min(MAX_ROUNDS, max(MIN_ROUNDS, rounds))
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds):
        for at in (0, 1) if turn % 2 else (1, 0):
            seconds[at].append((ours, other)[at]("time", loops=loops[at]))
    for side in (ours, other):
        side("drop")
    weights: list[int | None] = [None, None]
    if case.weigh:
        modes = (("ours", case.mode), (case.other, case.other_mode))
        weights = [_weigh(number, side, case.backend, mode) for side, mode in modes]
    told = f"{case.setting}; {case.backend}, {case.mode}, beside " + (
        f"4.34 {case.other_mode}" if case.other == "4.34" else "building the logits"
    )
    row = results.row("keras_wing", Case(case.name, told, lambda: None), Timing(*seconds), *weights)
    return row | {"transformers": "4.34.0"}


def _weigh(number: int, side: str, backend: str, mode: str) -> int | None:
    with Process(side, backend, exact=True) as fresh:
        fresh("make", number=number, mode=mode)
        found: int | None = fresh("weigh")
        return found


def main() -> None:
    """Measure, print and save."""
    print(results.header("4.34.0"))
    rows = []
    for row in run():
        rows.append(row)
        results.show(row)
    results.save("keras_wing", rows)


if __name__ == "__main__":
    main()
