"""Work on streams that is killed in the middle leaves what the rule keeps, and goes on when run again."""

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection

import pytest
import redis

from maintenance.conf import RedisTarget, StreamFamily, StreamOwners
from maintenance.core.job import Job, SilentProgress
from maintenance.core.reports import Report
from maintenance.redis.abandoned import remove_abandoned_streams
from maintenance.redis.abandoned_options import RemoveStreamsOptions
from maintenance.redis.stream_options import TrimOptions
from maintenance.redis.streams import trim_streams

USERS = 6000
LIMIT = 20
FAMILY = StreamFamily(
    redis="main",
    pattern="*-home",
    max_length=LIMIT,
    owners="users",
    companions=("{key}-unread",),
    keys_per_batch=50,
)


@pytest.fixture
def client(each_client: redis.Redis) -> redis.Redis:
    """A server with a stream a user: of every second one it is over length."""
    with each_client.pipeline(transaction=False) as pipeline:
        for user in range(USERS):
            members = LIMIT + 15 if user % 2 else LIMIT - 5
            pipeline.zadd(f"{user}-home", {f"m{n}": n for n in range(members)})
            pipeline.set(f"{user}-home-unread", user)
        pipeline.zadd("huge-home", {f"m{n}": n for n in range(60_000)})
        pipeline.execute()
    return each_client


class Halting(SilentProgress):
    """Says on a line when a phase has come so far, and waits there for the kill."""

    def __init__(self, line: Connection, phase: str, updates: int) -> None:
        self.line = line
        self.phase = phase
        self.remaining = updates

    def update(
        self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
    ) -> None:
        self.remaining -= phase.startswith(self.phase)
        if self.remaining == 0:
            self.line.send("halfway")
            self.line.recv()


def trim(url: str, line: Connection | None = None) -> Report:
    progress = SilentProgress() if line is None else Halting(line, "trimming", 60)
    job = Job("main", RedisTarget(url=url), TrimOptions(), progress=progress)
    return trim_streams(job, {"home": FAMILY})


def remove(
    url: str, line: Connection | None = None, phase: str = "removing", updates: int = 60
) -> Report:
    kept = ["huge", *map(str, range(0, USERS, 3)), *map(str, range(1, USERS, 3))]
    owners = {"users": StreamOwners(answers="kept", provider="users")}
    progress = SilentProgress() if line is None else Halting(line, phase, updates)
    job = Job("main", RedisTarget(url=url), RemoveStreamsOptions(), progress=progress)
    return remove_abandoned_streams(job, {"home": FAMILY}, owners, lambda _owners: kept)


def remove_companions(url: str, line: Connection) -> Report:
    return remove(url, line, "removing companions", 30)


def kill_in_the_middle(work: Callable[[str, Connection], Report], url: str) -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=work, args=(url, theirs))
    process.start()
    try:
        assert ours.poll(30), "the work has not come halfway"
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL


def lengths(client: redis.Redis) -> list[int]:
    with client.pipeline(transaction=False) as pipeline:
        for user in range(USERS):
            pipeline.zcard(f"{user}-home")
        return pipeline.execute()


def test_a_trim_that_is_killed_loses_nothing_and_is_finished_by_the_next(
    client: redis.Redis, each_server: str
) -> None:
    kill_in_the_middle(trim, each_server)
    halfway = lengths(client)
    assert set(halfway) == {LIMIT - 5, LIMIT, LIMIT + 15}
    left = halfway.count(LIMIT + 15)
    huge = client.zcard("huge-home")

    report = trim(each_server)

    assert report.outcomes[0].action.predicted["keys"] == left + (huge > LIMIT)
    assert lengths(client) == [LIMIT if user % 2 else LIMIT - 5 for user in range(USERS)]
    assert client.zrange("1-home", 0, -1) == [b"m%d" % n for n in range(15, LIMIT + 15)]
    assert client.zrange("huge-home", 0, -1) == [b"m%d" % n for n in range(60_000 - LIMIT, 60_000)]
    assert client.dbsize() == 2 * USERS + 1


def test_a_removal_that_is_killed_took_only_the_gone_and_is_finished_by_the_next(
    client: redis.Redis, each_server: str
) -> None:
    kill_in_the_middle(remove, each_server)
    assert 2 * USERS + 1 - 2 * USERS // 3 < client.dbsize() < 2 * USERS + 1
    remove(each_server)
    gone = range(2, USERS, 3)
    there = [user for user, length in enumerate(lengths(client)) if length]
    assert there == [user for user in range(USERS) if user not in gone]
    assert client.dbsize() == 2 * USERS + 1 - 2 * len(gone)


def test_companions_without_a_stream_go_by_the_next_run_where_one_is_killed(
    client: redis.Redis, each_server: str
) -> None:
    gone = range(2, USERS, 3)
    client.unlink(*(f"{user}-home" for user in gone))
    kill_in_the_middle(remove_companions, each_server)
    assert 2 * USERS + 1 - 2 * len(gone) < client.dbsize() < 2 * USERS + 1 - len(gone)
    remove(each_server)
    assert client.dbsize() == 2 * USERS + 1 - 2 * len(gone)
    assert client.exists(*(f"{user}-home-unread" for user in gone)) == 0
