"""The page of Celery's settings: what the service sets, and why."""

import ast
from collections.abc import Iterator
from pathlib import Path

from docs.reference_from_code.markdown import code, page, prose, table
from docs.reference_from_code.source import reasons

SOURCE = Path(__file__).parents[2] / "celeryconfig.py"

_INTRODUCTION = """
`celeryconfig.py` as the service has it. A project with a Celery of its own takes what it does not have.
"""


def celery_page() -> str:
    """Return the page."""
    return page(
        "Celery settings", _INTRODUCTION.strip(), table(("setting", "value", "reason"), rows())
    )


def rows() -> Iterator[tuple[str, str, str]]:
    """Yield each setting with its value, as it is written, and its reason."""
    text = SOURCE.read_text()
    why = reasons(text)
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            if not name.startswith("_"):
                yield code(name), code(ast.unparse(statement.value)), prose(why.get(name, ""))
