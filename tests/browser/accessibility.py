"""What axe-core has to say of a page."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

#: Django's own pages: what they lack is not ours to mend.
_NOT_OURS = [["#header"], ["#nav-sidebar"], [".breadcrumbs"]]
_STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def faults(page: Page) -> list[str]:
    """Return each violation of WCAG 2.2 AA and of axe's best practices, with the element at fault."""
    found = Axe().run(
        page,
        context={"exclude": _NOT_OURS},
        # What axe would load ahead it would apply inline, which the policy of these tests blocks.
        options={"runOnly": {"type": "tag", "values": _STANDARDS}, "preload": False},
    )
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]}"
        for violation in found.response["violations"]
        for node in violation["nodes"]
    ]
