"""The site's access log of one day, as Nginx writes it: a burst of failures, and a slow page."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from service.sample_site.truth import Decoy, Fault, FaultKind

REQUESTS: Final = 20_000
DAY_SECONDS: Final = 86_400

#: ``maintenance.toml`` beside this file has the format.
FAILING_ROUTE: Final = "/import/{id}/status"
BURST_START: Final = timedelta(hours=14, minutes=7)
BURST_MINUTES: Final = 3
BURST_REQUESTS: Final = 240

SLOW_ROUTE: Final = "/book/{id}/similar"
SLOW_REQUESTS: Final = 400
SLOW_SECONDS: Final = 2.4

#: One answer that took long is not a slow page.
ONCE_SLOW_ROUTE: Final = "/search"

_ROUTES: Final = ("/", "/book/{id}", ONCE_SLOW_ROUTE, "/user/reader-{id}/books", "/static/site.css")


def write(path: Path, as_of: date, seed: int) -> None:
    """Write the log of the day before ``as_of``, in UTC; same seed, same log."""
    choose = random.Random(seed)  # noqa: S311 - repeatable, nothing secret
    start = datetime(as_of.year, as_of.month, as_of.day, tzinfo=UTC) - timedelta(days=1)
    lines = sorted(_requests(choose))
    with path.open("w", encoding="ascii") as file:
        for second, route, status, seconds in lines:
            moment = start + timedelta(seconds=second)
            target = route.replace("{id}", str(choose.randrange(1, 5_000)))
            file.write(
                f"10.0.{choose.randrange(256)}.{choose.randrange(1, 255)} - -"
                f" [{moment:%d/%b/%Y:%H:%M:%S} +0000]"
                f' "GET {target} HTTP/1.1" {status} {choose.randrange(400, 60_000)}'
                f' "-" "Mozilla/5.0" {seconds:.3f}\n'
            )


def _requests(choose: random.Random) -> Iterator[tuple[int, str, int, float]]:
    """Yield the second of the day, the route, the status and the seconds of each request."""
    for number in range(REQUESTS):
        route = choose.choice(_ROUTES)
        is_once_slow = number == REQUESTS // 2
        yield (
            choose.randrange(DAY_SECONDS),
            ONCE_SLOW_ROUTE if is_once_slow else route,
            500 if number % 2_000 == 7 else 200,
            30.0 if is_once_slow else choose.lognormvariate(-2.7, 0.4),
        )
    burst = int(BURST_START.total_seconds())
    for _ in range(BURST_REQUESTS):
        yield burst + choose.randrange(BURST_MINUTES * 60), FAILING_ROUTE, 502, 0.01
    for _ in range(SLOW_REQUESTS):
        yield (
            choose.randrange(DAY_SECONDS),
            SLOW_ROUTE,
            200,
            choose.uniform(0.9, 1.1) * SLOW_SECONDS,
        )


def faults(as_of: date) -> tuple[Fault, ...]:
    """Return what the log shows."""
    start = datetime(as_of.year, as_of.month, as_of.day, tzinfo=UTC) - timedelta(days=1)
    return (
        Fault(
            FaultKind.ERROR_BURST,
            FAILING_ROUTE,
            "The application server was restarted without a stop of its own.",
            expected={
                "first_minute": f"{start + BURST_START:%Y-%m-%d %H:%M} UTC",
                "minutes": BURST_MINUTES,
                "server_errors": BURST_REQUESTS,
            },
        ),
        Fault(
            FaultKind.SLOW_ROUTE,
            SLOW_ROUTE,
            "It compares a book with every other one.",
            expected={"requests": SLOW_REQUESTS, "p95_at_least_ms": SLOW_SECONDS * 1000},
        ),
    )


def decoys() -> tuple[Decoy, ...]:
    """Return what only looks like a fault."""
    return (Decoy(FaultKind.SLOW_ROUTE, ONCE_SLOW_ROUTE, "One of thousands of answers took 30 s."),)
