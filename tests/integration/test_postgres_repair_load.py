"""The load that a repair is paced by, on servers that really have it: a standby behind, WAL that grows."""

import secrets
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extras import LogicalReplicationConnection, PhysicalReplicationConnection

from maintenance.conf import DatabaseTarget, Pacing
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.postgres.connection import connect
from maintenance.postgres.repair.load import LoadMeter
from maintenance.postgres.repair.sessions import watching
from maintenance.postgres.repair.watch import Watch
from service.embedded.postgres import EmbeddedPostgres
from tests.polling import eventually
from tests.postgres_clients import ask
from tests.postgres_standby import primary_and_standby

#: Nothing of it is near its limit on a server of tests; a test sets the one that it is about.
CALM: dict[str, Any] = {
    "active_sessions": 1000,
    "lock_waiters": 1000,
    "replica_lag_seconds": 10_000,
    "wal_bytes_per_second": 2**50,
    "added_latency_ms": 10_000,
}
MEGABYTE = 1_000_000
#: A message in the WAL and nothing else.
WRITE = "SELECT pg_logical_emit_message(false, 'test', repeat('x', %s))"


def job(url: str, **limits: Any) -> Job[DatabaseTarget, NoOptions]:
    return Job("site", DatabaseTarget(url=url, pacing=Pacing(**CALM | limits)), NoOptions())


def sessions_now(watch: Watch) -> int:
    watch.look(())
    return watch.pace.sessions


def test_a_standby_that_stays_behind_holds_a_repair_up_until_it_has_caught_up(
    server_root: Path,
) -> None:
    folder = server_root / "lagging"
    with primary_and_standby(folder, lambda _: None) as (primary, standby):
        url = primary.url()
        with watching(job(url, replica_lag_seconds=1), 2) as watch:
            assert sessions_now(watch) == 2

            def held_up() -> bool:
                ask(url, WRITE, 1000)
                return sessions_now(watch) == 0

            ask(standby.url(), "SELECT pg_wal_replay_pause()")
            eventually(held_up, 30, "a standby that is seen to lag")
            assert watch.pace.reason.startswith("a standby is ")
            assert watch.pace.reason.endswith(" s behind (limit 1 s)")

            ask(standby.url(), "SELECT pg_wal_replay_resume()")
            eventually(lambda: not held_up(), 30, "a standby that has caught up")


def test_a_standby_that_was_away_holds_a_repair_up_while_it_catches_up(server_root: Path) -> None:
    settings = {"fsync": "off", "wal_level": "replica"}
    with EmbeddedPostgres(server_root / "away", secrets.token_hex(16), settings=settings) as server:
        url = server.url()
        with watching(job(url), 2) as watch:
            [(there,)] = ask(url, "SELECT pg_current_wal_lsn()")
            ask(url, WRITE, 50 * MEGABYTE)  # more than the buffers of a connection hold
            assert sessions_now(watch) > 0
            # It reads nothing of what is sent to it, and so stays behind.
            with closing(
                psycopg2.connect(url, connection_factory=PhysicalReplicationConnection)
            ) as standby:
                standby.cursor().start_replication(start_lsn=there)
                eventually(lambda: sessions_now(watch) == 0, 30, "a standby that catches up")
                assert watch.pace.reason.startswith("a standby was away and catches up with ")
                assert watch.pace.reason.endswith(" MB of WAL")
            eventually(lambda: sessions_now(watch) == 2, 30, "the end of its connection")


def test_a_subscriber_that_catches_up_holds_nothing_up(server_root: Path) -> None:
    settings = {"fsync": "off", "wal_level": "logical"}
    folder = server_root / "subscribed"
    with EmbeddedPostgres(folder, secrets.token_hex(16), settings=settings) as server:
        url = server.url()
        ask(url, "SELECT pg_create_logical_replication_slot('changes', 'test_decoding')")
        ask(url, "CREATE TABLE big AS SELECT repeat('x', 500) FROM generate_series(1, 50000)")
        with (
            watching(job(url), 2) as watch,
            closing(
                psycopg2.connect(url, connection_factory=LogicalReplicationConnection)
            ) as subscriber,
        ):
            subscriber.cursor().start_replication("changes", decode=False)
            state = "SELECT state FROM pg_stat_replication"
            eventually(lambda: ask(url, state) == [("catchup",)], 30, "it catches up")
            assert sessions_now(watch) > 0
            assert ask(url, state) == [("catchup",)]


def test_the_rate_of_wal_is_what_was_written_between_two_looks(
    make_database: Callable[[], str],
) -> None:
    url = make_database()

    def written() -> tuple[float, float]:
        [(wal_bytes,)] = ask(url, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
        return float(wal_bytes), time.monotonic()

    with connect(DatabaseTarget(url=url)) as conn:
        meter = LoadMeter(conn)
        outer_begin = written()
        assert meter.read((), None).wal_bytes_per_second is None  # of one look there is no rate
        inner_begin = written()
        for _ in range(5):
            ask(url, WRITE, 2 * MEGABYTE)
        inner_end = written()
        rate = meter.read((), None).wal_bytes_per_second
        outer_end = written()

    assert rate is not None
    least = (inner_end[0] - inner_begin[0]) / (outer_end[1] - outer_begin[1])
    most = (outer_end[0] - outer_begin[0]) / (inner_end[1] - inner_begin[1])
    assert 0 < least <= rate <= most
    assert inner_end[0] - inner_begin[0] > 8 * MEGABYTE  # the last pages may not be written yet


def test_wal_that_grows_too_fast_holds_a_repair_up_until_it_is_slow_again(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    with watching(job(url, wal_bytes_per_second=MEGABYTE), 2) as watch:

        def held_up(size: int) -> bool:
            ask(url, WRITE, size)
            return sessions_now(watch) == 0

        eventually(lambda: held_up(MEGABYTE), 30, "WAL that is seen to grow")
        assert watch.pace.reason.startswith("WAL grows by ")
        assert watch.pace.reason.endswith("(limit 1 MB)")
        eventually(lambda: not held_up(1), 30, "WAL that grows slowly")
