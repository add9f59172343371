"""Ours beside Transformers 4.34.0, in one process: `make bench`, or `make bench ONLY=slicing`.

- `environment.py` makes `.venv-bench` and `.venv-bench-tf`, which hold the reference.
- `harness.py` times both sides in turns; `memory.py` weighs each in a process of its own.
- `results.py` writes `benchmarks/out/results.csv` and prints the table.
- Every other module is a topic: it has `cases()`, and its name is listed in `TOPICS`.
- `losses.py` runs in the project's own environment, beside Transformers 5.
- `keras_wing.py` is a topic apart: two processes take turns, ours and 4.34 on TensorFlow 2.15.
  `keras_cases.py` has its table, `keras_work.py` both sides, `keras_side.py` is a process.
- `pruning.py` is another: accuracy against speed on STS-B, which the caller brings.
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
    "keras_wing",
    "pruning",
)
HERE = ("losses",)
APART = ("keras_wing", "pruning")
