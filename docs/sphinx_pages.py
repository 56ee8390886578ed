"""What this documentation needs beside Sphinx: its reference from the code, and guides by themselves."""

from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.directives.other import TocTree

from docs.reference_from_code.pages import write

ROOT = Path(__file__).parents[1]

#: Pages beside the index that are no guides to a task of an operator.
NO_GUIDES = frozenset(
    {"index", "benchmarks", "reliability", "guide-coverage", "design-notes", "decisions"}
)

#: Files of the repository that are pages here, too.
PAGES_OF_FILES = {
    "ARCHITECTURE.md": "explanation/architecture",
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "README.md": "overview",
    "SECURITY.md": "security",
}


class Guides(TocTree):
    """A table of contents of every page in the folder itself that is named nowhere else.

    A guide that somebody adds is listed without an edit.
    """

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        named = NO_GUIDES | set(PAGES_OF_FILES.values())
        guides = sorted(
            name for name in self.env.found_docs if "/" not in name and name not in named
        )
        self.content = StringList(guides, source=self.env.docname)
        return super().run()


def write_reference(app: Sphinx) -> None:
    """Write the reference before Sphinx looks for pages."""
    write(Path(app.srcdir) / "reference" / "from_code")


def lead_to_pages(app: Sphinx, doctree: nodes.document) -> None:
    """Lead links to files of the repository to their pages here, and make text of one without a page.

    A link to a file that is not there is left as it is, and fails the build.
    """
    for link in list(doctree.findall(pending_xref)):
        path = _file_of(app, link)
        if path is None:
            continue
        page = PAGES_OF_FILES.get(path.relative_to(ROOT).as_posix())
        if page is None:
            link.replace_self(nodes.literal("", link.astext()))
        else:
            link.attributes |= {
                "refdomain": "doc",
                "reftarget": page,
                "reftargetid": link.get("reftargetid"),
            }


def _file_of(app: Sphinx, link: pending_xref) -> Path | None:
    """Return the file of the repository that a link names, which is no page of this folder."""
    target = str(link.get("reftarget") or "")
    if link.get("refdomain") == "doc":
        path = Path(app.srcdir, f"{target}.md")
    elif "#" in target or not target:
        return None
    else:
        path = ROOT / target  # of an included file, which names its neighbours
    path = path.resolve()
    is_outside = path.is_relative_to(ROOT) and not path.is_relative_to(Path(app.srcdir).resolve())
    return path if is_outside and path.is_file() else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("guides", Guides)
    app.connect("builder-inited", write_reference)
    app.connect("doctree-read", lead_to_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
