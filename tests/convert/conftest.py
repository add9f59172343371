import os

from foreign_warnings import allow

os.environ.setdefault("KERAS_BACKEND", "torch")


def pytest_collection_modifyitems(items):
    allow(items, "convert")
