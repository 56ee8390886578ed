"""`up` on a ledger that DATABASE_URL names, by a role with few rights."""

import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.embedded.postgres import EmbeddedPostgres
from tests.postgres_clients import ask
from tests.up_process import FREE_PORTS, manage

PASSWORD = "Geheim"


@pytest.fixture
def owners_url(make_database: Callable[[], str]) -> str:
    """A database whose schema is closed to others, as it is from PostgreSQL 15 on."""
    url = make_database()
    ask(url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    return url


@pytest.fixture
def role(postgres_server: EmbeddedPostgres, owners_url: str) -> Iterator[str]:
    name = f"crew_{secrets.token_hex(4)}"
    ask(postgres_server.url(), f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    yield name
    ask(owners_url, f"REASSIGN OWNED BY {name} TO CURRENT_USER")
    ask(owners_url, f"DROP OWNED BY {name}")
    ask(postgres_server.url(), f"DROP ROLE {name}")


@pytest.mark.parametrize("line", [0, 1])
def test_a_role_that_may_make_no_tables_is_told_the_line_that_mends_it(
    owners_url: str, role: str, server_root: Path, line: int
) -> None:
    place = owners_url.rpartition("@")[2]
    url = f"postgres://{role}:{PASSWORD}@{place}"
    state = server_root / role

    result = manage("up", *FREE_PORTS, state=state, DATABASE_URL=url)

    assert result.returncode == 2, result.stdout + result.stderr
    assert "cannot be prepared: " in result.stderr
    assert "permission denied for schema public" in result.stderr
    assert "Traceback" not in result.stderr
    assert PASSWORD not in result.stdout + result.stderr

    ask(owners_url, re.findall(r"^  (.+;)$", result.stderr, re.MULTILINE)[line])
    migrated = manage("migrate", state=state, DATABASE_URL=url)
    assert migrated.returncode == 0, migrated.stderr
