"""``maintenance attach`` on real servers: what is seen on them, which references it writes, what it says of faults."""

import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import psycopg2
import pytest
import redis
from django.core.management import CommandError, call_command

from maintenance.attach import look
from maintenance.conf import Configuration, parse_configuration
from maintenance.conf.references import resolve_secret
from service.embedded.ports import free_port
from tests.polling import eventually
from tests.postgres_clients import ask


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the shell that runs the tests is one of the site's."""
    for number in ("", "_2", "_3"):
        for name in ("SITE_DATABASE_URL", "SITE_REDIS_URL"):
            monkeypatch.delenv(f"{name}{number}", raising=False)


def attached(*given: str) -> tuple[str, Configuration, str]:
    """Return the file in one line, what it means, and what stands beside it."""
    out, beside = StringIO(), StringIO()
    call_command("maintenance", "attach", *given, stdout=out, stderr=beside)
    text = " ".join(out.getvalue().replace("#", "").split())
    return text, parse_configuration(tomllib.loads(out.getvalue())), beside.getvalue()


def refused(*given: str) -> str:
    """Return why nothing is proposed."""
    with pytest.raises(CommandError) as refusal:
        call_command("maintenance", "attach", *given, stdout=StringIO(), stderr=StringIO())
    return str(refusal.value)


def database_name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


# --- References ----------------------------------------------------------------------------------


def test_a_variable_that_means_another_server_is_not_written(
    make_database: Callable[[], str], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, site = make_database(), make_database()
    monkeypatch.setenv("SITE_DATABASE_URL", other)
    monkeypatch.setenv("SITE_REDIS_URL", redis_url)
    text, parsed, beside = attached(site, redis_url)
    assert parsed.databases["site"].url == "env:SITE_DATABASE_URL_2"
    assert f"{database_name(site)}." in text.partition("Set SITE_DATABASE_URL_2 for ")[2]
    assert "export SITE_DATABASE_URL_2=..." in beside
    assert parsed.redis["site"].url == "env:SITE_REDIS_URL", "it is set to this very address"
    assert "SITE_REDIS_URL=..." not in beside


def test_a_variable_that_is_empty_has_to_be_set(
    make_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_DATABASE_URL", "")
    text, parsed, beside = attached(make_database())
    assert parsed.databases["site"].url == "env:SITE_DATABASE_URL"
    assert "Set SITE_DATABASE_URL for " in text
    assert "export SITE_DATABASE_URL=..." in beside
    told = refused("env:SITE_DATABASE_URL")
    assert "Argument 1" in told
    assert "The environment variable SITE_DATABASE_URL is empty" in told


def test_no_reference_stands_for_two_servers(
    make_database: Callable[[], str], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_database(), make_database()
    monkeypatch.setenv("SITE_DATABASE_URL", second)
    monkeypatch.setenv("SITE_REDIS_URL_2", f"{redis_url}?db=1")
    given = (first, "env:SITE_DATABASE_URL", "env:SITE_REDIS_URL_2", redis_url)
    _, parsed, beside = attached(*given)
    assert [target.url for target in parsed.databases.values()] == [
        "env:SITE_DATABASE_URL_2",
        "env:SITE_DATABASE_URL",
    ]
    assert [target.url for target in parsed.redis.values()] == [
        "env:SITE_REDIS_URL_2",
        "env:SITE_REDIS_URL",
    ]
    for name in ("SITE_DATABASE_URL_2", "SITE_REDIS_URL"):
        assert f"export {name}=..." in beside
    for name in ("SITE_DATABASE_URL", "SITE_REDIS_URL_2"):
        assert f"export {name}=..." not in beside


def test_a_file_with_an_address_has_not_to_be_set(
    make_database: Callable[[], str], redis_url: str, tmp_path: Path
) -> None:
    secret = tmp_path / "site_database"
    secret.write_text(make_database())
    text, parsed, beside = attached(f"file:{secret}", redis_url)
    assert parsed.databases["site"].url == f"file:{secret}"
    assert resolve_secret(str(parsed.databases["site"].url)) == secret.read_text()
    assert "Addresses are read from files and the environment" in text
    assert text.count("Set SITE_REDIS_URL for ") == 1
    assert f"Set {secret}" not in text
    assert str(secret) not in beside
    assert "export SITE_REDIS_URL=..." in beside


# --- Faults --------------------------------------------------------------------------------------


def test_all_servers_that_cannot_be_read_are_told_at_once(
    make_database: Callable[[], str], redis_url: str
) -> None:
    parts = urlsplit(make_database())
    wrong = parts._replace(netloc=f"nobody:not-it@{parts.hostname}:{parts.port}").geturl()
    down = f"redis://127.0.0.1:{free_port()}/0"
    told = refused(wrong, redis_url, down)
    assert f"{parts.hostname}:{parts.port}{parts.path} cannot be reached" in told
    assert f"{down} cannot be reached" in told
    assert "not-it" not in told
    assert len(told.splitlines()) == 2


def test_all_arguments_that_are_no_address_are_told_at_once() -> None:
    told = refused("mysql://db/site", "env:NOT_SET_ANYWHERE", "postgres:sesame", "redis://[::1/0")
    assert [line.partition(":")[0].partition(" is")[0] for line in told.splitlines()] == [
        "Argument 1",
        "Argument 2",
        "Argument 3",
        "Argument 4",
    ]
    assert "The environment variable NOT_SET_ANYWHERE is not set" in told
    assert "sesame" not in told
    assert "database" in refused("redis://127.0.0.1:1/0")


def test_a_table_that_somebody_locks_is_said_in_a_sentence(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    ask(url, "CREATE TABLE book (id int)")
    with closing(psycopg2.connect(url)) as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLE book IN ACCESS EXCLUSIVE MODE")
        told = refused(url)
        holder.rollback()
    assert f"/{database_name(url)} could not be looked at" in told
    assert "lock timeout" in told
    assert "a lock on its tables" in told
    assert len(told.splitlines()) == 1


def test_a_statement_that_somebody_ends_is_said_in_a_sentence(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    ask(url, "CREATE TABLE public.book (id int)")
    with closing(psycopg2.connect(url)) as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLE public.book IN ACCESS EXCLUSIVE MODE")
        canceller = Thread(target=_cancel_who_waits, args=(url,))
        canceller.start()
        told = refused(url)
        canceller.join()
        holder.rollback()
    assert "due to user request" in told
    assert "could not be looked at" in told


def _cancel_who_waits(url: str) -> None:
    with closing(psycopg2.connect(url)) as session, session.cursor() as cursor:
        session.autocommit = True

        def cancelled() -> bool:
            cursor.execute(
                "SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return cursor.fetchone() is not None

        eventually(cancelled, 10, "somebody waits for the lock")


class _NoRedis(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web_server() -> Iterator[int]:
    """The port of a web server."""
    with HTTPServer(("127.0.0.1", 0), _NoRedis) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_what_is_no_redis_is_said_in_a_sentence(
    make_database: Callable[[], str], web_server: int
) -> None:
    told = refused(make_database(), f"redis://:sesame@127.0.0.1:{web_server}/0")
    assert told.startswith(f"redis://127.0.0.1:{web_server}/0 does not answer as Redis does")
    assert "sesame" not in told


# --- What is seen --------------------------------------------------------------------------------


def fill(url: str, *keys: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.mset(dict.fromkeys(keys, "1"))


def test_ordinary_keys_are_no_caches_of_django(
    make_database: Callable[[], str], redis_url: str
) -> None:
    fill(redis_url, *(f"user:{number}:profile" for number in range(1, 200)))
    fill(redis_url, *(f"cart:{number}:items" for number in range(1, 200)), "once:1:seen")
    fill(redis_url, *(f"10:0{number}:clock" for number in range(10)))
    _, parsed, _ = attached(make_database(), redis_url)
    assert parsed.caches == {}
    fill(redis_url, *(f"shop:eu:1:views.user:{number}:page" for number in range(20)))
    _, parsed, _ = attached(make_database(), redis_url)
    assert [(cache.key_prefix, cache.version) for cache in parsed.caches.values()] == [
        ("shop:eu", 1)
    ]


def test_a_search_for_queues_that_was_cut_off_makes_no_cache(
    make_database: Callable[[], str], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(redis_url, *(f"word-{number}" for number in range(5000)))
    with redis.Redis.from_url(redis_url) as client:
        client.sadd("_kombu.binding.slow", "slow\x06\x16\x06\x16slow")
    database = make_database()
    assert attached(database, redis_url)[1].brokers["site"].queues == ("slow",)
    with redis.Redis.from_url(redis_url) as client:
        client.delete("_kombu.binding.slow")
    monkeypatch.setattr(look, "SCAN_PAGES", 1)
    text, parsed, _ = attached(database, redis_url)
    assert "queues were looked for among 1,000 of its 5,000 keys" in text
    assert 'write role = "broker"' in text
    assert text.count("role =") == 1, "none is written"
    assert parsed.brokers == {}
    with redis.Redis.from_url(redis_url) as client:
        client.sadd("_kombu.binding.celery", "celery\x06\x16\x06\x16celery")
    assert attached(database, redis_url)[1].brokers["site"].queues == ("celery",), (
        "Celery's usual queue is asked for by its name"
    )
