"""Each target looked at by itself: what holds, what is missing, and what mends it."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg2
import redis

from maintenance.conf import BrokerTarget, CacheTarget, Configuration, DatabaseTarget, RedisTarget
from maintenance.conf.references import missing_of, origin_of
from maintenance.core.errors import ConfigurationError, MissingRights, TargetUnavailable
from maintenance.core.findings import Finding, Severity
from maintenance.core.redaction import redact
from maintenance.core.reports import Report
from maintenance.core.wording import listed, seconds_in_words
from maintenance.doctor.certificates import (
    SOON_SECONDS,
    Validity,
    certificate_of_postgres,
    certificate_of_redis,
)
from maintenance.doctor.redis_needs import (
    RedisNeeds,
    known_rules,
    needs_of_broker,
    needs_of_cache,
    needs_of_redis,
    on_a_cluster,
)
from maintenance.doctor.statements import acl_line, key_rules
from maintenance.postgres.connection import reason_of
from maintenance.postgres.pgbouncer.console import look_at_console
from maintenance.postgres.readiness.findings import examine
from maintenance.postgres.readiness.look import look
from maintenance.redis_client.connection import session
from maintenance.redis_client.rights import look_for_rights
from maintenance.redis_client.sentinel import primary_url
from maintenance.redis_client.server import ServerFacts, server_facts

#: Logs and samples of two machines are laid side by side by the second; with a minute between them
#: a report names the wrong cause. NTP keeps clocks within some hundredths of a second.
CLOCK_TOLERANCE_SECONDS = 5.0

#: The oldest Redis whose subcommands the ACL rules name (6.2); Valkey began at 7.2.
OLDEST_REDIS = (6, 2)
_NO_SUBCOMMAND_BACK = "Redis 6.2 takes a subcommand away with its whole command alone"

Examination = Callable[[], Iterator[Finding]]


def examinations(configuration: Configuration) -> dict[str, Examination]:
    """Return what can be looked at, by the path of its section: ``databases.site``."""
    found: dict[str, Examination] = {}
    for name, database in configuration.databases.items():
        found[f"databases.{name}"] = lambda database=database: _database(database)  # type: ignore[misc]
    for name, server in configuration.redis.items():
        needs = needs_of_redis(configuration, name)
        found[f"redis.{name}"] = lambda server=server, needs=needs: _redis_server(server, needs)  # type: ignore[misc]
    for name, broker in configuration.brokers.items():
        found[f"brokers.{name}"] = lambda broker=broker: _broker(broker)  # type: ignore[misc]
    for name, cache in configuration.caches.items():
        if cache.url:
            found[f"caches.{name}"] = lambda cache=cache: _cache(cache)  # type: ignore[misc]
    return found


def examined(title: str, examination: Examination) -> Report:
    """Carry one out. It has an answer whatever the target does."""
    findings: list[Finding] = []
    try:
        findings += examination()
    except (TargetUnavailable, MissingRights, ConfigurationError) as error:
        findings.append(unreachable(title, str(error)))
    except psycopg2.Error as error:
        findings.append(
            unreachable(title, f"The server answered with an error: {reason_of(error)}.")
        )
    except (redis.RedisError, OSError) as error:
        findings.append(unreachable(title, f"The server answered with an error: {error}."))
    except ValueError:  # what it quotes may be a piece of a password
        sentence = (
            "Its address cannot be read. Quote special characters of the password (%2F for /)."
        )
        findings.append(unreachable(title, sentence))
    return report_of(title, findings)


def report_of(title: str, findings: list[Finding]) -> Report:
    """Return the report of one thing that was looked at."""
    faults = [finding for finding in findings if finding.severity is not Severity.OK]
    if not faults:
        summary = "All of it holds."
    else:
        worst = max(faults, key=lambda finding: finding.severity.rank)
        summary = worst.sentence
    return Report(title, summary, findings=tuple(findings))


def unreachable(subject: str, sentence: str, **more: Any) -> Finding:
    """Say that nothing can be done with a target."""
    return Finding("unreachable", Severity.CRITICAL, subject, redact(sentence), **more)


# --- PostgreSQL ----------------------------------------------------------------------------------


def _database(target: DatabaseTarget) -> Iterator[Finding]:
    reference = target.direct_url or target.url or ""
    if _is_incomplete(reference):
        yield _incomplete(reference)
        return
    parameters = target.connection_parameters()
    timeout = float(target.connect_timeout_seconds)
    try:
        server = look(target)
    except (TargetUnavailable, MissingRights, ConfigurationError) as error:
        yield _with_origin(unreachable("connection", str(error)), reference)
        yield from _certificate(certificate_of_postgres(parameters, timeout), is_used=True)
        return
    yield from examine(server)
    yield _clock(server.clock_ahead_seconds, server.clock_error_seconds)
    if server.is_encrypted:
        yield Finding("encryption", Severity.OK, "connection", "encrypted")
        yield from _certificate(certificate_of_postgres(parameters, timeout), is_used=False)
    for number, replica in enumerate(target.replica_targets(), 1):
        yield from _replica(number, replica)
    if target.pgbouncer:
        with _named_by("pgbouncer", target.pgbouncer) as fault:
            look_at_console(target.pgbouncer, target.connect_timeout_seconds)
            yield Finding("pgbouncer", Severity.OK, "pgbouncer", "PgBouncer's console answers")
        yield from fault


def _replica(number: int, target: DatabaseTarget) -> Iterator[Finding]:
    with _named_by(f"replica {number}", target.url or "") as fault:
        look(target)
        yield Finding("replica", Severity.OK, f"replica {number}", f"replica {number} answers")
    yield from fault


@contextmanager
def _named_by(subject: str, reference: str) -> Iterator[list[Finding]]:
    """Put what an address of a target's own raises into the list, as a finding."""
    fault: list[Finding] = []
    try:
        yield fault
    except (TargetUnavailable, MissingRights, ConfigurationError) as error:
        fault.append(_with_origin(unreachable(subject, str(error)), reference))


def _with_origin(finding: Finding, reference: str) -> Finding:
    """Say where the address stands, so that it can be corrected: the reference, never its value."""
    if not reference:
        return finding
    return replace(finding, advice=f"Its address comes from {origin_of(reference)}.")


# --- Redis ---------------------------------------------------------------------------------------


def _cache(target: CacheTarget) -> Iterator[Finding]:
    yield from _redis_server(RedisTarget(url=target.url or ""), needs_of_cache(target))


def _redis_server(target: RedisTarget, needs: RedisNeeds) -> Iterator[Finding]:
    incomplete = [one for one in (target.url, *target.sentinels) if _is_incomplete(one)]
    if incomplete:
        yield from map(_incomplete, incomplete)
        return
    try:
        url = primary_url(target)
        with session(target) as client:
            yield from _connected_redis(client, url, needs)
        yield from _certificate(certificate_of_redis(url, target.timeout_seconds), is_used=False)
    except (TargetUnavailable, MissingRights, ConfigurationError) as error:
        fault = unreachable("connection", str(error), commands=_lines_that_admit(target, error))
        yield _with_origin(fault, target.url)
        if isinstance(error, ConfigurationError):
            return  # there is no address
        yield from _certificate(
            certificate_of_redis(target.resolved_url(), target.timeout_seconds), is_used=True
        )


def _lines_that_admit(target: RedisTarget, error: Exception) -> tuple[str, ...]:
    """Return the line for a right without which there is no connection, such as ``+select``."""
    lacking = re.search(r"needs ACL (\+\S+)\.$", str(error))
    if not lacking:
        return ()
    return (acl_line(urlsplit(target.resolved_url()).username or "default", [lacking[1]]),)


def _connected_redis(client: redis.Redis, url: str, needs: RedisNeeds) -> Iterator[Finding]:
    facts: ServerFacts | None = None
    try:
        facts = server_facts(client)
    except redis.exceptions.NoPermissionError:
        pass  # named below, with every other right
    else:
        if facts.cluster_enabled:
            needs = on_a_cluster(needs)
        yield version_of_redis(facts)
        if facts.is_replica:
            yield Finding(
                "replica", Severity.WARNING, "role", "This server is a replica: nothing can be trimmed.",
                advice="Point the target at its primary, or name its sentinels.",
            )  # fmt: skip
    user = client.connection_pool.connection_kwargs.get("username") or "default"
    yield from _redis_rights(client, user, needs, facts)
    yield from _redis_clock(client)
    if url.startswith("rediss://"):
        yield Finding("encryption", Severity.OK, "connection", "encrypted")


def version_of_redis(facts: ServerFacts) -> Finding:
    """Judge a server's version. Pure."""
    oldest = ".".join(map(str, OLDEST_REDIS))
    if facts.product != "Redis" or facts.numbers >= OLDEST_REDIS:
        return Finding("version", Severity.OK, "version", facts.name)
    return Finding(
        "version", Severity.WARNING, "version",
        f"{facts.name} is older than the oldest that is supported, {oldest}.",
        advice="Upgrade the server: its ACL knows no rules for subcommands.",
    )  # fmt: skip


def _redis_rights(
    client: redis.Redis, user: str, needs: RedisNeeds, facts: ServerFacts | None
) -> Iterator[Finding]:
    rules = needs.rules
    major = facts.major if facts else 7
    pattern = needs.written[0] if needs.written else "*"
    key = pattern.replace("\\", "").replace("*", f"maintenance-doctor-{uuid4().hex}", 1)
    rights = look_for_rights(client, known_rules(rules, facts), key.replace("*", "x"))
    if rights.missing:
        tasks = list(dict.fromkeys(task for rule in rights.missing for task in rules[rule]))
        advice = "Afterwards ACL SAVE or CONFIG REWRITE, so that a restart does not forget it."
        undo = [acl_line(user, [f"-{rule[1:]}" for rule in rights.missing])]
        if major < 7 and any("|" in rule for rule in rights.missing):
            advice = f"Note before what ACL GETUSER says: {_NO_SUBCOMMAND_BACK}. {advice}"
            undo = []
        yield Finding(
            "redis-rights", Severity.WARNING, user,
            f"The user {user} lacks {listed(list(rights.missing), 40)}: {listed(tasks)} would do less.",
            evidence={"missing": list(rights.missing), "tasks": tasks},
            advice=advice,
            commands=(acl_line(user, rights.missing),),
            undo=tuple(undo),
        )  # fmt: skip
    if rights.keys_denied:
        patterns = key_rules(needs.written, knows_read_only_keys=major >= 7)
        yield Finding(
            "redis-keys", Severity.WARNING, user,
            f"The user {user} may not reach all keys that tasks look at or write to.",
            commands=(acl_line(user, patterns),),
        )  # fmt: skip
    if not rights.missing and not rights.keys_denied:
        yield Finding("redis-rights", Severity.OK, user, "the rights that its tasks need")


def _redis_clock(client: redis.Redis) -> Iterator[Finding]:
    asked = time.time()
    try:
        seconds, microseconds = client.time()
    except redis.exceptions.NoPermissionError:
        return  # its right is named, where a task needs it
    answered = time.time()
    ahead = seconds + microseconds / 1e6 - (asked + answered) / 2
    yield _clock(ahead, (answered - asked) / 2)


def _broker(target: BrokerTarget) -> Iterator[Finding]:
    if _is_incomplete(target.url):
        yield _incomplete(target.url)
        return
    url = target.resolved_url()
    if url.startswith("amqp"):
        with _named_by("connection", target.url) as fault:
            from maintenance.queues.amqp_broker import measure_amqp  # noqa: PLC0415 - few need it

            measure_amqp(target)
            yield Finding("version", Severity.OK, "connection", "the broker answers")
        yield from fault
        return
    server = RedisTarget(url=target.url, timeout_seconds=target.timeout_seconds)
    yield from _redis_server(server, needs_of_broker(target))


# --- What all of them have -----------------------------------------------------------------------


def _is_incomplete(reference: str) -> bool:
    return any(True for _ in missing_of(reference))


def _incomplete(reference: str, what: str = "the address of this server") -> Finding:
    names = list(missing_of(reference))
    if reference.startswith("file:"):
        sentence = f"{names[0]} is empty or cannot be read, but {what} is in it."
        return Finding("secret-unset", Severity.CRITICAL, names[0], sentence)
    verb = "is" if len(names) == 1 else "are"
    return Finding(
        "secret-unset", Severity.CRITICAL, ", ".join(names),
        f"{', '.join(names)} {verb} not set, or empty, but {what} is made of {'it' if verb == 'is' else 'them'}.",
        commands=tuple(f"export {name}=..." for name in names),
    )  # fmt: skip


def _clock(ahead_seconds: float, error_seconds: float) -> Finding:
    distance = abs(ahead_seconds) - error_seconds
    if distance <= CLOCK_TOLERANCE_SECONDS:
        return Finding("clock", Severity.OK, "clock", "clocks agree")
    direction = "ahead of" if ahead_seconds > 0 else "behind"
    return Finding(
        "clock-skew", Severity.WARNING, "clock",
        f"The server's clock is {seconds_in_words(abs(ahead_seconds))} {direction} this machine's:"
        " logs, ages and due times are judged wrongly.",
        evidence={"ahead_seconds": round(ahead_seconds, 3)},
        advice="Let both machines keep time: chrony or systemd-timesyncd.",
        commands=("timedatectl set-ntp true",),
    )  # fmt: skip


def _certificate(found: Validity | None, *, is_used: bool) -> Iterator[Finding]:
    """Judge a certificate; ``is_used`` is whether a connection failed that may have checked it."""
    if found is None:
        return
    left = found.left_seconds()
    if left <= 0:
        yield Finding(
            "certificate-expired", Severity.CRITICAL if is_used else Severity.WARNING, "certificate",
            f"The server's TLS certificate expired on {found.until}"
            + ("." if is_used else "; nobody notices, because this connection does not check it."),
            advice="Renew it, put it in place, and reload the server: SELECT pg_reload_conf() or CONFIG"
            " SET tls-cert-file.",
        )  # fmt: skip
    elif left <= SOON_SECONDS:
        yield Finding(
            "certificate-expires", Severity.WARNING, "certificate",
            f"The server's TLS certificate expires in {seconds_in_words(left)}, on {found.until}.",
            advice="Renew it: whatever does so by itself has failed.",
        )  # fmt: skip
    else:
        yield Finding("certificate", Severity.OK, "certificate", f"certificate until {found.until}")


def unset_secrets(references: Mapping[str, str]) -> list[Finding]:
    """Return a finding for each reference, by its path, that is none of the targets above."""
    return [
        _incomplete(reference, path)
        for path, reference in references.items()
        if _is_incomplete(reference)
    ]
