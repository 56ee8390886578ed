"""Queue depths of a broker that kombu itself filled."""

import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import kombu
import pytest
import redis

from maintenance.conf import BrokerTarget
from maintenance.core.errors import MissingRights
from maintenance.core.findings import Severity
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.queues.depth import check_queue_depths


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connection:
        yield connection


def publish(url: str, queue: str, messages: int, priority: int = 0, prefix: str = "") -> None:
    options = {"global_keyprefix": prefix}
    with (
        kombu.Connection(url, transport_options=options) as connection,
        connection.SimpleQueue(queue) as simple,
    ):
        for number in range(messages):
            simple.put({"n": number}, priority=priority)


def check(url: str, previous: dict[str, object] | None = None, **settings: object) -> Report:
    target = BrokerTarget(**{"url": url, "queues": ("inbox", "email"), **settings})
    return check_queue_depths(Job("site", target, NoOptions(), previous_state=previous or {}))


def test_messages_of_every_priority_are_counted(redis_url: str) -> None:
    publish(redis_url, "inbox", 3)
    publish(redis_url, "inbox", 2, priority=9)
    report = check(redis_url)
    assert {s.subject: s.value for s in report.samples} == {"inbox": 5, "email": 0}
    table = report.tables[0]
    first = dict(zip(table.columns, table.rows[0], strict=True))
    assert (first["pending_messages"], first["priorities"]) == (5, "9: 2")
    assert "5 messages wait in 2 queues, most in inbox (5)" in report.summary


def test_a_brokers_key_prefix_is_heeded(redis_url: str) -> None:
    publish(redis_url, "inbox", 4, prefix="site:")
    assert check(redis_url, key_prefix="site:").facts["pending_messages"] == 4
    assert check(redis_url).summary == "Nothing waits in any of 2 queues."


def test_a_deep_queue_is_a_warning_and_its_growth_a_remark(redis_url: str) -> None:
    first = check(redis_url, max_pending=10)
    publish(redis_url, "inbox", 11)
    second = check(redis_url, first.state, max_pending=10)
    found = {finding.code: finding for finding in second.findings}
    assert set(found) == {"queue-too-deep", "queue-growing"}
    assert found["queue-too-deep"].severity is Severity.WARNING
    assert found["queue-growing"].evidence["previous_messages"] == 0


def test_an_evicting_broker_is_critical(redis_url: str, client: redis.Redis) -> None:
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        report = check(redis_url)
    finally:
        client.config_set("maxmemory-policy", "noeviction")
    assert [finding.code for finding in report.findings] == ["broker-eviction"]
    assert report.severity is Severity.CRITICAL


def test_a_key_that_is_no_queue_is_named(redis_url: str, client: redis.Redis) -> None:
    client.set("email", "text")
    report = check(redis_url)
    assert [(f.code, f.subject) for f in report.findings] == [("queue-wrong-type", "email")]


def test_llen_alone_is_enough_and_what_info_would_say_is_withheld(
    redis_url: str, client: redis.Redis
) -> None:
    publish(redis_url, "inbox", 1)
    password = secrets.token_hex(8)
    client.execute_command("ACL", "SETUSER", "watch", "on", f">{password}", "~*", "+ping", "+llen")
    client.execute_command("ACL", "SETUSER", "blind", "on", f">{password}", "~*", "+ping")
    parts = urlsplit(redis_url)
    place = f"{parts.hostname}:{parts.port}/0"
    try:
        report = check(f"redis://watch:{password}@{place}")
        with pytest.raises(MissingRights, match=r"needs ACL \+llen"):
            check(f"redis://blind:{password}@{place}")
    finally:
        client.acl_deluser("watch", "blind")
    assert report.facts["pending_messages"] == 1
    assert [finding.measured for finding in report.findings] == [False]


def test_the_check_leaves_nothing_on_the_broker(redis_url: str, client: redis.Redis) -> None:
    publish(redis_url, "inbox", 2)
    before = sorted(client.keys())
    check(redis_url)
    assert sorted(client.keys()) == before
