"""The package as a whole: what importing it brings, and what it promises."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import headsmith
from headsmith import errors, extras

_FRAMEWORKS = ("torch", "transformers", "keras", "tensorflow", "jax", "numpy", "libcst")


def _loaded(code: str) -> set[str]:
    program = f"import sys; {code}; print(*(m for m in {_FRAMEWORKS!r} if m in sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


def test_importing_headsmith_takes_no_framework_with_it() -> None:
    assert _loaded("import headsmith, headsmith.errors, headsmith.spec.plan") == set()


def test_that_test_can_fail() -> None:
    assert "torch" in _loaded("import headsmith.torch")


def test_the_pytorch_wing_takes_no_transformers_with_it() -> None:
    assert "transformers" not in _loaded("import headsmith.torch")


@pytest.mark.parametrize("name", sorted(headsmith.__all__))
def test_public_names_exist(name: str) -> None:
    assert getattr(headsmith, name) is not None


@pytest.mark.parametrize(
    "module", ["headsmith.torch", "headsmith.pruning", "headsmith.errors", "headsmith.qa"]
)
def test_all_names_what_is_there(module: str) -> None:
    found = import_module(module)
    assert sorted(set(found.__all__)) == sorted(found.__all__)
    assert all(hasattr(found, name) for name in found.__all__)


def test_one_exception_tree() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.HeadsmithError)


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'headsmith\[pruning\]'"):
        extras.require("transformers", "pruning")
    assert extras.missing("torch") == ["torch"]
