"""Roles and users with the least rights, as lines that a person runs: no password stands in them."""

import re
from collections.abc import Iterator, Sequence

from maintenance.conf import Configuration, DatabaseTarget, RedisTarget
from maintenance.doctor.redis_needs import RedisNeeds, known_rules, on_a_cluster
from maintenance.postgres.connection import connect
from maintenance.postgres.readiness.roles import READER, VACUUMER, left_out, role_statements
from maintenance.redis_client.connection import session
from maintenance.redis_client.server import ServerFacts, server_facts

#: Users of Redis: one that looks, one that trims, removes and warms as well.
REDIS_READER = "maintenance_reader"
REDIS_WRITER = "maintenance_writer"

_WHITE_SPACE = re.compile(r"[\s\0]")


def acl_line(user: str, rules: Sequence[str]) -> str:
    """Return a line for redis-cli."""
    return " ".join(["ACL SETUSER", *map(_word, (user, *rules))])


def _word(text: str) -> str:
    """Quote a word as redis-cli reads it (``sdssplitargs``), where it has to be."""
    if text and text.isascii() and not set(" \"'\\\n\r\t") & set(text):
        return text
    quoted = (f"\\x{byte:02x}" if byte < 32 or byte > 126 else chr(byte) for byte in text.encode())
    return '"' + "".join(f"\\{one}" if one in '"\\' else one for one in quoted) + '"'


def statements_of_database(target: DatabaseTarget, title: str) -> Iterator[str]:
    """Yield the lines of one database. Raises as ``connect``; nothing is run."""
    with connect(target, purpose="doctor") as conn:
        yield f"-- {title}: {conn.info.dbname} on {conn.info.host}:{conn.info.port}"
        yield from role_statements(conn)
        for owner in left_out(conn):
            yield (
                f"-- Tables of {owner} stay as they are: it is a superuser, and membership would be too"
                " much. Give them another owner."
            )
    yield "-- Then, in psql, a password each, which is sent as a hash:"
    for role in (READER, VACUUMER):
        yield f"--   \\password {role}"


def users_of_redis(target: RedisTarget, title: str, needs: RedisNeeds) -> Iterator[str]:
    """Yield the lines of one server, for what is configured on it. Raises as ``session``."""
    with session(target) as client:
        facts = server_facts(client)
    knows_read_only_keys = facts.product == "Valkey" or facts.major >= 7  # came with 7.0
    if facts.cluster_enabled:
        needs = on_a_cluster(needs)
    yield f"# {title}: {facts.name}"
    if needs.writing and not knows_read_only_keys:
        yield (
            f"# {facts.name} has no rule for keys that may be read alone (7.0 has): by its commands"
            f" {REDIS_WRITER} can write to every key."
        )
    if facts.cluster_enabled or target.sentinels:
        yield "# Users are not replicated: run this on each server, its replicas included."
    users = list(_users(needs, facts, knows_read_only_keys=knows_read_only_keys))
    for user, rules, patterns in users:
        # What the user had before is taken away, its password is not.
        yield acl_line(user, ["on", "resetkeys", "resetchannels", "-@all", *patterns, *rules])
    yield "# Then a password each, and keep it over a restart: ACL SAVE, or CONFIG REWRITE."
    for user, _rules, _patterns in users:
        yield f"#   ACL SETUSER {user} >..."


def _users(
    needs: RedisNeeds, facts: ServerFacts, *, knows_read_only_keys: bool
) -> Iterator[tuple[str, list[str], list[str]]]:
    yield (
        REDIS_READER,
        known_rules(needs.reading, facts),
        key_rules((), knows_read_only_keys=knows_read_only_keys),
    )
    if needs.writing:
        patterns = key_rules(needs.written, knows_read_only_keys=knows_read_only_keys)
        yield REDIS_WRITER, known_rules(needs.rules, facts), patterns


def key_rules(written: Sequence[str], *, knows_read_only_keys: bool) -> list[str]:
    """Return the rules for reading every key, and for writing to those of some patterns.

    A pattern of an ACL holds no white space (Redis source, ``ACLStringHasSpaces``): any one character
    stands for it.
    """
    patterns = [f"~{_WHITE_SPACE.sub('?', pattern)}" for pattern in written]
    if "~*" in patterns or not knows_read_only_keys:  # came with 7.0
        return ["~*"]
    return ["%R~*", *patterns]


def server_of(configuration: Configuration, title: str) -> RedisTarget:
    """Return a target with the address that a title such as ``caches.site`` names."""
    section, _, name = title.partition(".")
    if section == "redis":
        return configuration.redis[name]
    if section == "caches":
        return RedisTarget(url=configuration.caches[name].url or "")
    return RedisTarget(url=configuration.brokers[name].url)
