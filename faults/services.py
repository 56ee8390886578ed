"""Faults of what the crew stands on: the broker, the ledger's database, the log store."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg2
import redis

from faults.fire import Fire, Kind
from faults.stack import WORKERS, is_alive
from faults.waiting import eventually

BROKER = "broker restart / FLUSHALL / failover losing 1 s"
DATABASE = "PostgreSQL restart, read-only, connections exhausted"
LOG_STORE = "log store full or down"
SAID_OF_BROKER = (
    "could not be sent",
    "Connection to broker lost",
    "Cannot connect to",
    "consumer:",
)
#: Runs end every second or two.
SECONDS_TO_A_REPORT = 30.0
SAID_OF_LEDGER = ("could not be", "waits for the ledger", "Heartbeat of run", "ledger")


def _random_moment(fire: Fire) -> None:
    """Let the fault come at any moment of the schedules, which repeat every two seconds."""
    time.sleep(fire.random.uniform(0.0, 2.0))
    fire.fault_at = time.time()


def _restart_broker(fire: Fire) -> None:
    _random_moment(fire)
    fire.point = "broker.down"
    fire.stack.valkey.stop()
    time.sleep(fire.random.uniform(1.0, 3.0))
    fire.stack.valkey.start()


def _kill_broker_at(point: str) -> Kind:
    """Kill -9 the broker while a process stands at ``point``; start it a second later."""

    def hurt(fire: Fire) -> None:
        fire.at(point)
        _kill_server(fire.stack.valkey.pid)
        fire.stack.release(point)
        time.sleep(fire.random.uniform(0.5, 2.0))
        fire.stack.valkey.stop()
        fire.stack.valkey.start()

    return Kind(f"broker killed: {point}", BROKER, hurt, ("I1", "I2", "I5"))


def _kill_server(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_alive(pid), 10, "the server is gone")


def _flush_broker_at(point: str) -> Kind:
    """Delete everything in the broker while a process stands at ``point``.

    Workers that do not take what beat has sent leave it in the queues, to be lost.
    """

    def hurt(fire: Fire) -> None:
        workers = [fire.stack.nodes[name] for name in WORKERS]
        if point == "beat.published":
            for node in workers:
                fire.disturb(node)
                fire.stack.signal(node, signal.SIGSTOP)
        fire.at(point)
        with redis.Redis.from_url(fire.stack.valkey.url()) as client:
            client.flushall()
        if point == "beat.published":
            for node in workers:
                fire.stack.signal(node, signal.SIGCONT)
        fire.stack.release(point)

    return Kind(f"broker flushed: {point}", BROKER, hurt, ("I1", "I2", "I5"))


def _fail_over(fire: Fire) -> None:
    """Go back to the broker of a second ago, as a replica that lagged behind has it."""
    fire.point = "broker.failover"
    data = fire.stack.valkey.data_dir
    old = fire.stack.folder / "a-second-ago"
    shutil.copytree(data, old)
    time.sleep(1.0)
    fire.fault_at = time.time()
    _kill_server(fire.stack.valkey.pid)
    fire.stack.valkey.stop()
    log = data / "appendonlydir"
    shutil.rmtree(log)
    shutil.copytree(old / log.name, log)
    owner = data.stat()
    for path in (log, *log.iterdir()):
        shutil.chown(path, owner.st_uid, owner.st_gid)
    shutil.rmtree(old)
    fire.stack.valkey.start()


def _cut_off_all(fire: Fire) -> None:
    """Note that every worker is without the ledger: what it did last may be done again."""
    for name in WORKERS:
        fire.disturb(fire.stack.nodes[name])


def _restart_database(fire: Fire) -> None:
    _random_moment(fire)
    _cut_off_all(fire)
    fire.point = "database.down"
    fire.stack.postgres.stop()
    time.sleep(fire.random.uniform(0.5, 3.0))
    fire.stack.postgres.start()


def _kill_database_at(point: str) -> Kind:
    """Kill -9 the server while a process stands at ``point``; it recovers from its log."""

    def hurt(fire: Fire) -> None:
        fire.at(point)
        _cut_off_all(fire)
        _kill_server(fire.stack.postgres.pid)
        fire.stack.release(point)
        time.sleep(fire.random.uniform(0.2, 1.0))
        fire.stack.postgres.stop()
        fire.stack.postgres.start()

    return Kind(f"database killed: {point}", DATABASE, hurt, ("I1", "I2", "I4", "I5"))


@contextmanager
def _own_session(fire: Fire) -> Iterator[psycopg2.extensions.connection]:
    conn = psycopg2.connect(fire.stack.postgres.url("postgres"))
    conn.autocommit = True
    try:
        yield conn
    finally:
        conn.close()


_END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = 'ledger' AND pid <> pg_backend_pid()"
)


def _make_read_only(fire: Fire) -> None:
    _random_moment(fire)
    fire.point = "database.read_only"
    _cut_off_all(fire)
    with _own_session(fire) as conn, conn.cursor() as cursor:
        cursor.execute("ALTER DATABASE ledger SET default_transaction_read_only = on")
        cursor.execute(_END_SESSIONS)
        time.sleep(fire.random.uniform(2.0, 4.0))
        cursor.execute("ALTER DATABASE ledger RESET default_transaction_read_only")
        cursor.execute(_END_SESSIONS)


def _exhaust_connections(fire: Fire) -> None:
    _random_moment(fire)
    fire.point = "database.exhausted"
    _cut_off_all(fire)
    held: list[psycopg2.extensions.connection] = []
    with _own_session(fire) as conn, conn.cursor() as cursor:
        cursor.execute(_END_SESSIONS)
        until = time.monotonic() + fire.random.uniform(2.0, 4.0)
        while time.monotonic() < until:
            try:
                held.append(psycopg2.connect(fire.stack.postgres.url("postgres")))
            except psycopg2.OperationalError:
                time.sleep(0.05)
    for one in held:
        one.close()


def _lose_the_log_store(fire: Fire) -> None:
    _random_moment(fire)
    fire.point = "log_store.down"
    reports = fire.stack.reports
    aside = reports.with_name("reports-aside")
    reports.rename(aside)
    reports.write_text("a file where a folder should be")
    lost_at = fire.now()
    # On a busy machine three seconds may pass without a report that could be lost.
    ended = "SELECT count(*) FROM maintenance_run WHERE finished_at > %s AND attempt > 0"
    try:
        time.sleep(3.0)
        eventually(
            lambda: fire.stack.ask("ledger", ended, lost_at)[0][0] > 0,
            SECONDS_TO_A_REPORT,
            "a run ends without a log store",
        )
    finally:
        reports.unlink()
        aside.rename(reports)


def told(role: str, *words: str) -> Callable[[Fire], bool]:
    """Return an alarm: a line of WARNING or worse of these nodes has one of these words."""

    def alarm(fire: Fire) -> bool:
        lines = fire.log_since(role).splitlines()
        loud = [line for line in lines if "WARNING" in line or "ERROR" in line]
        return any(word in line for word in words for line in loud)

    return alarm


KINDS = (
    Kind(
        "broker restarted",
        BROKER,
        _restart_broker,
        ("I1", "I2", "I5"),
        alarm=told("", *SAID_OF_BROKER),
    ),
    *(
        _kill_broker_at(point)
        for point in (
            "beat.before_publish",
            "beat.published",
            "worker.claimed",
            "worker.before_ack",
        )
    ),
    *(
        _flush_broker_at(point)
        for point in ("beat.published", "worker.received", "worker.claimed", "worker.before_ack")
    ),
    Kind("broker failed over, losing 1 s", BROKER, _fail_over, ("I1", "I2", "I5")),
    Kind(
        "database restarted",
        DATABASE,
        _restart_database,
        ("I1", "I2", "I4", "I5"),
        alarm=told("", *SAID_OF_LEDGER),
    ),
    *(
        _kill_database_at(point)
        for point in (
            "beat.recording",
            "beat.published",
            "worker.claimed",
            "worker.report_half_written",
        )
    ),
    Kind(
        "database read-only",
        DATABASE,
        _make_read_only,
        ("I1", "I2", "I4", "I5"),
        told("", *SAID_OF_LEDGER),
    ),
    Kind(
        "connections exhausted",
        DATABASE,
        _exhaust_connections,
        ("I1", "I2", "I4", "I5"),
        told("", *SAID_OF_LEDGER),
    ),
    Kind(
        "log store down",
        LOG_STORE,
        _lose_the_log_store,
        ("I1", "I4", "I5"),
        told("worker", "in the ledger only"),
    ),
)
BY_NAME = {kind.name: kind for kind in KINDS}
