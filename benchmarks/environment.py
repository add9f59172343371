"""The environments that hold the reference: made once, and again when their pins change."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENVIRONMENTS = {
    # Folder, pins, and what is asked for.
    "torch": (".venv-bench", "bench.txt", ("transformers", "torch", "numpy")),
    # Keras 3 and TensorFlow 2.15 cannot live together: ours runs outside, in `.venv`.
    "tensorflow": (
        ".venv-bench-tf",
        "bench-tensorflow.txt",
        ("transformers", "tensorflow-cpu", "numpy"),
    ),
    # Pruning by others; TextPruner does not know Transformers 5.
    "peers": (
        ".venv-bench-peers",
        "peers.txt",
        (),  # all that is pinned: TextPruner asks for another NumPy than it works with
    ),
}


def python(framework: str = "torch") -> Path:
    """Give the interpreter of an environment, which is made first if it is missing."""
    name, constraints, wanted = ENVIRONMENTS[framework]
    folder = ROOT / name
    interpreter = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp, pinned = folder / ".installed", ROOT / "constraints" / constraints
    pins = pinned.read_text(encoding="utf-8")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == pins:
        return interpreter
    print(f"Installing into {name}: a few minutes the first time.")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    what = ["--constraint", pinned, *wanted] if wanted else ["--no-deps", "--requirement", pinned]
    subprocess.run([interpreter, *install, *what], check=True)
    # Written last: an installation that was interrupted is done again.
    stamp.write_text(pins, encoding="utf-8")
    return interpreter
