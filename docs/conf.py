"""Sphinx configuration; `make docs` builds with warnings as errors."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import credit_payments

project = "credit-payments"
author = "The credit-payments authors"
copyright = author
release = credit_payments.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "executed",
    "generated",
]
exclude_patterns = ["_build", "_ext"]

html_theme = "furo"
html_title = f"credit-payments {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signatures would repeat what the Args sections say
autodoc_default_options = {"members": True}
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = True

# Docstrings mark code with single backticks, as Markdown does.
default_role = "code"

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
