"""The documentation site: `make docs` builds it into docs/_build/html, offline, with warnings as errors."""

from __future__ import annotations

import dataclasses
import re
from importlib.metadata import version as version_of
from typing import Any

project = "kdda"
author = "the kdda authors"
copyright = "the kdda authors, Apache-2.0"
release = version = version_of("kdda")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
copybutton_exclude = ".linenos, .gp, .go"

# Docstrings name code in single backticks, as Markdown does.
default_role = "literal"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False
python_maximum_signature_line_length = 88
# Another project's types have no page here, and the site reads nothing from the network.
nitpick_ignore_regex = [(r"py:.*", r".*")]

html_theme = "pydata_sphinx_theme"
html_title = "kdda"
html_show_sourcelink = False
html_theme_options = {
    "navbar_align": "left",
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def escape_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Absolute values in docstrings are no substitutions of reStructuredText."""
    lines[:] = [line.replace("|", r"\|") for line in lines]


def add_defaults(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """The defaults of DistillationConfig's arguments: its signature, with those of transformers, would hide them."""
    if name != "kdda.DistillationConfig":
        return
    defaults = {}
    for field in dataclasses.fields(obj):
        if field.default is not dataclasses.MISSING:
            defaults[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = field.default_factory()
    for number, line in enumerate(lines):
        match = re.match(r"^    (\w+): (.*)", line)
        if match and match[1] in defaults and match[1] != "output_dir":
            lines[number] = f"    {match[1]} (default {defaults[match[1]]!r}): {match[2]}"


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", escape_bars, priority=400)
    app.connect("autodoc-process-docstring", add_defaults, priority=410)
