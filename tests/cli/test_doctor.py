"""`headsmith doctor`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import headsmith as package
from headsmith.cli import doctor
from headsmith.extras import EXTRAS

Run = Callable[..., Any]

_WITHOUT = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda n, *a: None if n in ("torch", "safetensors") else find(n, *a)
from headsmith.cli.main import run
code = run(sys.argv[1:])
assert "torch" not in sys.modules, "torch was imported"
sys.exit(code)
"""


def _without_torch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT, *arguments],
        env=dict(os.environ),  # readline, which pytest imports, sets COLUMNS behind its back
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_versions_and_extras(headsmith: Run) -> None:
    answer = headsmith("doctor")
    assert (answer.code, answer.err) == (0, "")
    assert package.__version__ in answer.out
    for word in ("torch", "transformers", "processor", "threads", *EXTRAS):
        assert word in answer.out


def test_json(headsmith: Run) -> None:
    found = json.loads(headsmith("doctor", "--format", "json").out)
    assert set(found["extras"]) == set(EXTRAS)
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["machine"]["cores"] >= 1


def test_without_torch_it_says_how_to_mend_it() -> None:
    done = _without_torch("doctor")
    assert done.returncode == 0, done.stderr
    assert "lacks torch; lacks safetensors" in done.stdout
    assert "cannot be imported" not in done.stdout
    assert "pip install --upgrade 'headsmith[pruning]'" in done.stdout


def test_strict_fails_when_something_lacks() -> None:
    assert _without_torch("doctor", "--strict").returncode == 4


def test_strict_is_content_when_nothing_lacks(
    headsmith: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "missing", lambda extra: [])
    assert headsmith("doctor", "--strict").code == 0


def test_other_commands_name_the_extra_they_need() -> None:
    done = _without_torch("inspect", "model")
    assert (done.returncode, done.stdout) == (4, "")
    assert "pip install 'headsmith[pruning]'" in done.stderr


def test_quiet_prints_only_what_to_mend(headsmith: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "missing", lambda extra: ["gone"] if extra == "demo" else [])
    answer = headsmith("doctor", "-q")
    assert answer.out == "demo: pip install --upgrade 'headsmith[demo]'\n"


def test_an_old_package_is_told(monkeypatch: pytest.MonkeyPatch, headsmith: Run) -> None:
    monkeypatch.setattr(
        doctor,
        "_requirements",
        lambda: [
            'transformers>=99.1; extra == "pruning"',
            'torch>=2; extra == "pruning"',
            'headsmith[torch]; extra == "pruning"',
            'no-such-package>=1; extra == "pruning"',
            "click>=99",
        ],
    )
    (old,) = doctor.outdated("pruning")
    assert old.startswith("transformers ")
    assert old.endswith("(needs 99.1 or later)")
    assert "needs 99.1 or later" in headsmith("doctor").out


def test_a_torch_that_cannot_be_imported(headsmith: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: object) -> None:
        raise OSError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr("headsmith.cli.loading.pick_device", broken)
    answer = headsmith("doctor")
    assert answer.code == 0
    assert "cannot be imported: OSError: libcudart" in answer.out
    assert headsmith("doctor", "--strict").code == 4
