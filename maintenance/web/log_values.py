"""Times and latencies as logs have them. Pure."""

import re
from calendar import timegm
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"),
        start=1,
    )
}  # fmt: skip
_LOCAL = re.compile(rb"(\d\d)/(\w{3})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_ATTEMPT = re.compile(r"\d+(?:\.\d+)?")

ReadTime = Callable[[bytes], float]
ReadSeconds = Callable[[bytes], float | None]


def read_local(text: bytes) -> float:
    """Read ``25/Nov/2026:14:07:31 +0100``. Raises ``ValueError``."""
    match = _LOCAL.fullmatch(text)
    if match is None or match[2] not in _MONTHS:
        raise ValueError(f"{text!r} is no time")
    day, year, hour, minute, second = (int(match[n]) for n in (1, 3, 4, 5, 6))
    offset = int(match[8]) * 3600 + int(match[9]) * 60
    at = timegm((year, _MONTHS[match[2]], day, hour, minute, second))
    return at - offset if match[7] == b"+" else at + offset


def time_reader(name: str, time_format: str, zone: str) -> ReadTime:
    """Return what reads the variable ``name``; ``zone`` is that of times without an offset."""
    if name == "time_local":
        return read_local
    if name in {"msec", "usec"}:
        unit = 1e6 if name == "usec" else 1.0
        return lambda text: float(text) / unit
    if name == "time_text":
        return lambda text: _in_zone(datetime.strptime(text.decode(), time_format), zone)  # noqa: DTZ007 - the zone comes here
    return lambda text: read_any_time(text, zone)


def read_any_time(text: bytes, zone: str) -> float:
    """Read seconds since the epoch, ISO 8601, or the server's local form. Raises ``ValueError``."""
    if _ATTEMPT.fullmatch(text.decode("ascii", "replace")):
        return float(text)
    if b"/" in text:
        return read_local(text)
    return _in_zone(datetime.fromisoformat(text.decode("ascii", "replace")), zone)


def _in_zone(time: datetime, zone: str) -> float:
    return (time if time.tzinfo else time.replace(tzinfo=ZoneInfo(zone))).timestamp()


#: By how much the number of a variable is divided; others are seconds.
_UNITS = {"request_usec": 1e6, "request_msec": 1e3}


def seconds_reader(name: str) -> ReadSeconds:
    """Return what reads a latency in seconds; ``None`` for a request that has none.

    Of a request that nginx tried on several servers all attempts count, as the visitor waited for
    each. A name of JSON that ends in ``_ms`` or ``_us`` says its unit.
    """
    unit = _UNITS.get(name, 1e3 if name.endswith("_ms") else 1e6 if name.endswith("_us") else 1.0)

    def read(text: bytes) -> float | None:
        attempts = _ATTEMPT.findall(text.decode("ascii", "replace"))
        return sum(map(float, attempts)) / unit if attempts else None

    return read
