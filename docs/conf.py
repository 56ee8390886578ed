"""Sphinx: how the documentation is built. `make docs` does it."""

import os
import sys
from pathlib import Path

import django

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "service.settings")
django.setup()  # before the extensions: the reference reads models and tasks

project = "maintenance"
author = "The maintenance developers"
project_copyright = author
root_doc = "index"
extensions = ["myst_parser", "docs.sphinx_pages"]
exclude_patterns = ["_build", "reference_from_code"]
suppress_warnings = [
    # Titles of included files begin where their page continues.
    "myst.header",
]

myst_heading_anchors = 4  # links to headings, as the pages have them where the repository is read
myst_links_external_new_tab = False

html_theme = "furo"
html_title = "maintenance"
html_show_sphinx = False
html_copy_source = False
