"""The embedded servers: start, stop, restart, passwords, ports."""

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import redis

from service.embedded import server
from service.embedded.account import server_account
from service.embedded.errors import EmbeddedError, ServerStartError, StateFolderError
from service.embedded.ports import LOOPBACK, free_port
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.valkey import EmbeddedValkey
from tests.polling import eventually, is_gone
from tests.servers import FAST_POSTGRES

OF_ANOTHER_SERVER = {
    "PGSSLMODE": "require",
    "PGHOSTADDR": "192.0.2.1",
    "PGCHANNELBINDING": "require",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCONNECT_TIMEOUT": "2",
}
PASSWORD = 'it\'s "quoted" \\ and spaced %20 @:/'


def query(url: str, text: str) -> list[tuple[Any, ...]]:
    """Run one statement in a session of its own; give its rows, if it has any."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(text)
            return list(cursor.fetchall()) if cursor.description else []


@pytest.fixture
def postgres(server_root: Path) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of the test's own, not started."""
    folder = server_root / f"postgres-{secrets.token_hex(4)}"
    server = EmbeddedPostgres(folder, PASSWORD, settings=FAST_POSTGRES)
    yield server
    server.stop()


@pytest.fixture
def valkey(server_root: Path) -> Iterator[EmbeddedValkey]:
    """A Valkey of the test's own, not started."""
    server = EmbeddedValkey(server_root / f"valkey-{secrets.token_hex(4)}", PASSWORD)
    yield server
    server.stop()


@pytest.fixture
def occupied_port() -> Iterator[int]:
    """A port on which somebody else already listens."""
    with socket.socket() as rival:
        rival.bind((LOOPBACK, 0))
        rival.listen()
        yield rival.getsockname()[1]


# -- the fixtures that every other test builds on


def test_a_fresh_database_has_the_statistics_extension(make_database: Callable[[], str]) -> None:
    url = make_database()
    query(url, "CREATE EXTENSION pg_stat_statements")
    assert query(url, "SELECT count(*) > 0 FROM pg_stat_statements") == [(True,)]


def test_databases_of_one_test_are_apart(make_database: Callable[[], str]) -> None:
    first, second = make_database(), make_database()
    query(first, "CREATE TABLE only_here ()")
    assert query(second, "SELECT to_regclass('only_here')") == [(None,)]


def test_a_fresh_valkey_is_empty_and_drops_nothing_when_full(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


# -- PostgreSQL


def test_postgres_keeps_data_and_port_across_a_restart(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    postgres.ensure_database('odd "name" ü')
    postgres.ensure_database('odd "name" ü')
    url = postgres.url('odd "name" ü')
    query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    first_pid = postgres.pid
    postgres.stop()
    assert not postgres.running
    assert postgres.pid is None
    postgres.start()
    assert postgres.pid != first_pid
    assert query(url, "SELECT answer FROM kept") == [(42,)]


def test_starting_a_running_postgres_changes_nothing(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    pid = postgres.pid
    postgres.start()
    assert postgres.pid == pid


def test_postgres_refuses_a_wrong_password_by_scram(postgres_server: EmbeddedPostgres) -> None:
    right = postgres_server.url()
    assert query(
        right, "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'postgres'"
    ) == [(True,)]
    assert query(right, "SELECT DISTINCT auth_method FROM pg_hba_file_rules") == [
        ("scram-sha-256",)
    ]
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(host=LOOPBACK, port=postgres_server.port, user="postgres", password="x")
    with pytest.raises(psycopg2.OperationalError, match="no password supplied"):
        psycopg2.connect(host=LOOPBACK, port=postgres_server.port, user="postgres", password="")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("shared_preload_libraries", "pg_stat_statements"),
        ("pg_stat_statements.track", "all"),
        ("client_connection_check_interval", "1s"),
        ("track_io_timing", "on"),
        ("shared_buffers", "64MB"),
    ],
)
def test_postgres_runs_with_the_promised_setting(
    postgres_server: EmbeddedPostgres, setting: str, value: str
) -> None:
    assert query(postgres_server.url(), f"SHOW {setting}") == [(value,)]


def test_postgres_sorts_by_code_point_and_knows_all_letters(
    postgres_server: EmbeddedPostgres,
) -> None:
    assert query(
        postgres_server.url(), "SELECT datlocprovider::text, upper('é') FROM pg_database LIMIT 1"
    ) == [("b", "É")]


def test_the_servers_do_not_run_as_root(
    postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> None:
    account = server_account()
    expected_uid = account.uid if account else os.geteuid()
    assert expected_uid != 0
    for pid in (postgres_server.pid, valkey_server.pid):
        assert Path(f"/proc/{pid}").stat().st_uid == expected_uid


def test_no_argument_list_or_environment_holds_a_password(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgres://somebody:{PASSWORD}@elsewhere/db")
    seen: set[str] = set()
    watching = threading.Event()

    def watch() -> None:
        while not watching.is_set():
            for name in ("cmdline", "environ"):
                for path in Path("/proc").glob(f"[0-9]*/{name}"):
                    if path.parent.name == str(os.getpid()):
                        continue
                    try:
                        text = path.read_bytes()
                    except OSError:
                        continue  # ended meanwhile, or another user's
                    if PASSWORD.encode() in text:
                        seen.add(str(path))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        postgres.start()  # includes initdb
        valkey.start()
    finally:
        watching.set()
        watcher.join()
    for pid in (postgres.pid, valkey.pid):
        assert PASSWORD.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert PASSWORD.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    assert seen == set()


def test_no_file_beside_the_data_holds_a_password(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    postgres.start()
    valkey.start()
    files = [
        path
        for server in (postgres, valkey)
        for path in server.state_dir.rglob("*")
        if path.is_file()
    ]
    assert len(files) > 100
    assert [path for path in files if PASSWORD.encode() in path.read_bytes()] == []


def test_postgres_takes_another_port_where_it_loses_the_race(
    postgres: EmbeddedPostgres, occupied_port: int
) -> None:
    ports = iter([occupied_port, occupied_port, free_port()])
    racing = EmbeddedPostgres(
        postgres.state_dir, PASSWORD, settings=FAST_POSTGRES, pick_port=lambda: next(ports)
    )
    with racing:
        assert racing.port != occupied_port
        assert query(racing.url(), f"SELECT {racing.port}") == [(racing.port,)]


def test_postgres_moves_where_its_last_port_is_taken_by_then(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    last_port = postgres.port
    postgres.stop()
    with socket.socket() as rival:
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        rival.bind((LOOPBACK, last_port))
        rival.listen()
        postgres.start()
        assert postgres.port != last_port
        assert query(postgres.url(), "SELECT 1") == [(1,)]


def test_postgres_gives_up_where_every_port_is_taken(
    postgres: EmbeddedPostgres, occupied_port: int
) -> None:
    cramped = EmbeddedPostgres(
        postgres.state_dir, PASSWORD, settings=FAST_POSTGRES, pick_port=lambda: occupied_port
    )
    with pytest.raises(ServerStartError, match=r"PostgreSQL found no port on 127\.0\.0\.1"):
        cramped.start()
    assert not cramped.running


def test_a_failed_start_tells_the_end_of_the_servers_log(postgres: EmbeddedPostgres) -> None:
    wrong = EmbeddedPostgres(
        postgres.state_dir, PASSWORD, settings={"shared_buffers": "a lot"}, pick_port=free_port
    )
    with pytest.raises(ServerStartError, match='invalid value for parameter "shared_buffers"'):
        wrong.start()
    assert not wrong.running
    postgres.start()  # the failed start has let go of the folder
    assert postgres.running


def test_variables_for_other_servers_do_not_keep_postgres_from_its_own(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in OF_ANOTHER_SERVER.items():
        monkeypatch.setenv(name, value)
    postgres.start()
    postgres.ensure_database("ledger")
    assert postgres.ensure_extension("ledger", "pg_stat_statements")
    with pytest.raises(psycopg2.OperationalError):
        query(postgres.url("ledger"), "SELECT 1")
    assert query(postgres.straight_url("ledger"), "SELECT current_database()") == [("ledger",)]


def test_a_server_that_refuses_each_try_says_with_what(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "READY_TIMEOUT_SECONDS", 3)
    monkeypatch.setenv("PGREQUIREAUTH", "gss")
    with pytest.raises(
        ServerStartError,
        match=r"not ready after 3 s(.|\n)*The last try to connect ended with: .*gss",
    ):
        postgres.start()


def test_a_second_server_on_the_same_folder_is_refused_with_the_holders_pid(
    postgres: EmbeddedPostgres,
) -> None:
    postgres.start()
    rival = EmbeddedPostgres(postgres.state_dir, PASSWORD)
    with pytest.raises(StateFolderError, match=rf"in use by .* \(pid {os.getpid()}\)"):
        rival.start()
    assert postgres.running
    assert query(postgres.url(), "SELECT 1") == [(1,)]


def test_a_password_of_another_installation_is_named_as_the_reason(
    postgres: EmbeddedPostgres,
) -> None:
    postgres.start()
    postgres.stop()
    stranger = EmbeddedPostgres(postgres.state_dir, "another password", settings=FAST_POSTGRES)
    with pytest.raises(ServerStartError, match="does not accept the password") as refusal:
        stranger.start()
    assert "another password" not in str(refusal.value)
    assert not stranger.running


def test_an_address_is_refused_before_the_first_start(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    with pytest.raises(ServerStartError, match=r"PostgreSQL in .* has not been started"):
        postgres.url()
    with pytest.raises(ServerStartError, match=r"Valkey in .* has not been started"):
        valkey.url()


def test_a_start_outside_the_main_thread_is_refused(valkey: EmbeddedValkey) -> None:
    refusals: list[str] = []

    def start() -> None:
        try:
            valkey.start()
        except EmbeddedError as error:
            refusals.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert len(refusals) == 1
    assert "has to be started from the main thread" in refusals[0]


# -- Valkey


def test_valkey_keeps_data_and_port_across_a_restart(valkey: EmbeddedValkey) -> None:
    valkey.start()
    url, first_pid = valkey.url(3), valkey.pid
    with redis.Redis.from_url(url) as client:
        client.set("kept", "42")
    valkey.stop()
    assert not valkey.running
    assert valkey.pid is None
    valkey.start()
    assert valkey.pid != first_pid
    with redis.Redis.from_url(url) as client:
        assert client.get("kept") == b"42"


def test_valkey_is_ready_when_its_data_is_loaded(valkey: EmbeddedValkey) -> None:
    with valkey, redis.Redis.from_url(valkey.url()) as client:
        client.mset({f"key:{number}": number for number in range(3000)})
        client.bgrewriteaof()
        eventually(
            lambda: not client.info("persistence")["aof_rewrite_in_progress"], 20, "one file"
        )
    # Half a second for all keys; clients are answered meanwhile, with "LOADING".
    slow = {"key-load-delay": "170", "loading-process-events-interval-bytes": "1024"}

    loading = EmbeddedValkey(valkey.state_dir, PASSWORD, settings=slow)
    with loading, redis.Redis.from_url(loading.url()) as client:
        assert client.dbsize() == 3000


def test_valkey_refuses_a_wrong_password_and_none(valkey_server: EmbeddedValkey) -> None:
    for address in (f":wrong@{LOOPBACK}", LOOPBACK):
        with (
            redis.Redis.from_url(f"redis://{address}:{valkey_server.port}/0") as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()


def test_valkey_listens_on_loopback_and_writes_every_second(valkey: EmbeddedValkey) -> None:
    valkey.start()
    with redis.Redis.from_url(valkey.url()) as client:
        settings = client.config_get("bind", "appendonly", "appendfsync", "save")
    assert settings == {
        "bind": LOOPBACK,
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
    }


def test_valkey_takes_another_port_where_it_loses_the_race(
    valkey: EmbeddedValkey, occupied_port: int
) -> None:
    ports = iter([occupied_port, free_port()])
    with EmbeddedValkey(valkey.state_dir, PASSWORD, pick_port=lambda: next(ports)) as racing:
        assert racing.port != occupied_port
        with redis.Redis.from_url(racing.url()) as client:
            assert client.info("server")["process_id"] == racing.pid


def test_valkey_is_not_taken_for_another_one_on_its_port(
    valkey: EmbeddedValkey, valkey_server: EmbeddedValkey
) -> None:
    ports = iter([valkey_server.port, free_port()])
    with EmbeddedValkey(valkey.state_dir, PASSWORD, pick_port=lambda: next(ports)) as racing:
        assert racing.port != valkey_server.port


def test_a_valkey_setting_it_does_not_know_is_in_the_error(valkey: EmbeddedValkey) -> None:
    wrong = EmbeddedValkey(valkey.state_dir, PASSWORD, settings={"no-such-directive": "yes"})
    with pytest.raises(ServerStartError, match="no-such-directive") as refusal:
        wrong.start()
    assert "Bad directive" in str(refusal.value)
    assert not wrong.running


def test_stopping_twice_is_harmless(valkey: EmbeddedValkey) -> None:
    valkey.start()
    pid = valkey.pid
    assert pid is not None
    valkey.stop()
    valkey.stop()
    assert is_gone(pid)


# -- logs


def test_a_large_log_is_moved_aside_while_the_server_writes_on(valkey: EmbeddedValkey) -> None:
    valkey.start()
    assert not valkey.rotate_log()
    with valkey.log_path.open("ab") as log:
        log.write(b"filler\n" * 2_000_000)
    assert valkey.rotate_log()
    assert valkey.log_path.with_name("valkey.log.1").stat().st_size > 10_000_000
    with redis.Redis.from_url(valkey.url()) as client:
        client.bgrewriteaof()
    eventually(lambda: b"append only" in valkey.log_path.read_bytes(), 10, "a new line in the log")
    assert valkey.log_path.stat().st_size < 10_000


def test_an_extension_is_created_once_and_a_missing_one_is_told(
    postgres_server: EmbeddedPostgres,
) -> None:
    postgres_server.ensure_database("extended")
    assert postgres_server.ensure_extension("extended", "pg_stat_statements")
    assert postgres_server.ensure_extension("extended", "pg_stat_statements")
    assert not postgres_server.ensure_extension("extended", "no_such_extension")
