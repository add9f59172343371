"""The environment that holds the reference: made once, and again when its pins change."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".venv-bench"
PINS = ROOT / "constraints" / "bench.txt"
WANTED = ("transformers", "torch", "numpy")


def python() -> Path:
    """Give the interpreter of the environment, which is made first if it is missing."""
    interpreter = FOLDER / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = FOLDER / ".installed"
    pins = PINS.read_text(encoding="utf-8")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == pins:
        return interpreter
    print(f"Installing Transformers 4.34.0 into {FOLDER.name}: a few minutes the first time.")
    subprocess.run([sys.executable, "-m", "venv", FOLDER], check=True)
    install = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([interpreter, *install, "--constraint", PINS, *WANTED], check=True)
    # Written last: an installation that was interrupted is done again.
    stamp.write_text(pins, encoding="utf-8")
    return interpreter
