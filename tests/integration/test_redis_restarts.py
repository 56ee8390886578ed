"""Servers that restart under our work, or are still loading: it ends with the reason, and is done again."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.cache.backends.redis import RedisCache

from maintenance.caching.options import WarmOptions
from maintenance.caching.warmers import unregister, warmer
from maintenance.caching.warming import warm_caches
from maintenance.conf import CacheTarget, RedisTarget, StreamFamily
from maintenance.core.errors import TargetUnavailable
from maintenance.core.job import Job, SilentProgress
from maintenance.core.reports import Report
from maintenance.core.runs.failures import is_transient
from maintenance.redis.stream_options import TrimOptions
from maintenance.redis.streams import trim_streams
from service.embedded.binaries import ValkeyBinaries
from service.embedded.valkey import EmbeddedValkey
from tests.polling import eventually
from tests.redis_servers import KINDS, binaries_of, is_before_7

#: So many that a few batches leave some to trim.
USERS = 1200
LIMIT = 10
#: Of one key; nobody waits for all of them.
SLOWLY = {"key-load-delay": "7500"}
#: Clients are answered in between, with LOADING.
ANSWERING = {"loading-process-events-interval-bytes": "1024"}
#: Redis 6.2 has no setting for it: it answers after so many bytes each time.
ANSWERED_AFTER_BYTES = 2 * 1024**2
LARGE_VALUES = 40
NO_FILE = {"appendonly": "no"}


class Loading(EmbeddedValkey):
    """Counts as started while it loads its data."""

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url(), socket_timeout=1) as client:
            try:
                return bool(client.info("persistence")["loading"])
            except (redis.ConnectionError, redis.TimeoutError):
                return False


@pytest.fixture(params=KINDS)
def binaries(request: pytest.FixtureRequest) -> ValkeyBinaries:
    return binaries_of(request.param)


@pytest.fixture
def server(binaries: ValkeyBinaries, server_root: Path) -> Iterator[EmbeddedValkey]:
    """A server of its own with streams, half of them too long, and all of it in its file."""
    folder = server_root / f"restarts-{secrets.token_hex(4)}"
    with EmbeddedValkey(folder, secrets.token_hex(8), binaries=binaries, settings=NO_FILE) as own:
        with redis.Redis.from_url(own.url()) as client:
            pipeline = client.pipeline(transaction=False)
            for user in range(USERS):
                size = LIMIT + 15 if user % 2 else LIMIT - 5
                pipeline.zadd(f"{user}-home", {f"m{n}": n for n in range(size)})
            pipeline.execute()
            for number in range(LARGE_VALUES if is_before_7(client) else 0):
                client.set(f"large-{number}", secrets.token_bytes(ANSWERED_AFTER_BYTES))
            client.save()
        yield own


@pytest.fixture
def loading(server: EmbeddedValkey, binaries: ValkeyBinaries) -> Iterator[EmbeddedValkey]:
    """The same server, loading what is in its file, until it is told to hurry (6.2: for 10 s)."""
    server.stop()
    settings = NO_FILE | SLOWLY | ({} if binaries.version.startswith("6.") else ANSWERING)
    slow = Loading(server.state_dir, server._password, binaries=binaries, settings=settings)
    with slow:
        yield slow


def hurry(server: EmbeddedValkey) -> None:
    with redis.Redis.from_url(server.url()) as client:
        if not is_before_7(client):  # which lets nobody set anything meanwhile
            client.config_set("key-load-delay", 0)
        eventually(lambda: not client.info("persistence")["loading"], 30, "all is loaded")


def trim(url: str, act: Callable[[], Any] | None = None) -> Report:
    family = StreamFamily(redis="main", pattern="*-home", max_length=LIMIT, keys_per_batch=32)
    progress = SilentProgress() if act is None else Midway(url, act)
    job = Job("main", RedisTarget(url=url, role="streams"), TrimOptions(), progress=progress)
    return trim_streams(job, {"home": family})


class Midway(SilentProgress):
    """Does something once, as soon as some streams have been trimmed."""

    def __init__(self, url: str, act: Callable[[], Any]) -> None:
        self.url = url
        self.act: Callable[[], Any] | None = act

    def update(
        self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
    ) -> None:
        if self.act is not None and self._some_are_trimmed():
            act, self.act = self.act, None
            act()

    def _some_are_trimmed(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            return LIMIT in map(len, members(client))


def members(client: redis.Redis) -> list[list[bytes]]:
    pipeline = client.pipeline(transaction=False)
    for user in range(USERS):
        pipeline.zrange(f"{user}-home", 0, -1)
    return pipeline.execute()


KEPT = [
    [b"m%d" % n for n in (range(15, LIMIT + 15) if user % 2 else range(LIMIT - 5))]
    for user in range(USERS)
]


def test_a_trim_of_a_server_that_is_loading_says_so_and_is_tried_again(
    loading: EmbeddedValkey,
) -> None:
    with pytest.raises(TargetUnavailable, match="is still loading its data set") as refused:
        trim(loading.url())
    assert is_transient(refused.value)
    hurry(loading)
    report = trim(loading.url())
    assert report.outcomes[0].after["keys_at_length"] == USERS // 2
    with redis.Redis.from_url(loading.url()) as client:
        assert members(client) == KEPT


def test_a_warming_of_a_cache_that_is_loading_says_so_and_is_tried_again(
    loading: EmbeddedValkey,
) -> None:
    warmer(key="trending", ttl_seconds=600, cache="pages", name="trending")(lambda: [1, 2, 3])
    job = Job("pages", CacheTarget(url=loading.url(), key_prefix="site"), WarmOptions())
    try:
        with pytest.raises(TargetUnavailable, match="is still loading its data set") as refused:
            warm_caches(job)
        assert is_transient(refused.value)
        hurry(loading)
        warm_caches(job)
    finally:
        unregister("pages", "trending")
    cache = RedisCache(loading.url(), {"KEY_PREFIX": "site"})
    assert cache.get("trending") == [1, 2, 3]
    cache._cache.get_client(None, write=True).connection_pool.disconnect()


def test_a_trim_sends_no_script_and_needs_none_that_was_forgotten(server: EmbeddedValkey) -> None:
    with redis.Redis.from_url(server.url()) as client:
        client.config_resetstat()
        trim(server.url(), client.script_flush)
        used = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
        assert {"zremrangebyrank", "zcard", "scan"} <= used
        scripts = {
            name for name in used if name.startswith(("eval", "fcall", "script", "function"))
        }
        assert {name.partition("|")[0] for name in scripts} == {"script"}  # the test's own
        assert members(client) == KEPT


def test_a_server_that_restarts_within_a_trim_loses_nothing_and_is_trimmed_by_the_next(
    server: EmbeddedValkey,
) -> None:
    halfway: list[list[bytes]] = []

    def restart() -> None:
        with redis.Redis.from_url(server.url()) as client:
            client.save()
            halfway.extend(members(client))
        server.stop()
        server.start()

    with pytest.raises(TargetUnavailable, match="cannot be reached") as broken:
        trim(server.url(), restart)
    assert is_transient(broken.value)
    done = sum(one == kept for one, kept in zip(halfway, KEPT, strict=True))
    assert USERS // 2 < done < USERS
    with redis.Redis.from_url(server.url()) as client:
        assert members(client) == halfway
        report = trim(server.url())
        assert members(client) == KEPT
    assert report.outcomes[0].action.predicted["keys"] == USERS - done
