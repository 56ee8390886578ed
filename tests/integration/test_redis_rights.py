"""Users of Redis with the printed rights alone: no task lacks one, and each that is taken is named."""

import io
import secrets
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import which
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from django.core.management import call_command

import maintenance.tasks  # noqa: F401 - registers the tasks
from maintenance.conf import Configuration, configuration
from maintenance.core.errors import MissingRights
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job, NoHistory
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.reports import Report
from maintenance.core.runs import accepted_targets, history
from maintenance.core.runs.registry import TargetKind, TaskSpec, task_named
from maintenance.doctor.examination import examinations
from maintenance.doctor.statements import REDIS_READER, REDIS_WRITER
from maintenance.redis.providers import owner_provider, unregister
from maintenance.redis.reclaim.trial import NEEDS_ACL as TRIAL_ACL
from maintenance.schedules import CHECKLISTS
from tests.redis_servers import (
    COMPACT,
    Cluster,
    expiry_times_ms,
    is_before_7,
    known_setting,
    take_rights,
)

KINDS = (TargetKind.REDIS, TargetKind.CACHE, TargetKind.BROKER)
TASKS = [
    spec
    for spec in map(task_named, dict.fromkeys(line.task for c in CHECKLISTS.values() for line in c))
    if spec.target_kind in KINDS
]
PREFIX = "site[a]*"
FAR_MS = 4_102_444_800_123  # 2100


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


@contextmanager
def printed_users(*servers: str) -> Iterator[dict[str, str]]:
    """Give redis-cli what ``doctor --sql`` prints, twice over; yield the users' URLs at the first server."""
    printed, complained = io.StringIO(), io.StringIO()
    call_command("maintenance", "doctor", "--sql", stdout=printed, stderr=complained)
    assert complained.getvalue() == ""
    lines = [line for line in printed.getvalue().splitlines() if line.startswith("ACL")]
    passwords = {line.split()[2]: secrets.token_hex(8) for line in lines}
    assert set(passwords) == {REDIS_READER, REDIS_WRITER}
    try:
        for url in servers:
            for line in (*lines, *lines):
                run_by_redis_cli(url, line)
            for user, password in passwords.items():
                run_by_redis_cli(url, f"ACL SETUSER {user} >{password}")
        yield {user: with_user(servers[0], user, word) for user, word in passwords.items()}
    finally:
        for url in servers:
            run_by_redis_cli(url, f"ACL DELUSER {REDIS_READER} {REDIS_WRITER}", says="2\n")


def run_by_redis_cli(url: str, line: str, says: str = "OK\n") -> None:
    """Type a line, and see the answer."""
    program = which("redis-cli") or which("valkey-cli")
    assert program, "neither redis-cli nor valkey-cli is installed (Debian: redis-tools)"
    parts = urlsplit(url)
    done = subprocess.run(
        [program, "-h", str(parts.hostname), "-p", str(parts.port)],
        input=line + "\n",
        env={"REDISCLI_AUTH": parts.password or ""},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert (done.stdout, done.stderr) == (says, "")


@pytest.fixture(autouse=True)
def no_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no ledger here, in which somebody could have accepted a target, or a run noted anything."""
    monkeypatch.setattr(accepted_targets, "configuration_in_force", configuration)
    monkeypatch.setattr(history, "LedgerHistory", lambda _name: NoHistory())


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
    with printed_users(each_server) as urls:
        yield urls


def carry_out(spec: TaskSpec) -> Report:
    ((name, target),) = spec.target_kind.targets(configuration()).items()
    options = spec.options_type()
    return spec.function(Job(name, target, options))


def said_of_rights(report: Report) -> list[str]:
    return [f.sentence for f in report.findings if "ACL" in f.sentence]


@pytest.mark.parametrize("spec", TASKS, ids=lambda spec: spec.short_name)
def test_no_task_lacks_a_right_that_is_not_printed(
    users: dict[str, str], each_client: redis.Redis, settings: Any, spec: TaskSpec
) -> None:
    user = REDIS_WRITER if spec.writes or spec.target_kind is TargetKind.CACHE else REDIS_READER
    settings.MAINTENANCE = site_at(users[user])
    each_client.execute_command("ACL", "LOG", "RESET")
    assert said_of_rights(carry_out(spec)) == []
    # The site's own guards read this log: nothing of ours stands in it, but what 6.2 does not know.
    refused = each_client.execute_command("ACL", "LOG")
    assert {entry[b"object"] for entry in refused} <= (
        {b"client"} if is_before_7(each_client) else set()
    )


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
    take_rights(each_client, REDIS_WRITER, rules)
    finding = rights_of(whole)["redis-rights"]
    assert finding.severity is Severity.WARNING
    assert set(finding.evidence["missing"]) == set(rules)
    for line in finding.commands:
        each_client.execute_command(*shlex.split(line))
    assert rights_of(whole)["redis-rights"].severity is Severity.OK
    assert each_client.dump("0-home") == before
    # Where the server takes no "-config|get", none is advised.
    assert bool(finding.undo) is not is_before_7(each_client)
    for line in finding.undo:
        each_client.execute_command(*shlex.split(line))
        assert set(rights_of(whole)["redis-rights"].evidence["missing"]) == set(rules)


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
        if is_before_7(each_client):  # as the printed lines say
            assert writer.unlink("sessions:1") == 1
            with pytest.raises(redis.exceptions.NoPermissionError):
                writer.flushdb()
            return
        for act in (
            lambda: writer.unlink("sessions:1"),
            lambda: writer.zremrangebyrank("0-suggestions", 0, 1),
            lambda: writer.set("sessions:1", "me"),
            writer.flushdb,
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                act()


def test_the_lines_for_redis_6_2_say_that_its_writer_reaches_every_key(
    each_server: str, each_client: redis.Redis, settings: Any
) -> None:
    settings.MAINTENANCE = site_at(each_server)
    printed = io.StringIO()
    call_command("maintenance", "doctor", "--sql", stdout=printed)
    said = "maintenance_writer can write to every key" in printed.getvalue()
    assert said is is_before_7(each_client)


def test_on_a_cluster_the_printed_user_of_each_node_trims_the_streams_of_all(
    cluster: Cluster, settings: Any
) -> None:
    def at(url: str) -> dict[str, Any]:
        site = site_at(url)
        return {"redis": site["redis"], "streams": {"home": site["streams"]["home"]}}

    settings.MAINTENANCE = at(cluster.urls[0])
    with cluster.client() as client, printed_users(*cluster.urls) as urls:
        for number in range(30):
            client.zadd(f"{number}-home", {str(n): time.time() for n in range(15)})
        settings.MAINTENANCE = at(urls[REDIS_WRITER])
        assert rights_of(configuration())["redis-rights"].severity is Severity.OK
        report = carry_out(task_named("trim_streams"))
        assert said_of_rights(report) == []
        assert {client.zcard(f"{number}-home") for number in range(30)} == {10}


@pytest.fixture
def everything_allowed(
    each_client: redis.Redis, each_server: str, settings: Any
) -> Iterator[dict[str, str]]:
    """The users of a site that allows all that can harm it, by the lines that are printed for it."""
    settings.MAINTENANCE = all_allowed_at(each_server)

    @owner_provider("rights-users")
    def ids() -> list[str]:
        return ["0", "1"]

    try:
        with printed_users(each_server) as urls:
            yield urls
    finally:
        unregister("rights-users")


def all_allowed_at(url: str) -> dict[str, Any]:
    """Return :func:`site_at` with every ``allow``, and a cache with a database of its own."""
    site = site_at(
        url,
        allow=["remove_streams", "reclaim_memory"],
        reclaim={
            "abandoned_prefixes": ["old[1]:"],
            "minimum_idle_seconds": 0,
            "time_outs": {"tmp:": 600},
        },
    )
    site["streams"]["home"] |= {"owners": "users", "companions": ["{key}-unread"]}
    site["stream_owners"] = {"users": {"answers": "kept", "provider": "rights-users"}}
    pages = {"url": of_pages(url), "key_prefix": "p?", "allow": ["flush_cache"]}
    site["caches"]["pages"] = pages
    return site


def of_pages(url: str) -> str:
    """Return the address of another database than the first."""
    return url.rpartition("/")[0] + "/1"


def do(name: str, target_name: str, **options: Any) -> Outcome:
    """Carry out a task as the user in the configuration; return the only thing that it did."""
    spec = task_named(name)
    target = spec.target_kind.targets(configuration())[target_name]
    report = spec.function(Job(target_name, target, spec.options_type(**options)))
    assert said_of_rights(report) == []
    [outcome] = report.outcomes
    return outcome


def test_a_flush_needs_no_more_than_is_printed(
    everything_allowed: dict[str, str], each_server: str, settings: Any
) -> None:
    settings.MAINTENANCE = all_allowed_at(everything_allowed[REDIS_WRITER])
    with redis.Redis.from_url(of_pages(each_server)) as pages:
        for number in range(300):
            pages.set(f"p?:1:{number}", "value")
        assert do("flush_cache", "pages").verdict is Verdict.WORKED
        assert pages.dbsize() == 0


def test_a_user_who_may_not_choose_its_database_is_told_the_line_that_lets_it(
    everything_allowed: dict[str, str], each_client: redis.Redis, settings: Any
) -> None:
    settings.MAINTENANCE = all_allowed_at(everything_allowed[REDIS_WRITER])
    look = examinations(configuration())["caches.pages"]
    each_client.execute_command("ACL", "SETUSER", REDIS_WRITER, "-select")
    [finding] = look()
    assert finding.severity is Severity.CRITICAL
    [line] = finding.commands
    each_client.execute_command(*shlex.split(line))
    assert {f.severity for f in look()} == {Severity.OK}


def test_removing_abandoned_streams_needs_no_more_than_is_printed(
    everything_allowed: dict[str, str], each_client: redis.Redis, settings: Any
) -> None:
    settings.MAINTENANCE = all_allowed_at(everything_allowed[REDIS_WRITER])
    for number in range(3):
        each_client.zadd(f"{number}-home", {"a": 1})
        each_client.set(f"{number}-home-unread", 1)
    outcome = do("remove_abandoned_streams", "main")
    assert outcome.verdict is Verdict.WORKED
    assert sorted(each_client.keys()) == [
        b"0-home", b"0-home-unread", b"1-home", b"1-home-unread",
    ]  # fmt: skip


@pytest.mark.parametrize("part", ["repack", "abandoned", "time_outs"])
def test_reclaiming_memory_needs_no_more_than_is_printed(
    everything_allowed: dict[str, str], each_client: redis.Redis, settings: Any, part: str
) -> None:
    settings.MAINTENANCE = all_allowed_at(everything_allowed[REDIS_WRITER])
    each_client.zadd("loose", {str(number): number for number in range(200)})
    each_client.pexpireat("loose", FAR_MS)
    each_client.set("old[1]:x", 1)
    each_client.set("tmp:x", 1)
    each_client.config_set(known_setting(each_client, "zset-max-listpack-entries"), 256)
    before = each_client.object("ENCODING", "loose"), each_client.ttl("tmp:x")
    assert before == (b"skiplist", -1)

    assert do("reclaim_redis_memory", "main", parts=(part,)).verdict is Verdict.WORKED

    done = {
        "repack": each_client.object("ENCODING", "loose") in COMPACT,
        "abandoned": not each_client.exists("old[1]:x"),
        "time_outs": each_client.ttl("tmp:x") >= 590,
    }
    assert done == {name: name == part for name in done}
    assert expiry_times_ms(each_client, ["loose"]) == [FAR_MS]


def test_a_trial_of_limits_takes_rights_that_are_not_printed_and_names_them(
    everything_allowed: dict[str, str], each_client: redis.Redis, settings: Any
) -> None:
    settings.MAINTENANCE = all_allowed_at(everything_allowed[REDIS_WRITER])
    for number in range(300):
        each_client.zadd(f"{number}-loose", {f"{number}{n}": n for n in range(200)})
        each_client.hset(f"{number}-hash", mapping={f"{number}{n}": n for n in range(600)})
        each_client.sadd(f"{number}-set", *range(number, number + 700))
    before = each_client.dbsize()
    with pytest.raises(MissingRights, match="needs ACL "):
        reclaim_by("trial")
    assert each_client.dbsize() == before

    each_client.execute_command("ACL", "SETUSER", REDIS_WRITER, *TRIAL_ACL)
    tables = [table.title for table in reclaim_by("trial").tables]
    assert sum(title.startswith("Trial of ") for title in tables) >= 2, tables
    assert each_client.dbsize() == before


def reclaim_by(part: str) -> Report:
    spec, target = task_named("reclaim_redis_memory"), configuration().redis["main"]
    return spec.function(Job("main", target, spec.options_type(parts=(part,))))
