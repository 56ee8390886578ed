"""Streams are trimmed on real servers: Valkey from the wheel, and Redis where it is installed."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.conf import RedisTarget, StreamFamily
from maintenance.core.errors import Cancelled, MissingRights, TargetUnavailable, UnknownName
from maintenance.core.findings import Severity
from maintenance.core.job import Job, SilentProgress
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from maintenance.redis import trimming
from maintenance.redis.stream_options import TrimOptions
from maintenance.redis.streams import trim_streams
from maintenance.redis.trimming import PIECE_MEMBERS


@pytest.fixture(scope="module")
def server_url(each_server: str) -> str:
    return each_server


@pytest.fixture
def client(each_client: redis.Redis) -> redis.Redis:
    return each_client


def family(pattern: str = "*-home", **settings_: Any) -> StreamFamily:
    return StreamFamily(**{"redis": "main", "pattern": pattern, "max_length": 10, **settings_})


def trim(
    url: str,
    configured: Mapping[str, StreamFamily],
    progress: Any = None,
    **options: Any,
) -> Report:
    job = Job(
        "main",
        RedisTarget(url=url, role="streams"),
        TrimOptions(**options),
        progress=progress or SilentProgress(),
    )
    return trim_streams(job, configured)


def fill(client: redis.Redis, key: str | bytes, members: int) -> None:
    client.zadd(key, {f"m{number}": number for number in range(members)})


class OnFirstUpdate(SilentProgress):
    """Does something between the look at a page and its trim, as another client would."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.act: Callable[[], Any] | None = act

    def update(
        self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
    ) -> None:
        act, self.act = self.act, None
        if act is not None:
            act()


def row(report: Report, table: str = "Stream families") -> dict[str, Any]:
    found = next(t for t in report.tables if t.title == table)
    return dict(zip(found.columns, found.rows[0], strict=True))


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


# --- The rule ------------------------------------------------------------------------------------


def test_exactly_the_maximum_length_remains_at_the_highest_scores(
    server_url: str, client: redis.Redis
) -> None:
    fill(client, "1-home", 25)
    fill(client, "2-home", 10)
    fill(client, "3-home", 4)
    report = trim(server_url, {"home": family()})
    assert client.zrange("1-home", 0, -1) == [b"m%d" % n for n in range(15, 25)]
    assert (client.zcard("2-home"), client.zcard("3-home")) == (10, 4)
    (outcome,) = report.outcomes
    assert outcome.verdict is Verdict.WORKED
    assert outcome.after["members_removed"] == 15
    assert row(report)["keys_seen"] == 3
    assert report.summary.startswith("15 members removed from 1 of 3 streams")


def test_a_look_is_no_use_of_a_stream_where_the_server_can_tell(
    server_url: str, client: redis.Redis
) -> None:
    fill(client, "new-home", 4)
    payload = client.dump("new-home")
    client.restore("idle-home", 0, payload, idletime=5000)
    trim(server_url, {"home": family()})
    idle = client.object("idletime", "idle-home")
    version = tuple(map(int, client.info("server")["redis_version"].split(".")))
    assert (idle >= 5000) is (version >= (7, 2))


@pytest.mark.parametrize(
    ("kind", "keep", "left"),
    [
        ("zset", "lowest", [b"m0", b"m1", b"m2"]),
        ("list", "head", [b"m0", b"m1", b"m2"]),
        ("list", "tail", [b"m4", b"m5", b"m6"]),
    ],
)
def test_the_configured_end_stays(
    server_url: str, client: redis.Redis, kind: str, keep: str, left: list[bytes]
) -> None:
    if kind == "zset":
        fill(client, "s", 7)
    else:
        client.rpush("s", *[f"m{number}" for number in range(7)])
    report = trim(server_url, {"f": family("s", type=kind, keep=keep, max_length=3)})
    found = client.zrange("s", 0, -1) if kind == "zset" else client.lrange("s", 0, -1)
    assert found == left
    assert report.outcomes[0].after["members_removed"] == 4


def test_a_redis_stream_keeps_its_newest_entries(server_url: str, client: redis.Redis) -> None:
    for number in range(1, 1505):
        client.xadd("events", {"n": number}, id=f"{number}-0")
    report = trim(server_url, {"events": family("events", type="stream", max_length=4)})
    assert [entry for entry, _ in client.xrange("events")] == [
        b"1501-0",
        b"1502-0",
        b"1503-0",
        b"1504-0",
    ]
    assert report.outcomes[0].after["members_removed"] == 1500


@pytest.mark.parametrize("kind", ["zset", "list"])
def test_a_huge_key_is_cut_in_pieces_that_no_other_client_feels(
    server_url: str, client: redis.Redis, kind: str
) -> None:
    members = 60_000
    if kind == "zset":
        for start in range(0, members, 10_000):
            client.zadd("huge", {f"m{n}": n for n in range(start, start + 10_000)})
    else:
        client.rpush("huge", *range(members))
    threshold = client.config_get("slowlog-log-slower-than")["slowlog-log-slower-than"]
    client.config_set("slowlog-log-slower-than", 0)
    client.config_set("slowlog-max-len", 10_000)
    client.slowlog_reset()
    try:
        trim(server_url, {"f": family("huge", type=kind, max_length=10)})
        written = [
            entry["command"].split()
            for entry in client.slowlog_get(10_000)
            if entry["command"].startswith((b"ZREMRANGEBYRANK", b"LTRIM"))
        ]
    finally:
        client.config_set("slowlog-log-slower-than", threshold)
    # "keep 59,885", then "keep 59,760", and so on.
    kept = [int(command[3]) for command in reversed(written)]
    limits = [-keep - 1 for keep in kept] if kind == "zset" else [keep + 1 for keep in kept]
    assert limits[-1] == 10
    assert all(0 < a - b <= PIECE_MEMBERS for a, b in pairwise([members, *limits]))
    left = client.zrange("huge", 0, -1) if kind == "zset" else client.lrange("huge", 0, -1)
    expected = range(members - 10, members) if kind == "zset" else range(10)
    assert left == [(b"m%d" if kind == "zset" else b"%d") % n for n in expected]


binary_members = st.binary(min_size=1, max_size=6)
scores = st.integers(min_value=0, max_value=3)  # few, so that ties are the rule


#: Members that one write removes: few, so that streams of a dozen are cut in several pieces.
piece_sizes = st.sampled_from([1, 3, PIECE_MEMBERS])


def trim_in_pieces(url: str, rule: StreamFamily, piece_members: int) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trimming, "PIECE_MEMBERS", piece_members)
        return trim(url, {"f": rule})


@settings(max_examples=90, deadline=None)
@given(
    sets=st.dictionaries(
        st.binary(max_size=5),
        st.dictionaries(binary_members, scores, min_size=1, max_size=12),
        min_size=1,
        max_size=6,
    ),
    rule=st.builds(
        family,
        pattern=st.just("s*"),
        max_length=st.integers(min_value=1, max_value=12),
        keep=st.sampled_from(["highest", "lowest"]),
        keys_per_batch=st.integers(min_value=1, max_value=4),
    ),
    piece_members=piece_sizes,
)
def test_trimmed_sets_equal_a_plain_model_for_any_members_keys_ties_and_pieces(
    server_url: str,
    sets: dict[bytes, dict[bytes, int]],
    rule: StreamFamily,
    piece_members: int,
) -> None:
    limit, writes = rule.max_length, 0
    with redis.Redis.from_url(server_url) as client:
        client.flushall()
        for suffix, members in sets.items():
            client.zadd(b"s" + suffix, members)
        client.config_resetstat()
        report = trim_in_pieces(server_url, rule, piece_members)
        removed = 0
        for suffix, members in sets.items():
            ordered = sorted(members, key=lambda member: (members[member], member))
            kept = ordered[-limit:] if rule.keep == "highest" else ordered[:limit]
            assert client.zrange(b"s" + suffix, 0, -1) == kept
            removed += len(ordered) - len(kept)
            writes += -(-(len(ordered) - len(kept)) // piece_members)
        used = client.info("commandstats").get("cmdstat_zremrangebyrank", {"calls": 0})
    assert sum(outcome.after["members_removed"] for outcome in report.outcomes) == removed
    assert used["calls"] == writes


@settings(max_examples=60, deadline=None)
@given(
    lists=st.lists(
        st.lists(st.binary(max_size=6), min_size=1, max_size=12), min_size=1, max_size=6
    ),
    max_length=st.integers(min_value=1, max_value=12),
    keep=st.sampled_from(["head", "tail"]),
    piece_members=piece_sizes,
)
def test_trimmed_lists_equal_a_plain_model(
    server_url: str, lists: list[list[bytes]], max_length: int, keep: str, piece_members: int
) -> None:
    rule = family("l*", type="list", max_length=max_length, keep=keep)
    with redis.Redis.from_url(server_url) as client:
        client.flushall()
        for number, elements in enumerate(lists):
            client.rpush(f"l{number}", *elements)
        trim_in_pieces(server_url, rule, piece_members)
        for number, elements in enumerate(lists):
            kept = elements[:max_length] if keep == "head" else elements[-max_length:]
            assert client.lrange(f"l{number}", 0, -1) == kept


# --- Others who write meanwhile ------------------------------------------------------------------


def test_members_that_arrive_after_the_look_cost_no_member_that_the_rule_keeps(
    server_url: str, client: redis.Redis
) -> None:
    fill(client, "1-home", 25)
    newer = {f"new{number}": 1000 + number for number in range(6)}
    trim(server_url, {"home": family()}, OnFirstUpdate(lambda: client.zadd("1-home", newer)))
    assert client.zrange("1-home", 0, -1) == [
        *(b"m%d" % n for n in range(21, 25)),
        *(b"new%d" % n for n in range(6)),
    ]


def test_a_stream_that_shrank_after_the_look_loses_nothing_more(
    server_url: str, client: redis.Redis
) -> None:
    fill(client, "1-home", 2500)
    report = trim(
        server_url,
        {"home": family()},
        OnFirstUpdate(lambda: client.zremrangebyrank("1-home", 4, -1)),
    )
    assert client.zrange("1-home", 0, -1) == [b"m0", b"m1", b"m2", b"m3"]
    assert report.outcomes[0].after["members_removed"] == 0


def test_a_list_that_shrank_after_the_look_loses_nothing_more(
    server_url: str, client: redis.Redis
) -> None:
    client.rpush("log", *range(3000))
    trim(
        server_url,
        {"log": family("log", type="list")},
        OnFirstUpdate(lambda: client.ltrim("log", 0, 3)),
    )
    assert client.lrange("log", 0, -1) == [b"0", b"1", b"2", b"3"]


def test_a_key_that_vanishes_or_changes_its_type_in_between_is_left_alone(
    server_url: str, client: redis.Redis
) -> None:
    fill(client, "1-home", 25)
    fill(client, "2-home", 25)

    def change() -> None:
        client.delete("1-home", "2-home")
        client.set("2-home", "now a string")

    report = trim(server_url, {"home": family()}, OnFirstUpdate(change))
    assert client.exists("1-home") == 0
    assert client.get("2-home") == b"now a string"
    assert "stream-wrong-type" in codes(report)


def test_cancelling_stops_before_the_next_write(server_url: str, client: redis.Redis) -> None:
    fill(client, "1-home", 25)

    def cancel() -> None:
        raise Cancelled("Somebody asked for this run to stop.")

    with pytest.raises(Cancelled):
        trim(server_url, {"home": family()}, OnFirstUpdate(cancel))
    assert client.zcard("1-home") == 25


# --- What is said --------------------------------------------------------------------------------


def test_a_dry_run_writes_nothing_and_predicts_what_the_run_then_does(
    server_url: str, client: redis.Redis
) -> None:
    for number in range(30):
        fill(client, f"{number}-home", 10 + number % 3)
    planned = trim(server_url, {"home": family()}, dry_run=True)
    assert [outcome.verdict for outcome in planned.outcomes] == [Verdict.PLANNED]
    assert sum(client.zcard(f"{n}-home") for n in range(30)) == 30 * 10 + 30
    assert planned.findings[0].severity is Severity.WARNING
    done = trim(server_url, {"home": family()})
    assert planned.outcomes[0].action.predicted == {"keys": 20, "members": 30}
    assert done.outcomes[0].after["members_removed"] == 30
    assert done.outcomes[0].after["keys_at_length"] == 20


def test_a_second_run_has_nothing_to_do_and_says_so(server_url: str, client: redis.Redis) -> None:
    fill(client, "1-home", 25)
    trim(server_url, {"home": family()})
    again = trim(server_url, {"home": family()})
    assert again.summary == "Nothing to trim: none of 1 stream is over its limits."
    assert (again.findings, again.outcomes) == ((), ())


def test_the_report_shows_the_lengths_before_and_after_and_the_longest_keys(
    server_url: str, client: redis.Redis
) -> None:
    fill(client, "long-home", 500)
    fill(client, "short-home", 2)
    report = trim(server_url, {"home": family()})
    lengths = next(t for t in report.tables if t.title == "Lengths of home")
    assert [dict(zip(lengths.columns, r, strict=True)) for r in lengths.rows] == [
        {"from_members": 1, "to_members": 2, "keys_before": 1, "keys_after": 1},
        {"from_members": 8, "to_members": 10, "keys_before": 0, "keys_after": 1},
        {"from_members": 101, "to_members": 1000, "keys_before": 1, "keys_after": 0},
    ]
    assert row(report, "Longest home before the trim") == {"key": "long-home", "members": 500}


def test_memory_freed_is_measured_on_a_sample(server_url: str, client: redis.Redis) -> None:
    for number in range(40):
        fill(client, f"{number}-home", 600)
    report = trim(server_url, {"home": family()})
    freed = row(report)["freed_bytes"]
    held = report.facts["used_memory_before_bytes"] - report.facts["used_memory_after_bytes"]
    assert report.facts["sampled_keys"] >= 2
    assert freed == pytest.approx(held, rel=0.35)


def stall_and_slowest_command(url: str, client: redis.Redis, rule: StreamFamily) -> list[float]:
    """Trim a set of 300,000; return the stall that the report states and the slowest write, in ms."""
    client.flushall()
    for start in range(0, 300_000, 10_000):
        client.zadd("huge", {f"m{n}": n for n in range(start, start + 10_000)})
    client.slowlog_reset()
    report = trim(url, {"f": rule})
    slowest = max(
        (
            entry["duration"] / 1000
            for entry in client.slowlog_get(1000)
            if entry["command"].startswith(b"ZREMRANGEBYRANK")
        ),
        default=0.0,
    )
    assert client.zcard("huge") == rule.max_length
    stated = report.facts["longest_batch_seconds"] * 1000
    assert row(report)["longest_batch_seconds"] * 1000 == stated
    return [stated, slowest]


def test_the_report_states_the_longest_stall_that_the_server_saw(
    server_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that removes everything at once is what stalls a server; pieces do not."""
    rule = family("huge")
    client.config_set("slowlog-log-slower-than", 500)
    client.config_set("slowlog-max-len", 1000)
    # The machine may hold the server up in one run, but not in each.
    runs = [stall_and_slowest_command(server_url, client, rule) for _ in range(3)]
    assert all(stated >= slowest for stated, slowest in runs)
    in_pieces = min(stated for stated, _ in runs)
    for name in ("PIECE_MEMBERS", "FIRST_BATCH_MEMBERS", "LARGEST_BATCH_MEMBERS"):
        monkeypatch.setattr(trimming, name, 1_000_000)
    at_once, slowest = stall_and_slowest_command(server_url, client, rule)
    assert slowest > 10
    assert at_once >= slowest
    assert at_once > 2 * in_pieces


def test_keys_of_another_type_are_counted_named_and_left_alone(
    server_url: str, client: redis.Redis
) -> None:
    fill(client, "1-home", 25)
    client.set("2-home", "text")
    client.hset("3-home", "field", "value")
    report = trim(server_url, {"home": family()})
    found = next(f for f in report.findings if f.code == "stream-wrong-type")
    assert found.evidence == {"keys": 2, "examples": {"2-home": "string", "3-home": "hash"}}
    assert client.get("2-home") == b"text"
    assert client.zcard("1-home") == 10


def test_a_pattern_that_matches_nothing_is_named(server_url: str, client: redis.Redis) -> None:
    report = trim(server_url, {"home": family("*-hmoe")})
    assert codes(report) == ["stream-family-empty"]
    assert "*-hmoe" in report.findings[0].sentence


def test_a_target_without_families_has_nothing_to_do(server_url: str) -> None:
    assert trim(server_url, {}).summary == (
        "Nothing to do: no stream family is configured on main."
    )


def test_a_family_of_another_target_is_never_applied_here(
    server_url: str, client: redis.Redis
) -> None:
    fill(client, "1-home", 25)
    report = trim(server_url, {"home": family(redis="elsewhere")})
    assert client.zcard("1-home") == 25
    assert report.outcomes == ()


def test_families_can_be_chosen_and_a_misspelt_one_is_corrected(
    server_url: str, client: redis.Redis
) -> None:
    fill(client, "1-home", 25)
    fill(client, "1-local", 25)
    both = {"home": family(), "local": family("*-local")}
    trim(server_url, both, families=("local",))
    assert (client.zcard("1-home"), client.zcard("1-local")) == (25, 10)
    with pytest.raises(UnknownName, match='Did you mean "local"'):
        trim(server_url, both, families=("locla",))


# --- Servers that say no -------------------------------------------------------------------------


@pytest.fixture
def user_url(server_url: str, client: redis.Redis) -> Iterator[Callable[..., str]]:
    """Call it with ACL rules for the URL of a user who has these rights alone."""
    names: list[str] = []

    def make(*rules: str) -> str:
        name, password = f"user{len(names)}", secrets.token_hex(8)
        client.execute_command("ACL", "SETUSER", name, "on", f">{password}", "~*", *rules)
        names.append(name)
        parts = urlsplit(server_url)
        return f"redis://{name}:{password}@{parts.hostname}:{parts.port}/0"

    yield make
    for name in names:
        client.acl_deluser(name)


def test_the_rights_that_the_report_names_are_enough(
    server_url: str, client: redis.Redis, user_url: Callable[..., str]
) -> None:
    fill(client, "1-home", 25)
    client.set("2-home", "text")
    needed = trim(server_url, {"home": family()}, dry_run=True).facts["needs_acl"]
    report = trim(user_url(*needed), {"home": family()})
    assert client.zcard("1-home") == 10
    assert codes(report) == ["stream-wrong-type", "streams-over-length"]


def test_a_missing_right_names_the_command(
    client: redis.Redis, user_url: Callable[..., str]
) -> None:
    fill(client, "1-home", 25)
    with pytest.raises(MissingRights, match=r"needs ACL \+zcard"):
        trim(user_url("+ping", "+info", "+scan"), {"home": family()})
    with pytest.raises(MissingRights, match=r"needs ACL \+zremrangebyrank"):
        trim(user_url("+ping", "+info", "+scan", "+zcard"), {"home": family()})
    assert client.zcard("1-home") == 25


def test_without_the_right_to_measure_memory_the_number_is_withheld(
    client: redis.Redis, user_url: Callable[..., str]
) -> None:
    fill(client, "1-home", 25)
    url = user_url("+ping", "+info", "+scan", "+zcard", "+zremrangebyrank")
    report = trim(url, {"home": family()})
    assert client.zcard("1-home") == 10
    withheld = next(f for f in report.findings if f.code == "stream-memory-freed")
    assert withheld.sentence == "unavailable: the memory freed needs the ACL right +memory|usage"
    assert row(report)["freed_bytes"] is None
    assert "MB" not in report.summary


def test_a_replica_is_looked_at_but_never_written_to(server_url: str, client: redis.Redis) -> None:
    fill(client, "1-home", 25)
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        report = trim(server_url, {"home": family()})
    finally:
        client.execute_command("REPLICAOF", "NO", "ONE")
    assert client.zcard("1-home") == 25
    assert report.outcomes[0].verdict is Verdict.REFUSED
    assert codes(report)[0] == "stream-target-is-replica"
    assert "nothing was written (the server is a replica)" in report.summary


def test_a_server_that_becomes_a_replica_in_the_run_is_named_and_can_be_retried(
    server_url: str, client: redis.Redis
) -> None:
    fill(client, "1-home", 25)
    try:
        with pytest.raises(TargetUnavailable, match="became a read-only replica"):
            trim(
                server_url,
                {"home": family()},
                OnFirstUpdate(lambda: client.execute_command("REPLICAOF", "127.0.0.1", "1")),
            )
    finally:
        client.execute_command("REPLICAOF", "NO", "ONE")
    assert client.zcard("1-home") == 25


def test_a_wrong_password_and_a_dead_server_are_told_apart_without_the_password(
    server_url: str,
) -> None:
    parts = urlsplit(server_url)
    with pytest.raises(MissingRights, match="refused the login") as refused:
        trim(f"redis://:wrong-pass@{parts.hostname}:{parts.port}/0", {"home": family()})
    with pytest.raises(TargetUnavailable, match="cannot be reached") as down:
        trim("redis://:wrong-pass@127.0.0.1:1/0", {"home": family()})
    assert "127.0.0.1:1" in str(down.value)
    assert "wrong-pass" not in str(refused.value) + str(down.value)
