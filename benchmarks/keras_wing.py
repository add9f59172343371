"""The Keras wing beside Transformers 4.34.0 on TensorFlow 2.15, and beside building the logits.

Keras 3 and TensorFlow 2.15 do not live in one environment, so each side has a process of its
own; they take turns, one call after the other, and one waits while the other runs.

`python -m benchmarks.keras_wing WORD ...` measures only the rows whose line in the table holds
one of the words, such as "causal" or "eager", and leaves the others as they were saved.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks import environment, results
from benchmarks.harness import MAX_ROUNDS, Case, Timing
from benchmarks.keras_cases import ALLOCATORS, KerasCase, cases

SAMPLE_SECONDS = 0.02  # a process whose turn comes finds its caches full of the other's data
BUDGET_SECONDS, MIN_ROUNDS = 4.0, 3  # the longest calls last many seconds

EXACT = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""See `memory.py`: what is resident is then what is in use."""

LONGEST_SECONDS = 300
"""A side that gives no answer for so long is ended, and the run with it."""


class Process:
    """A running `keras_side`, asked by calling."""

    def __init__(self, side: str, backend: str, allocator: dict[str, str] | None = None) -> None:
        told = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
        told |= allocator or {}
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
        try:
            self.process.communicate(timeout=LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
        self.complaints.close()

    def __call__(self, do: str, **arguments: Any) -> Any:
        """Ask for something and wait for it."""
        assert self.process.stdin is not None  # noqa: S101
        assert self.process.stdout is not None  # noqa: S101
        print(json.dumps({"do": do, **arguments}), file=self.process.stdin, flush=True)
        watchdog = threading.Timer(LONGEST_SECONDS, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        if not line:
            self.complaints.seek(0)
            raise RuntimeError(
                "Expected an answer of a side of the benchmark. Received: none; it died, or took "
                f"more than {LONGEST_SECONDS} s.\n{self.complaints.read()}"
            )
        return json.loads(line)


def run(words: Sequence[str] = ()) -> Iterator[results.Row]:
    """Measure the cases asked for, or all; both sides of a case are there at the same time."""
    with ExitStack() as stack:
        running: dict[tuple[str, str, str], Process] = {}

        def process(side: str, case: KerasCase) -> Process:
            backend = "tensorflow" if side == "4.34" else case.backend
            key = (side, backend, case.allocator)
            if key not in running:
                told = ALLOCATORS[case.allocator]
                running[key] = stack.enter_context(Process(side, backend, told))
            return running[key]

        for number, case in enumerate(cases()):
            line = f"{case.name}, {_setting(case)}"
            if not words or any(word in line for word in words):
                yield _row(number, case, process("ours", case), process(case.other, case))


def _setting(case: KerasCase) -> str:
    other = {
        "4.34": f"4.34 {case.other_mode}",
        "logits": "building the logits",
        "formula": "4.34's formula on the same TensorFlow",
    }[case.other]
    how = f", {case.allocator}" if case.allocator else ""
    how += ", gradient written into a donated buffer" if case.donate else ""
    return f"{case.setting}; {case.backend}, {case.mode}, beside {other}{how}"


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
    if loops == [1, 1]:  # then that was a round
        seconds = ([once[0]], [once[1]])
    for turn in range(len(seconds[0]), rounds):
        for at in (0, 1) if turn % 2 else (1, 0):
            seconds[at].append((ours, other)[at]("time", loops=loops[at]))
    for side in (ours, other):
        side("drop")
    weights: list[int | None] = [None, None]
    if case.weigh:
        modes = (("ours", case.mode), (case.other, case.other_mode))
        weights = [_weigh(number, side, case.backend, mode) for side, mode in modes]
    told = Case(case.name, _setting(case), lambda: None)
    row = results.row("keras_wing", told, Timing(*seconds), *weights)
    return row | {"transformers": "4.34.0"}


def _weigh(number: int, side: str, backend: str, mode: str) -> int | None:
    with Process(side, backend, EXACT) as fresh:
        found: int | None = fresh("weigh", number=number, mode=mode)
        return found


def main(*words: str) -> None:
    """Measure, print and save, row by row."""
    print(results.header("4.34.0"))
    rows = []
    for row in run(words):
        rows.append(row)
        results.show(row)
        results.save("keras_wing", rows, part=bool(words))


if __name__ == "__main__":
    main(*sys.argv[1:])
