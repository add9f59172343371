"""Run the examples of the docs: `>>>` in docstrings, ```python blocks in Markdown."""

import os
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

# Read when torch is first imported. On tiny tensors a second thread only waits for the first,
# and where the machine is busy that made the suite several times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Read when Keras is first imported; other backends get a process of their own.
os.environ.setdefault("KERAS_BACKEND", "torch")

_FLAGS = ELLIPSIS | NORMALIZE_WHITESPACE

# The examples of one module or one page share a namespace, from top to bottom; in a module it
# holds what the module itself defines.
_docstrings = Sybil(path="src", pattern="*.py", parsers=[DocTestParser(_FLAGS)])
# <!-- skip: next --> above a block leaves it out: for what needs a download, or minutes.
_pages = Sybil(
    patterns=["README.md", "docs/*.md"],
    parsers=[PythonCodeBlockParser(doctest_optionflags=_FLAGS), SkipParser()],
)

pytest_collect_file = (_docstrings + _pages).pytest()
