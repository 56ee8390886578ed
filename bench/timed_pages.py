"""How long a page takes, within a process with Django: its median, its queries, its weight."""

import statistics
import sys
import time
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

#: The first answers fill caches.
NOT_COUNTED = 3


def timed(client: Any, url: str, pages: int) -> dict[str, float]:
    """Ask ``pages`` times; return ``ms``, ``queries``, ``query_ms`` and ``kb``, and print the queries.

    Raises ``RuntimeError`` for an answer other than 200.
    """
    seconds = []
    for _ in range(pages + NOT_COUNTED):
        begin = time.perf_counter()
        answer = client.get(url)
        seconds.append(time.perf_counter() - begin)
        if answer.status_code != 200:
            raise RuntimeError(f"{url} answered {answer.status_code}.")
    with CaptureQueriesContext(connection) as queries:
        client.get(url)
    for query in queries:
        print(f"{float(query['time']) * 1000:8.1f} ms  {query['sql'][:150]!r}", file=sys.stderr)
    return {
        "ms": statistics.median(seconds[NOT_COUNTED:]) * 1000,
        "queries": len(queries),
        "query_ms": sum(float(query["time"]) for query in queries) * 1000,
        "kb": len(answer.content) / 1000,
    }
