"""What the package imports is named in pyproject.toml: an environment that has more would hide it."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: The last is known to type checkers alone.
OWN = {"maintenance", "_typeshed"}
#: Imported by others of the package only where the extra, or the site's cache backend, is there.
NEED_AN_EXTRA = (
    "maintenance/caching/instrumented_django_redis.py",
    "maintenance/postgres/indexes/advice/",
    "maintenance/web/load_test/generator.py",
)


def names(requirements: Iterable[str]) -> set[str]:
    """Distributions, normalized (PEP 503)."""
    found = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements)
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


def brought_by(distribution: str) -> set[str]:
    """What a distribution itself requires, whatever the extras."""
    return names(r for r in requires(distribution) or () if "extra ==" not in r)


NAMED = names(PROJECT["dependencies"])
DEPENDENCIES = NAMED.union(*map(brought_by, NAMED))
#: What the application imports where it is installed; the service's own programs are not the package.
EXTRAS = names(
    requirement
    for extra, requirements in PROJECT["optional-dependencies"].items()
    if extra != "service"
    for requirement in requirements
) | {"gevent", "django-redis"}  # Locust requires the one; the other is a cache backend of sites


def imports(source: Path) -> Iterator[tuple[str, bool]]:
    """Yield each imported top-level module, and whether importing the file imports it."""
    tree = ast.parse(source.read_text())
    at_once = {id(node) for node in _run_at_import(tree.body)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], id(node) in at_once
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.split(".")[0], id(node) in at_once


def _run_at_import(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run unless their failure is caught, or only types are wanted."""
    for statement in body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            continue
        if isinstance(statement, ast.ClassDef | ast.If | ast.With):
            yield from _run_at_import(statement.body)
        yield statement


def imported() -> dict[str, bool]:
    """Return the third-party modules of the package, and whether any file cannot do without."""
    found: dict[str, bool] = {}
    for source in sorted((ROOT / "maintenance").rglob("*.py")):
        is_extra = source.relative_to(ROOT).as_posix().startswith(NEED_AN_EXTRA)
        for module, at_once in imports(source):
            if module not in sys.stdlib_module_names | OWN:
                found[module] = found.get(module, False) or (at_once and not is_extra)
    return found


def test_what_is_always_imported_is_a_dependency_and_the_rest_an_extra() -> None:
    providers = packages_distributions()
    unnamed = {}
    for module, at_once in imported().items():
        allowed = DEPENDENCIES if at_once else DEPENDENCIES | EXTRAS
        if not names(providers.get(module, [module])) & allowed:
            unnamed[module] = "always" if at_once else "where it is there"

    assert unnamed == {}


def test_the_look_at_imports_sees_both_kinds() -> None:
    found = imported()

    assert found["django"]
    assert found["psycopg2"]
    assert not found["PIL"]
