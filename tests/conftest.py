"""What all tests share: seeds, Hypothesis settings and the recorded cases of 4.34."""

import importlib.metadata
import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import hypothesis
import numpy as np
import pytest

# Derandomized: a gate that is red one day in ten teaches people to press the button again.
hypothesis.settings.register_profile("headsmith", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("headsmith")


def _golden_reader() -> ModuleType:
    """Load tests/golden/reader.py by its path: the tests are no package, on no import path."""
    path = Path(__file__).parent / "golden" / "reader.py"
    spec = importlib.util.spec_from_file_location("golden_reader", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there for the module of a class
    spec.loader.exec_module(module)
    return module


_READER = _golden_reader()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "golden(group): run for every recorded case of the group, given as `case`"
    )
    # DeBERTa-v2 of early versions of Transformers 5 warns when it is imported.
    config.addinivalue_line(
        "filterwarnings", "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
    )
    config.addinivalue_line(
        "markers", "needs_v5(reason): left out on Transformers 4, for the reason given"
    )


def _is_transformers_4() -> bool:
    try:
        return importlib.metadata.version("transformers").startswith("4.")
    except importlib.metadata.PackageNotFoundError:
        return False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not _is_transformers_4():
        return
    for item in items:
        for marker in item.iter_markers("needs_v5"):
            item.add_marker(pytest.mark.skip(reason=f"needs Transformers 5: {marker.args[0]}"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for marker in metafunc.definition.iter_markers("golden"):
        cases = _READER.read(*marker.args)
        metafunc.parametrize("case", cases, ids=[case["id"].partition("/")[2] for case in cases])


@pytest.fixture(scope="session")
def golden() -> ModuleType:
    """The reader of recorded cases, with its comparisons."""
    return _READER


@pytest.fixture(scope="session")
def v5() -> bool:
    """Whether Transformers is 5 or later; what 4.57 does otherwise is asserted too."""
    return not _is_transformers_4()


@pytest.fixture(autouse=True)
def seed() -> int:
    """Seed every generator that is there; torch only if someone has imported it."""
    number = 0
    random.seed(number)
    np.random.seed(number)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(number)
    return number


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """A fresh NumPy generator."""
    return np.random.default_rng(seed)
