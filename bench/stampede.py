"""A stampede: real processes with many threads, all of which want one value at the same moment."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from django.core.cache.backends.base import BaseCache

from bench.stampede_readers import COMPUTATIONS, DJANGOS_OWN, KEY, RELEASE
from maintenance.caching.stampede import get_or_compute

ROOT = Path(__file__).resolve().parent.parent
OLD = "old value"
ENDED_DEADLINE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Stampede:
    """What the readers got, how long each of them took, and how often the value was computed.

    The computation was released only after the last reader had its answer, where ``waited`` is
    false: then nobody can have waited for it.
    """

    values: tuple[str, ...]
    seconds: tuple[float, ...]
    computations: int
    waited: bool


def stampede(
    url: str,
    cache: BaseCache,
    *,
    processes: int,
    threads: int,
    expired: bool = True,
    backend: str = DJANGOS_OWN,
) -> Stampede:
    """Let ``processes * threads`` readers loose on one key: past its end, or not there at all."""
    with redis.Redis.from_url(url) as server:
        server.delete(COMPUTATIONS, RELEASE)
        cache.delete(KEY)
        if expired:
            get_or_compute(KEY, lambda: OLD, 0.001, cache=cache, stale_seconds=600)
            time.sleep(0.002)
        with _crowd(url, processes, threads, backend) as crowd:
            for reader in crowd:
                _say(reader, "read")
            if not expired:
                server.rpush(RELEASE, "at once")
            reads = [read for reader in crowd for read in json.loads(_line(reader))]
            server.rpush(RELEASE, "now")
            _await_new_value(cache, server)
            for reader in crowd:
                _say(reader, "end")
        return Stampede(
            values=tuple(value for value, _ in reads),
            seconds=tuple(seconds for _, seconds in reads),
            computations=int(server.get(COMPUTATIONS) or 0),
            waited=not expired,
        )


def _await_new_value(cache: BaseCache, server: "redis.Redis") -> None:
    """Wait for the computation in the background of one of the processes, and its lock's end."""
    deadline = time.monotonic() + ENDED_DEADLINE_SECONDS
    while get_or_compute(KEY, lambda: OLD, 600, cache=cache, beta=0) == OLD or server.exists(
        cache.make_key(f"maintenance-flight:{KEY}")
    ):
        if time.monotonic() > deadline:
            raise RuntimeError("The value was not computed anew.")
        time.sleep(0.01)


@contextmanager
def _crowd(
    url: str, processes: int, threads: int, backend: str
) -> Iterator[Sequence["subprocess.Popen[str]"]]:
    command = [sys.executable, "-m", "bench.stampede_readers", url, str(threads), backend]
    crowd = [
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(processes)
    ]
    try:
        for reader in crowd:
            if _line(reader) != "ready\n":
                raise RuntimeError("A process of readers did not start.")
        yield crowd
    finally:
        for reader in crowd:
            reader.kill()
            reader.communicate()


def _say(reader: "subprocess.Popen[str]", word: str) -> None:
    assert reader.stdin is not None
    reader.stdin.write(word + "\n")
    reader.stdin.flush()


def _line(reader: "subprocess.Popen[str]") -> str:
    assert reader.stdout is not None
    return reader.stdout.readline()
