"""What the server itself notes of slowness: its slow log and its latency monitor.

Of a slow command only its name and the shape of its key are kept: arguments are a site's data, and
may be secrets.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import redis

from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.wording import counted, seconds_in_words
from maintenance.redis.key_shapes import shape_of
from maintenance.redis_client.connection import CLIENT_NAME
from maintenance.redis_client.packed import Exchange, pack

#: The server's own default length of the log (slowlog-max-len).
SLOWLOG_ENTRIES = 128
#: A command of this length is felt by everybody who waits behind it, and no longer a remark.
STALL_SECONDS = 0.1

#: Commands whose first argument is a key. Of others (EVAL, AUTH, CONFIG) the name alone is said.
_WITH_KEY = (
    "APPEND BITCOUNT BLPOP BRPOP BRPOPLPUSH COPY DECR DEL DUMP EXISTS EXPIRE GET GETDEL GETEX"
    " GETRANGE GETSET HDEL HGET HGETALL HINCRBY HKEYS HLEN HMGET HMSET HSCAN HSET HVALS INCR"
    " INCRBY LINDEX LINSERT LLEN LPOP LPUSH LRANGE LREM LSET LTRIM MGET MSET PEXPIRE PSETEX"
    " RENAME RESTORE RPOP RPOPLPUSH RPUSH SADD SCARD SDIFF SET SETEX SETNX SINTER SISMEMBER"
    " SMEMBERS SORT SPOP SREM SSCAN STRLEN SUNION TTL TYPE UNLINK XADD XLEN XRANGE XREVRANGE"
    " XTRIM ZADD ZCARD ZCOUNT ZINCRBY ZRANGE ZRANGEBYSCORE ZRANK ZREM ZREMRANGEBYRANK"
    " ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYSCORE ZSCAN ZSCORE"
)
#: Commands whose second word says what they do.
_CONTAINERS = "ACL CLIENT CLUSTER COMMAND CONFIG DEBUG LATENCY MEMORY OBJECT SCRIPT SLOWLOG XINFO"

_WITH_KEY_NAMES = frozenset(_WITH_KEY.split())
_CONTAINER_NAMES = frozenset(_CONTAINERS.split())


@dataclass(frozen=True, slots=True)
class SlowCommand:
    """One entry of the slow log. ``command`` is its name, ``shape`` that of its key or empty."""

    number: int
    at_epoch_seconds: int
    duration_seconds: float
    command: str
    shape: str
    client_name: str


@dataclass(frozen=True, slots=True)
class LatencyEvent:
    """The latest spike of one kind, and the worst since the server began to watch."""

    event: str
    at_epoch_seconds: int
    latest_seconds: float
    worst_seconds: float


@dataclass(frozen=True, slots=True)
class Slowness:
    """What could be read; ``None`` where the right is missing. ``denied`` names the ACL rules."""

    slow_log: tuple[SlowCommand, ...] | None
    events: tuple[LatencyEvent, ...] | None
    denied: tuple[str, ...]


def measure_slowness(exchange: Exchange) -> Slowness:
    """Read slow log and latency events, where the server allows and offers them."""
    replies = exchange.run(
        [pack(b"SLOWLOG", b"GET", b"%d" % SLOWLOG_ENTRIES), pack(b"LATENCY", b"LATEST")]
    )
    denied = []
    for rule, reply in zip(("+slowlog|get", "+latency|latest"), replies, strict=True):
        if isinstance(reply, redis.ResponseError):
            denied.append(rule)
    log, events = replies
    return Slowness(
        None if isinstance(log, Exception) else tuple(map(_slow_command, log)),
        None if isinstance(events, Exception) else tuple(map(_event, events)),
        tuple(denied),
    )


def _slow_command(entry: Sequence[Any]) -> SlowCommand:
    number, at, duration_us, arguments = entry[:4]
    command, shape = named(arguments)
    client_name = entry[5].decode("utf-8", "replace") if len(entry) > 5 else ""
    return SlowCommand(number, at, duration_us / 1e6, command, shape, client_name)


def named(arguments: Sequence[bytes]) -> tuple[str, str]:
    """Return a command's name, and the shape of its key where it has one."""
    words = [word.decode("utf-8", "replace").upper() for word in arguments[:2]]
    if words[0] in _CONTAINER_NAMES:
        return " ".join(words), ""
    if words[0] in _WITH_KEY_NAMES and len(arguments) > 1:
        return words[0], shape_of(arguments[1])
    return words[0], ""


def _event(row: Sequence[Any]) -> LatencyEvent:
    event, at, latest_ms, worst_ms = row[:4]  # Valkey 8.1 and later add a sum and a count
    return LatencyEvent(event.decode(), at, latest_ms / 1000, worst_ms / 1000)


_DENIED: Mapping[str, tuple[str, str]] = {
    "+slowlog|get": ("redis-slow-commands", "which commands are slow"),
    "+latency|latest": ("redis-latency", "what makes the server stall"),
}


def diagnose_slowness(
    name: str,
    slowness: Slowness,
    settings: Mapping[str, str],
    previous: Mapping[str, Any],
    *,
    is_same_life: bool,
) -> Iterator[Finding]:
    """Name what was slow since the previous check of the same life of the server."""
    before = previous if is_same_life else {}
    if slowness.slow_log is not None:
        yield from _slow_log(name, slowness.slow_log, settings, before)
    if slowness.events is not None:
        yield from _events(name, slowness.events, settings, before)
    for rule in slowness.denied:
        code, what = _DENIED[rule]
        yield unavailable(code, name, what, f"the ACL right {rule}")


def state_of(slowness: Slowness) -> dict[str, Any]:
    """Return what the next check compares with."""
    return {
        "slow_log_number": max((entry.number for entry in slowness.slow_log or ()), default=-1),
        "latency_events": {event.event: event.at_epoch_seconds for event in slowness.events or ()},
    }


def new_entries(
    log: Sequence[SlowCommand], previous: Mapping[str, Any]
) -> tuple[list[SlowCommand], int]:
    """Return the sites' entries since the previous check, and how many were logged in all.

    Numbers rise by one, so that entries which the log has forgotten are counted as well. Our own
    commands are left out of the entries; a log that was emptied goes on counting.
    """
    last = previous.get("slow_log_number", -1)
    new = [entry for entry in log if entry.number > last]
    logged = max((entry.number for entry in new), default=last) - last
    if last == -1:
        logged = len(new)  # the number of the first one that was ever logged is not known
    ours = [entry for entry in new if entry.client_name == CLIENT_NAME]
    return [e for e in new if e.client_name != CLIENT_NAME], logged - len(ours)


def _slow_log(
    name: str,
    log: Sequence[SlowCommand],
    settings: Mapping[str, str],
    previous: Mapping[str, Any],
) -> Iterator[Finding]:
    if settings.get("slowlog-log-slower-than") == "-1":
        yield replace(
            unavailable("redis-slow-commands", name, "which commands are slow", "the slow log"),
            advice="It is off. Turn it on; commands that take longer than 10 ms are then noted.",
            commands=("CONFIG SET slowlog-log-slower-than 10000",),
            undo=("CONFIG SET slowlog-log-slower-than -1",),
        )
        return
    new, count = new_entries(log, previous)
    if not new:
        return
    slowest = max(new, key=lambda entry: entry.duration_seconds)
    since = "since the previous check" if "slow_log_number" in previous else "in its slow log"
    yield Finding(
        code="redis-slow-commands",
        severity=(Severity.WARNING if slowest.duration_seconds >= STALL_SECONDS else Severity.INFO),
        subject=name,
        sentence=(
            f"{name} noted {counted(count, 'slow command')} {since}; the slowest, {_said(slowest)},"
            f" took {seconds_in_words(slowest.duration_seconds)}, and every other client waited."
        ),
        evidence={
            "commands": count,
            "slowest_command": slowest.command,
            "slowest_key": slowest.shape,
            "slowest_seconds": slowest.duration_seconds,
            "slow_from_ms": _threshold_ms(settings),
        },
        advice=(
            "Read fewer members at once (ZRANGE with a limit, SSCAN for SMEMBERS), use UNLINK for"
            " DEL and SCAN for KEYS."
        ),
        commands=("SLOWLOG GET 25",),
    )


def _threshold_ms(settings: Mapping[str, str]) -> float | None:
    """Return how long a command takes to be noted; ``None`` where CONFIG GET is not allowed."""
    microseconds = settings.get("slowlog-log-slower-than")
    return None if microseconds is None else int(microseconds) / 1000


def _said(entry: SlowCommand) -> str:
    return f"{entry.command} of {entry.shape}" if entry.shape else entry.command


def _events(
    name: str,
    events: Sequence[LatencyEvent],
    settings: Mapping[str, str],
    previous: Mapping[str, Any],
) -> Iterator[Finding]:
    if settings.get("latency-monitor-threshold") == "0":
        yield replace(
            unavailable(
                "redis-latency", name, "what makes the server stall", "the latency monitor"
            ),
            advice="It is off. Turn it on; what took longer than 100 ms is then noted.",
            commands=("CONFIG SET latency-monitor-threshold 100",),
            undo=("CONFIG SET latency-monitor-threshold 0",),
        )
        return
    known = previous.get("latency_events", {})
    for event in events:
        if known.get(event.event) == event.at_epoch_seconds:
            continue
        yield Finding(
            code="redis-latency",
            severity=Severity.WARNING,
            subject=f"{name} {event.event}",
            sentence=(
                f"{name} stood still for {seconds_in_words(event.latest_seconds)} because of"
                f" {event.event}; the worst time so far was {seconds_in_words(event.worst_seconds)}."
            ),
            evidence={
                "event": event.event,
                "latest_seconds": event.latest_seconds,
                "worst_seconds": event.worst_seconds,
            },
            advice=_EVENT_ADVICE.get(event.event, "LATENCY DOCTOR explains it."),
            commands=(f"LATENCY HISTORY {event.event}",),
        )


#: By the server's own names (Redis documentation, "Latency monitoring").
_EVENT_ADVICE: Mapping[str, str] = {
    "command": "A slow command: see the slow log.",
    "fast-command": "A command that is fast by itself waited: look for swapping and a busy machine.",
    "fork": "Turn transparent huge pages off; save less often.",
    "expire-cycle": "Many keys expire at the same time: spread the time-outs of cached values.",
    "eviction-cycle": "Memory is full and keys are evicted: give it more, or store less.",
    "eviction-del": "Large keys are evicted: set lazyfree-lazy-eviction yes.",
    "aof-fsync-always": "The disk is slow: use appendfsync everysec.",
    "aof-write-pending-fsync": "The disk is slow: use no-appendfsync-on-rewrite yes, or a faster one.",
}


def slow_rows(log: Sequence[SlowCommand]) -> list[dict[str, Any]]:
    """Return a row for each command and shape of the log, the most time first."""
    groups: dict[tuple[str, str], list[float]] = {}
    for entry in log:
        groups.setdefault((entry.command, entry.shape), []).append(entry.duration_seconds)
    rows = [
        {
            "command": command,
            "key": shape,
            "times": len(durations),
            "total_ms": sum(durations) * 1000,
            "longest_ms": max(durations) * 1000,
        }
        for (command, shape), durations in groups.items()
    ]
    return sorted(rows, key=lambda row: -row["total_ms"])
