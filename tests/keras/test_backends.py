"""The other backends: Keras keeps the one it was imported with, so each has a process.

A child runs the Keras wing's tests, the contract, the conversions, and the examples in the Keras
wing's docstrings and page. All start together, with the first test that waits for one.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WHAT = (
    "tests/keras",
    "tests/contract",
    "tests/convert",
    "src/headsmith/keras",
    "docs/keras.md",
    "docs/keras-losses.md",
)
GUARD = "HEADSMITH_ONE_BACKEND"

pytestmark = pytest.mark.skipif(GUARD in os.environ, reason="this is the process for one backend")


@pytest.fixture(scope="module")
def children(tmp_path_factory):
    """Start a process for every other backend that is installed; they go on side by side."""
    folder = tmp_path_factory.mktemp("backends")
    running = {}
    for backend in ("tensorflow", "jax", "torch"):
        if backend == os.environ["KERAS_BACKEND"] or find_spec(backend) is None:
            continue
        output = folder / f"{backend}.txt"
        what = [path for path in WHAT if (ROOT / path).exists()]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *what]
        environment = {**os.environ, "KERAS_BACKEND": backend, GUARD: "1"}
        with output.open("w") as file:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
            )
        running[backend] = process, output
    yield running
    for process, _ in running.values():
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_backend(backend, children):
    if backend == os.environ["KERAS_BACKEND"]:
        pytest.skip("this process's own backend")
    if backend not in children:
        pytest.skip(f"{backend} is not installed")
    process, output = children[backend]
    status = process.wait(timeout=1200)
    text = output.read_text(errors="replace")
    assert status == 0, f"on {backend}:\n{text[-20000:]}"
    assert " passed" in text
