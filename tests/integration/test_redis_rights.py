"""Users of Redis with the printed rights alone: no task lacks one, and each that is taken is named."""

import secrets
import shlex
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

import maintenance.tasks  # noqa: F401 - registers the tasks
from maintenance.conf import Configuration, configuration
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.core.runs import accepted_targets
from maintenance.core.runs.registry import TargetKind, TaskSpec, task_named
from maintenance.doctor.examination import examinations
from maintenance.doctor.redis_needs import needs_of_servers
from maintenance.doctor.statements import REDIS_READER, REDIS_WRITER, server_of, users_of_redis
from maintenance.schedules import CHECKLISTS

KINDS = (TargetKind.REDIS, TargetKind.CACHE, TargetKind.BROKER)
TASKS = [
    spec
    for spec in map(task_named, dict.fromkeys(line.task for c in CHECKLISTS.values() for line in c))
    if spec.target_kind in KINDS
]
PREFIX = "site[a]*"


def site_at(url: str, **redis_settings: Any) -> dict[str, Any]:
    """Return the configuration of a site whose streams, cache and queues share one server."""
    return {
        "redis": {"main": {"url": url, "role": "streams", **redis_settings}},
        "streams": {
            "home": {"redis": "main", "pattern": "*-home", "max_length": 10, "max_age_seconds": 60},
            "log": {"redis": "main", "pattern": "*-log", "max_length": 5, "type": "list"},
            "events": {"redis": "main", "pattern": "ev ents*", "max_length": 5, "type": "stream"},
        },
        "caches": {
            "site": {
                "url": url,
                "key_prefix": PREFIX,
                "invalidate": {
                    "old": {"patterns": ["x*"], "older_than_seconds": 1},
                    "some": {"keys": ["popular"], "tags": ["books"]},
                },
            }
        },
        "brokers": {"site": {"url": url, "queues": ["celery", "slow"]}},
    }


def with_user(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    return f"redis://{user}:{password}@{parts.hostname}:{parts.port}/0"


@pytest.fixture(autouse=True)
def no_accepted_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no ledger here, in which somebody could have accepted a target."""
    monkeypatch.setattr(accepted_targets, "configuration_in_force", configuration)


@pytest.fixture
def users(each_client: redis.Redis, each_server: str, settings: Any) -> Iterator[dict[str, str]]:
    """The URLs of both users, made by the printed lines, twice over, on a server with a site's data."""
    for number in range(3):
        each_client.zadd(f"{number}-home", {f"m{n}": n for n in range(25)})
        each_client.rpush(f"{number}-log", *range(9))
        each_client.rpush("celery", f'{{"n": {number}}}')
        for _ in range(8):
            each_client.xadd("ev ents", {"a": 1})
        each_client.set(f"{PREFIX}:1:x{number}", "value")
    each_client.set(f"{PREFIX}:1:popular", "value")
    settings.MAINTENANCE = site_at(each_server)
    whole = configuration()
    ((title, needs),) = needs_of_servers(whole).items()
    lines = list(users_of_redis(server_of(whole, title), title, needs))
    urls = {}
    for line in (*lines, *lines):
        if line.startswith("ACL"):
            words = shlex.split(line)
            each_client.execute_command(*words)
            password = secrets.token_hex(8)
            each_client.execute_command("ACL", "SETUSER", words[2], f">{password}")
            urls[words[2]] = with_user(each_server, words[2], password)
    assert set(urls) == {REDIS_READER, REDIS_WRITER}
    yield urls
    for user in urls:
        each_client.acl_deluser(user)


def carry_out(spec: TaskSpec) -> Report:
    ((name, target),) = spec.target_kind.targets(configuration()).items()
    options = spec.options_type()
    return spec.function(Job(name, target, options))


def said_of_rights(report: Report) -> list[str]:
    return [f.sentence for f in report.findings if "ACL" in f.sentence]


@pytest.mark.parametrize("spec", TASKS, ids=lambda spec: spec.short_name)
def test_no_task_lacks_a_right_that_is_not_printed(
    users: dict[str, str], settings: Any, spec: TaskSpec
) -> None:
    user = REDIS_WRITER if spec.writes or spec.target_kind is TargetKind.CACHE else REDIS_READER
    settings.MAINTENANCE = site_at(users[user])
    assert said_of_rights(carry_out(spec)) == []


def rights_of(whole: Configuration) -> dict[str, Finding]:
    return {f.code: f for f in examinations(whole)["redis.main"]()}


def test_each_right_that_is_taken_is_named_with_the_line_that_gives_it(
    users: dict[str, str], each_client: redis.Redis, settings: Any
) -> None:
    settings.MAINTENANCE = site_at(users[REDIS_WRITER])
    whole = configuration()
    assert rights_of(whole)["redis-rights"].severity is Severity.OK
    before = each_client.dump("0-home")
    rules = ["+zremrangebyrank", "+zremrangebyscore", "+ltrim", "+xtrim", "+config|get", "+time"]
    each_client.execute_command("ACL", "SETUSER", REDIS_WRITER, *(f"-{rule[1:]}" for rule in rules))
    finding = rights_of(whole)["redis-rights"]
    assert finding.severity is Severity.WARNING
    assert set(finding.evidence["missing"]) == set(rules)
    for line in finding.commands:
        each_client.execute_command(*shlex.split(line))
    assert rights_of(whole)["redis-rights"].severity is Severity.OK
    assert each_client.dump("0-home") == before


def test_keys_that_a_user_may_not_reach_are_named(
    users: dict[str, str], each_client: redis.Redis, settings: Any
) -> None:
    settings.MAINTENANCE = site_at(users[REDIS_WRITER])
    each_client.execute_command("ACL", "SETUSER", REDIS_WRITER, "resetkeys", "~nothing")
    finding = rights_of(configuration())["redis-keys"]
    for line in finding.commands:
        each_client.execute_command(*shlex.split(line))
    assert "redis-keys" not in rights_of(configuration())


def test_the_reader_writes_nothing_and_the_writer_nothing_else(
    users: dict[str, str], each_client: redis.Redis
) -> None:
    each_client.set("sessions:1", "somebody")
    with redis.Redis.from_url(users[REDIS_READER]) as reader:
        for act in (
            lambda: reader.unlink("0-home"),
            lambda: reader.set("0-home", 1),
            reader.flushall,
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                act()
    with redis.Redis.from_url(users[REDIS_WRITER]) as writer:
        for act in (
            lambda: writer.unlink("sessions:1"),
            lambda: writer.zremrangebyrank("0-suggestions", 0, 1),
            lambda: writer.set("sessions:1", "me"),
            writer.flushdb,
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                act()
