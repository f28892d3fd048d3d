"""Sphinx: `make docs` builds docs/_build/html."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tf_syncrec

project = "tf_syncrec"
version = release = tf_syncrec.__version__
copyright = "the authors of tf_syncrec"

extensions = [
    "myst_parser",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]

# Pages are also read where they are kept, so they are plain Markdown with $formulas$.
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
# Links to files of the tree that are no pages work where the tree is shown.
# Docstrings are read in editors first: a name in backticks there may be anything.
suppress_warnings = ["myst.xref_missing", "ref.python", "docutils"]
default_role = "code"

root = Path(__file__).resolve().parent.parent
apidoc_modules = [
    {
        "path": str(root / package),
        "destination": f"api/{package}",
        "separate_modules": True,
        "module_first": True,
        "automodule_options": {"members", "show-inheritance"},
    }
    for package in ("data_prep", "tf_syncrec", "serving")
]
autodoc_member_order = "bysource"
autodoc_mock_imports = ["pyspark", "pytorch_lightning", "recbole", "rectools", "torch"]
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "tf_syncrec"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
