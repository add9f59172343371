"""Test models in the style of Transformers 4, loaded afresh while everything is restored."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from headsmith.compat import is_restored, restore, undo

HERE = Path(__file__).parent
TABLE_OF = (5, 23)
"""The Transformers 5 that the tables of names and methods were checked on."""
_numbers = itertools.count()


def has_its_own(method: str) -> bool:
    """Whether this Transformers, unlike that of the tables, still has a method of models."""
    from transformers import PreTrainedModel

    found = getattr(PreTrainedModel, method, None)
    return str(getattr(found, "__module__", "")).startswith("transformers")


def before_the_tables() -> bool:
    """Whether this is a Transformers 5 older than that of the tables."""
    told = importlib.metadata.version("transformers").split(".")
    return (5, 0) <= (int(told[0]), int(told[1])) < TABLE_OF


def _load(path: Path) -> ModuleType:
    name = f"headsmith_tests_{path.stem}_{next(_numbers)}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", autouse=True)
def _as_transformers_is() -> Iterator[None]:
    """Begin with nothing restored, even where the whole suite runs with it on."""
    was = is_restored()
    undo()
    yield
    if was:
        restore()


@pytest.fixture(scope="module")
def restored(_as_transformers_is: None) -> Iterator[None]:
    """Everything restored for the tests of one file."""
    with restore():
        yield


@pytest.fixture(scope="session")
def load() -> Callable[[Path], ModuleType]:
    """Import a file as a module of its own."""
    return _load


@pytest.fixture(scope="session")
def scenarios() -> ModuleType:
    """What is done with the test models."""
    return _load(HERE / "scenarios.py")


@pytest.fixture(scope="module")
def model_file(restored: None) -> Callable[[str], ModuleType]:
    """A test model's module by name, one for all tests of a file."""
    loaded: dict[str, ModuleType] = {}

    def get(name: str) -> ModuleType:
        if name not in loaded:
            loaded[name] = _load(HERE / "models" / f"{name}.py")
        return loaded[name]

    return get


@pytest.fixture
def write_module(tmp_path: Path) -> Callable[[str], ModuleType]:
    """Write source code into a file and import it."""

    def write(source: str) -> ModuleType:
        path = tmp_path / f"written_{next(_numbers)}.py"
        path.write_text(source, encoding="utf-8")
        return _load(path)

    return write
