"""Fixtures: Django's test database on the embedded PostgreSQL."""

from urllib.parse import unquote, urlsplit

import pytest
from django.conf import settings
from django.db import connections

from service.embedded.postgres import EmbeddedPostgres


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres_server: EmbeddedPostgres) -> None:
    """Point the default database at the session's server before Django creates its tables."""
    parts = urlsplit(postgres_server.url())
    address = {
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port),
    }
    settings.DATABASES["default"].update(address)
    connections["default"].settings_dict.update(address)
