"""Sphinx's settings. `make docs` builds the site into docs/_build/html."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import headsmith

project = "headsmith"
author = "The headsmith developers"
copyright = "The headsmith developers, Apache-2.0"  # noqa: A001
version = release = headsmith.__version__

extensions = ["myst_parser", "headsmith_docs"]
# The page of bad inputs may not be there; tests/docs compares pages with the table of contents.
suppress_warnings = ["toc.not_readable"]
exclude_patterns = ["_build", "_ext"]
root_doc = "index"
nitpicky = True
# No other project's inventory is fetched: types of PyTorch, Keras and Python stay unlinked.
nitpick_ignore_regex = [("py:.*", r"(?!headsmith\.).*")]
highlight_language = "none"
smartquotes = False
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = "headsmith"
html_static_path = ["_static"]
html_css_files = ["headsmith.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
