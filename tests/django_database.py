"""Fixtures: the embedding project's database on the session's real PostgreSQL.

pytest-django's ``db`` and ``transactional_db`` then work as everywhere.
"""

from urllib.parse import unquote, urlsplit

import pytest
from django.db import connections

from service.embedded.postgres import EmbeddedPostgres


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, postgres_server: EmbeddedPostgres
) -> None:
    """Point Django at the embedded server before pytest-django creates the test database."""
    parts = urlsplit(postgres_server.url())
    connections.databases["default"].update(
        USER=unquote(parts.username or ""),
        PASSWORD=unquote(parts.password or ""),
        HOST=parts.hostname,
        PORT=str(parts.port),
    )
