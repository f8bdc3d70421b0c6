"""Sphinx configuration: `sphinx-build -W -b html docs docs/_build/html`."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # nothing is computed, so no device is claimed

import _docstrings  # noqa: E402
import _pages  # noqa: E402
import _reference  # noqa: E402

import jmeta  # noqa: E402

project = "jmeta"
author = "the jmeta authors"
copyright = author
version = release = jmeta.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_design",
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
nitpicky = False

html_theme = "sphinx_book_theme"
html_title = "jmeta"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {
    "navbar_persistent": [],
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
}

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# The notebooks are stored without outputs. "force" runs them all, which takes some minutes.
nb_execution_mode = os.environ.get("JMETA_DOCS_NOTEBOOKS", "off")
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_rtype = False

linkcheck_ignore = [r"https?://.*"] if os.environ.get("JMETA_DOCS_OFFLINE") else []
linkcheck_timeout = 10


def setup(app) -> None:
    """Connect the hooks that write pages and read docstrings."""
    app.connect("builder-inited", lambda app: _reference.write(HERE / "reference"))
    app.connect("builder-inited", lambda app: _pages.copy_notebooks(HERE / "notebooks"))
    app.connect("source-read", _pages.read)
    app.connect("autodoc-process-docstring", _docstrings.process, priority=100)
    app.connect("autodoc-process-signature", _docstrings.signature)
    app.connect("autodoc-skip-member", _docstrings.skip)
    app.connect("missing-reference", _reference.resolve)
