"""`python -m benchmarks [--only TOPIC]`: run the topics beside Transformers 4.34.0."""

import argparse
import importlib
import os
import subprocess
import sys

from benchmarks import APART, HERE, TOPICS, environment


def main() -> int:
    """Go over to the environment of the reference, and run there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=TOPICS, action="append", help="run this topic alone")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    topics = arguments.only or list(TOPICS)
    if arguments.inside:
        return run(topics)
    status = 0
    here = [topic for topic in topics if topic in HERE]
    if here:
        status = _inside(sys.executable, here)
    inside = [topic for topic in topics if topic not in (*HERE, *APART)]
    if inside:
        status = _inside(environment.python(), inside) or status
    for topic in topics:
        if topic in APART:
            importlib.import_module(f"benchmarks.{topic}").main()
    return status


def _inside(interpreter: str | os.PathLike[str], topics: list[str]) -> int:
    choice = [word for topic in topics for word in ("--only", topic)]
    return subprocess.run(
        [interpreter, "-m", "benchmarks", "--inside", *choice],
        cwd=environment.ROOT,
        # Ours comes from the source tree: it is not installed beside the reference.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."]), **QUIET},
        check=False,
    ).returncode


QUIET = {
    # Transformers 4.34 on a PyTorch of today warns about names that have since moved.
    "PYTHONWARNINGS": "ignore",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_OFFLINE": "1",
}


def run(topics: list[str]) -> int:
    """Measure, print and save; both sides are importable here."""
    # Not before: the environment that starts the benchmarks may have neither of these.
    from benchmarks import memory, results
    from benchmarks.harness import measure

    print(results.header())
    for topic in topics:
        rows = []
        for number, case in enumerate(importlib.import_module(f"benchmarks.{topic}").cases()):
            timing = measure(case.make())
            sides = ("ours", "reference")
            weights = [memory.weigh(topic, number, s) if case.weigh else None for s in sides]
            rows.append(results.row(topic, case, timing, *weights))
            results.show(rows[-1])
            results.save(topic, rows)
    print(f"\nSaved to {results.CSV.relative_to(environment.ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
