"""Queue depths of a broker that kombu itself filled."""

import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import kombu
import pytest
import redis

from maintenance.conf import BrokerTarget
from maintenance.core.errors import MissingRights, TargetUnavailable
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
    # RabbitMQ takes messages before it counts them: it confirms them when it has.
    is_rabbitmq = url.startswith("amqp")
    options = {"confirm_publish": True} if is_rabbitmq else {"global_keyprefix": prefix}
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
    values = {(s.metric, s.subject): s.value for s in report.samples}
    assert values == {
        ("queue_depth_messages", "inbox"): 5,
        ("queue_depth_messages", "email"): 0,
        ("unacknowledged_messages", ""): 0,
    }
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


def test_llen_alone_is_enough_and_what_other_rights_would_say_is_withheld(
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
        rights = report.facts["needs_acl"]
        client.execute_command("ACL", "SETUSER", "watch", *rights)
        complete = check(f"redis://watch:{password}@{place}")
        with pytest.raises(MissingRights, match=r"needs ACL \+llen"):
            check(f"redis://blind:{password}@{place}")
    finally:
        client.acl_deluser("watch", "blind")
    assert report.facts["pending_messages"] == 1
    assert sorted(finding.sentence for finding in report.findings) == [
        "unavailable: how long messages wait needs the ACL right +lindex",
        "unavailable: the broker's eviction policy needs the ACL right +info",
        "unavailable: what workers hold needs the ACL right +zcard",
    ]
    assert complete.findings == ()


def test_with_depths_only_nothing_but_lengths_is_asked_for(
    redis_url: str, client: redis.Redis
) -> None:
    publish(redis_url, "inbox", 3)
    client.config_resetstat()

    report = check(redis_url, depths_only=True)

    asked = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
    assert asked - {"client|setname", "client|setinfo", "config|resetstat", "hello"} <= {
        "llen",
        "ping",
        "select",
        "auth",
    }
    assert report.facts["pending_messages"] == 3
    assert report.facts["needs_acl"] == ["+llen", "+ping"]
    assert {(finding.code, finding.measured) for finding in report.findings} == {
        ("queue-not-consumed", False),
        ("unacknowledged-for-long", False),
        ("broker-eviction", False),
    }


def row_of(report: Report, queue: str) -> dict[str, object]:
    table = report.tables[0]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return next(row for row in rows if row["queue"] == queue)


def test_how_long_the_next_message_has_waited_is_seen_from_check_to_check(redis_url: str) -> None:
    publish(redis_url, "inbox", 2)
    publish(redis_url, "email", 1)
    first = check(redis_url, max_wait_seconds=0.001)
    assert first.findings == ()
    assert row_of(first, "inbox")["waited_at_least_seconds"] == 0
    with kombu.Connection(redis_url) as connection, connection.SimpleQueue("email") as simple:
        simple.get(timeout=5).ack()
    publish(redis_url, "email", 1)
    second = check(redis_url, first.state, max_wait_seconds=0.001)
    assert [(f.code, f.subject) for f in second.findings] == [("queue-not-consumed", "inbox")]
    waited = row_of(second, "inbox")["waited_at_least_seconds"]
    assert isinstance(waited, float)
    assert waited > 0
    assert row_of(second, "email")["waited_at_least_seconds"] == 0


def test_messages_that_a_worker_holds_are_counted_with_their_age(redis_url: str) -> None:
    publish(redis_url, "inbox", 2, prefix="site:")
    options = {"global_keyprefix": "site:"}
    with (
        kombu.Connection(redis_url, transport_options=options) as connection,
        connection.SimpleQueue("inbox") as simple,
    ):
        message = simple.get(timeout=5)
        report = check(redis_url, key_prefix="site:", visibility_timeout_seconds=0.0001)
        message.ack()
    assert report.facts["unacknowledged_messages"] == 1
    assert 0 < report.facts["oldest_unacknowledged_seconds"] < 60
    assert [f.code for f in report.findings] == ["unacknowledged-for-long"]
    assert check(redis_url, key_prefix="site:").facts["unacknowledged_messages"] == 0


def test_no_words_of_a_message_are_kept(redis_url: str, client: redis.Redis) -> None:
    client.lpush("inbox", b"somebody's secret")
    report = check(redis_url)
    assert "secret" not in str(report.to_json())


def test_rabbitmq_counts_its_messages_and_consumers_itself(rabbitmq_url: str) -> None:
    publish(rabbitmq_url, "inbox", 3)
    report = check(rabbitmq_url)
    assert report.facts["pending_messages"] == 3
    assert {(f.code, f.subject, f.severity) for f in report.findings} == {
        ("queue-not-consumed", "inbox", Severity.CRITICAL),
        ("queue-missing", "email", Severity.WARNING),
    }
    with kombu.Connection(rabbitmq_url) as connection:
        queue = kombu.Queue("inbox", durable=True)
        with connection.Consumer(queue, callbacks=[lambda *_: None], prefetch_count=1):
            connection.ensure_connection()
            consumed = check(rabbitmq_url, queues=("inbox",))
    assert consumed.findings == ()
    assert row_of(consumed, "inbox")["consumers"] == 1


def test_a_rabbitmq_that_is_away_or_refuses_is_named_without_its_password(
    rabbitmq_url: str,
) -> None:
    with pytest.raises(MissingRights, match="refused") as refused:
        check(rabbitmq_url.replace("guest:guest", "guest:hunter2"))
    with pytest.raises(TargetUnavailable, match="cannot be reached") as away:
        check("amqp://guest:hunter2@127.0.0.1:1//")
    assert "hunter2" not in f"{refused.value}{away.value}"


def test_the_check_leaves_nothing_on_the_broker(redis_url: str, client: redis.Redis) -> None:
    publish(redis_url, "inbox", 2)
    before = sorted(client.keys())
    check(redis_url)
    assert sorted(client.keys()) == before
