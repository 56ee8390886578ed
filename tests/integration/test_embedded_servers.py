"""The embedded servers: start, stop, restart, passwords, ports."""

from collections.abc import Callable
from contextlib import closing

import psycopg2
import redis


def test_a_fresh_database_has_the_statistics_extension(make_database: Callable[[], str]) -> None:
    with closing(psycopg2.connect(make_database())) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION pg_stat_statements")
        cursor.execute("SELECT count(*) FROM pg_stat_statements")
        row = cursor.fetchone()
    assert row is not None
    assert row[0] >= 1


def test_a_fresh_valkey_is_empty(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
