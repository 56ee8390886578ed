"""What consumer groups of Redis streams have still to work on is trimmed by nobody."""

from typing import Any

import pytest
import redis

from maintenance.conf import RedisTarget, StreamFamily
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from maintenance.redis.stream_groups import STEP_ENTRIES, GroupedTrim
from maintenance.redis.stream_options import TrimOptions
from maintenance.redis.streams import trim_streams
from tests.redis_servers import is_before_7


def trim(server: str, *, dry_run: bool = False, **settings: Any) -> Report:
    family = StreamFamily(
        **{"redis": "main", "pattern": "jobs", "type": "stream", "max_length": 100, **settings}
    )
    target = RedisTarget(url=server, role="streams")
    return trim_streams(Job("main", target, TrimOptions(dry_run=dry_run)), {"jobs": family})


def fill(client: redis.Redis, entries: int, *groups: str) -> None:
    for group in groups:
        client.xgroup_create("jobs", group, id="0", mkstream=True)
    with client.pipeline(transaction=False) as pipeline:
        for number in range(1, entries + 1):
            pipeline.xadd("jobs", {"n": number}, id=f"{number}-0")
        pipeline.execute()


def take(client: redis.Redis, group: str, entries: int, *, acknowledge: bool = True) -> list[bytes]:
    given: Any = client.xreadgroup(group, "worker", {"jobs": ">"}, count=entries)
    taken = [entry for _, found in given for entry, _ in found]
    if acknowledge and taken:
        client.xack("jobs", group, *taken)
    return taken


def first_left(client: redis.Redis) -> int:
    ((entry, _),) = client.xrange("jobs", count=1)
    return int(entry.partition(b"-")[0])


def warning(report: Report) -> Finding | None:
    return next((one for one in report.findings if one.code == "stream-groups-behind"), None)


def test_no_entry_goes_that_a_group_was_not_given_or_did_not_acknowledge(
    each_server: str, each_client: redis.Redis
) -> None:
    fill(each_client, 500, "workers")
    taken = take(each_client, "workers", 50)
    pending = take(each_client, "workers", 30, acknowledge=False)
    planned = trim(each_server, dry_run=True)
    assert each_client.xlen("jobs") == 500
    assert planned.outcomes[0].action.predicted == {"keys": 1, "members": len(taken)}
    report = trim(each_server)
    assert first_left(each_client) == 51
    assert len(take(each_client, "workers", 1000)) == 420
    assert len(each_client.xrange("jobs", pending[0], pending[-1])) == 30
    for found in (warning(planned), warning(report)):
        assert found is not None
        assert found.severity is Severity.WARNING
        assert found.evidence["entries"] == 350
        assert "group workers: 30 pending" in found.sentence
        if not is_before_7(each_client):
            assert "420 not delivered" in found.sentence
    assert report.outcomes[0].verdict is Verdict.WORKED
    assert report.outcomes[0].after["members_removed"] == 50


def test_a_stream_whose_groups_are_done_is_cut_to_its_length(
    each_server: str, each_client: redis.Redis
) -> None:
    entries = 100 + 2 * STEP_ENTRIES + 7
    fill(each_client, entries, "workers", "log")
    for group in ("workers", "log"):
        take(each_client, group, entries)
    report = trim(each_server)
    assert each_client.xlen("jobs") == 100
    assert first_left(each_client) == entries - 99
    assert warning(report) is None
    assert report.outcomes[0].after["members_removed"] == entries - 100
    assert report.outcomes[0].after["freed_bytes"] is not None


def test_the_group_that_is_furthest_behind_decides_and_one_that_is_not_started_keeps_all(
    each_server: str, each_client: redis.Redis
) -> None:
    fill(each_client, 300, "workers", "forgotten")
    take(each_client, "workers", 300)
    report = trim(each_server)
    assert each_client.xlen("jobs") == 300
    assert report.outcomes[0].verdict is Verdict.BLOCKED
    found = warning(report)
    assert found is not None
    assert "group forgotten" in found.sentence
    each_client.xgroup_destroy("jobs", "forgotten")
    assert warning(trim(each_server)) is None
    assert each_client.xlen("jobs") == 100


def test_what_is_pending_and_was_removed_before_holds_nothing_back(
    each_server: str, each_client: redis.Redis
) -> None:
    fill(each_client, 300, "workers")
    take(each_client, "workers", 20, acknowledge=False)
    each_client.xtrim("jobs", maxlen=280, approximate=False)
    take(each_client, "workers", 1000)
    assert each_client.xpending("jobs", "workers")["pending"] == 20
    assert warning(trim(each_server)) is None
    assert each_client.xlen("jobs") == 100


@pytest.mark.parametrize("ignore_groups", [True, False])
def test_entries_that_are_too_old_stay_for_a_group_unless_the_family_says_otherwise(
    each_server: str, each_client: redis.Redis, ignore_groups: bool
) -> None:
    each_client.xgroup_create("jobs", "workers", id="0", mkstream=True)
    for number in range(10):
        each_client.xadd("jobs", {"n": number}, id=f"{1_600_000_000_000 + number}-0")
    each_client.xadd("jobs", {"n": 10})
    take(each_client, "workers", 4)
    report = trim(each_server, max_age_seconds=3600, ignore_groups=ignore_groups)
    assert each_client.xlen("jobs") == (1 if ignore_groups else 7)
    assert (warning(report) is None) is ignore_groups


@pytest.mark.parametrize("has_group", [True, False])
def test_a_key_that_comes_twice_is_cut_once(
    each_server: str, each_client: redis.Redis, has_group: bool
) -> None:
    fill(each_client, 500, *["workers"] * has_group)
    if has_group:
        take(each_client, "workers", 500)
    family = StreamFamily(redis="main", pattern="jobs", type="stream", max_length=100)
    others = [b"other:%d" % number for number in range(family.keys_per_batch)]
    twice = {"jobs": [b"jobs", *others, b"jobs"]}
    target = RedisTarget(url=each_server, role="streams")
    job = Job("main", target, TrimOptions(dry_run=False))
    report = trim_streams(job, {"jobs": family}, twice)
    assert each_client.xlen("jobs") == 100
    assert warning(report) is None


@pytest.mark.parametrize("entries_after", [0, 20])
def test_what_the_site_cuts_between_look_and_trim_counts(
    each_server: str, each_client: redis.Redis, entries_after: int
) -> None:
    fill(each_client, 500, "workers")
    take(each_client, "workers", 500)

    class Busy(GroupedTrim):
        """A trim beside a site that cuts the stream itself, and adds to it, just before."""

        def steps(self, exchange: Any) -> Any:
            each_client.xtrim("jobs", maxlen=100, approximate=False)
            for number in range(entries_after):
                each_client.xadd("jobs", {"n": number}, id=f"{501 + number}-0")
            return super().steps(exchange)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maintenance.redis.streams.GroupedTrim", Busy)
        report = trim(each_server)
    assert each_client.xlen("jobs") == 100
    assert first_left(each_client) == 401 + entries_after
    assert warning(report) is None


def test_a_group_that_is_made_while_a_stream_is_cut_gets_what_is_left(
    each_server: str, each_client: redis.Redis
) -> None:
    fill(each_client, 100 + 3 * STEP_ENTRIES, "workers")
    take(each_client, "workers", 1000)

    class Slow(GroupedTrim):
        """A trim during which somebody begins to read from the first entry on."""

        def steps(self, exchange: Any) -> Any:
            for reply in super().steps(exchange):
                if not any(group["name"] == b"late" for group in each_client.xinfo_groups("jobs")):
                    each_client.xgroup_create("jobs", "late", id="0")
                yield reply

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maintenance.redis.streams.GroupedTrim", Slow)
        report = trim(each_server)
    assert first_left(each_client) == STEP_ENTRIES + 1
    found = warning(report)
    assert found is not None
    assert "group late" in found.sentence


def test_the_printed_rights_suffice(each_server: str, each_client: redis.Redis) -> None:
    fill(each_client, 300, "workers")
    needs = trim(each_server, dry_run=True).facts["needs_acl"]
    address = each_server.split("@")[1]
    each_client.execute_command(*("ACL", "SETUSER", "crew", "reset", "on", ">secret", "~*", *needs))
    assert warning(trim(f"redis://crew:secret@{address}")) is not None
    each_client.execute_command("ACL", "DELUSER", "crew")
