"""What third parties warn of among themselves, for tests that use Keras."""

import pytest

LINES = (
    "ignore::DeprecationWarning:tensorflow",
    "ignore::DeprecationWarning:keras",
    "ignore::DeprecationWarning:jax",
    # TorchDynamo, of functions of Keras that it looks into.
    "ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning",
    # NumPy, of PyTorch tensors that Keras hands it.
    "ignore:.*__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
)


def allow(items, folder):
    """Let the tests of a folder under tests/ pass over these warnings."""
    for item in items:
        if f"/tests/{folder}/" in item.path.as_posix():
            for line in LINES:
                item.add_marker(pytest.mark.filterwarnings(line))
