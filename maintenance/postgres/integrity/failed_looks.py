"""What a look at rows needs that PostgreSQL refused or ended."""

from collections.abc import Iterable

import psycopg2
import psycopg2.errors

from maintenance.postgres.connection import reason_of
from maintenance.postgres.exclusive_use import NEEDS
from maintenance.postgres.giving_way import GaveWay


def needs_of(error: psycopg2.Error, tables: Iterable[str]) -> str:
    """Say what would let the look at these ``tables``, by their quoted names, succeed."""
    if isinstance(error, psycopg2.errors.InsufficientPrivilege):
        return f"GRANT SELECT ON {', '.join(tables)} (or GRANT pg_read_all_data)"
    if isinstance(error, psycopg2.errors.LockNotAvailable):
        return NEEDS
    if isinstance(error, GaveWay):
        return error.needs
    if isinstance(error, psycopg2.errors.QueryCanceled):
        return f"more time ({reason_of(error)})"
    return f"another attempt ({reason_of(error)})"
