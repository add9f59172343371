"""Ours beside Transformers 4.34.0, in one process: `make bench`, or `make bench ONLY=slicing`.

- `environment.py` makes `.venv-bench`, which holds the reference.
- `harness.py` times both sides in turns; `memory.py` weighs each in a process of its own.
- `results.py` writes `benchmarks/out/results.csv` and prints the table.
- Every other module is a topic: it has `cases()`, and its name is listed in `TOPICS`.
"""

TOPICS = (
    "slicing",
    "heads",
    "conv1d",
    "chunking",
    "squad",
    "summary",
    "losses",
    "whole_models",
    "qa",
)
