"""Readers of one cached value, in one process: ``python -m bench.stampede_readers URL THREADS``.

It says ``ready``, waits for a line, lets all its threads read at once, and prints what each of them
got and how long it took. The value's computation counts itself on the server, where no process can
hide one, and lasts until somebody pushes to ``release`` there. A last line ends the process.
"""

import json
import sys
import threading
import time

import django
import redis
from django.conf import settings

KEY = "popular_books"
COMPUTATIONS = "computations"
RELEASE = "release"
DJANGOS_OWN = "django.core.cache.backends.redis.RedisCache"
#: A computation that nobody releases ends all the same.
LONGEST_COMPUTATION_SECONDS = 60


def main(url: str, threads: int, backend: str) -> None:
    """Be a process of readers."""
    settings.configure(
        DATABASES={}, USE_TZ=True, CACHES={"default": {"BACKEND": backend, "LOCATION": url}}
    )
    django.setup()
    from maintenance.caching.stampede import get_or_compute  # noqa: PLC0415 - needs the settings

    server = redis.Redis.from_url(url)
    start = threading.Barrier(threads)
    reads: list[tuple[str, float]] = []

    def compute() -> str:
        number = server.incr(COMPUTATIONS)
        server.blpop([RELEASE], timeout=LONGEST_COMPUTATION_SECONDS)
        return f"computation {number}"

    def read() -> None:
        start.wait()
        started = time.perf_counter()
        value = get_or_compute(KEY, compute, 600)
        reads.append((value, time.perf_counter() - started))

    crowd = [threading.Thread(target=read) for _ in range(threads)]
    print("ready", flush=True)
    sys.stdin.readline()
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    print(json.dumps(reads), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    _program, given_url, given_threads, *rest = sys.argv
    main(given_url, int(given_threads), rest[0] if rest else DJANGOS_OWN)
