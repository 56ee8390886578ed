"""Companion keys that outlived their stream go with their owners, and no faster than they may."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from maintenance.conf import ReclaimRules, RedisTarget, StreamFamily, StreamOwners
from maintenance.core.errors import MissingRights
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.reports import Report
from maintenance.redis.abandoned import remove_abandoned_streams
from maintenance.redis.abandoned_options import RemoveStreamsOptions
from maintenance.redis.providers import key_provider, unregister
from tests.redis_servers import Cluster

USERS = range(20)
#: Their owners are gone: the streams of the first were evicted, the second has one yet.
EVICTED, GONE = (3, 7), 11
STAY = [str(user) for user in USERS if user not in {*EVICTED, GONE}]

HOME = StreamFamily(
    redis="main",
    pattern="*-home",
    max_length=200,
    owners="users",
    companions=("{key}-unread", "unread[{key}]"),
)


def fill(client: Any) -> None:
    """Give twenty users companion keys, and all but the evicted a stream."""
    for user in USERS:
        client.set(f"{user}-home-unread", user)
        client.hset(f"unread[{user}-home]", mapping={"review": user})
        if user not in EVICTED:
            client.zadd(f"{user}-home", {f"status{n}": n for n in range(30)})
    client.set("site-settings", "stay")


@pytest.fixture
def client(each_client: redis.Redis) -> redis.Redis:
    fill(each_client)
    return each_client


def remove(
    url: str,
    answers: Sequence[str] | Callable[[], Sequence[str]] = STAY,
    *,
    owners: dict[str, Any] | None = None,
    families: dict[str, StreamFamily] | None = None,
    rules: ReclaimRules | None = None,
    **options: Any,
) -> Report:
    target = RedisTarget(url=url, reclaim=rules or ReclaimRules())
    asked = StreamOwners(**{"answers": "kept", "provider": "users", **(owners or {})})
    ids = answers if callable(answers) else lambda: answers
    return remove_abandoned_streams(
        Job("main", target, RemoveStreamsOptions(**options)),
        {"home": HOME, **(families or {})},
        {"users": asked},
        lambda _owners: ids(),
    )


def in_turn(*answers: Callable[[], Sequence[str]]) -> Callable[[], Sequence[str]]:
    """Answer differently each time."""
    remaining = iter(answers)

    def answer() -> Sequence[str]:
        return next(remaining)()

    return answer


def companions_of(client: Any, user: int) -> int:
    return sum(client.exists(key) for key in (f"{user}-home-unread", f"unread[{user}-home]"))


def those_left(report: Report) -> Outcome:
    return next(one for one in report.outcomes if one.action.subject == "home companions")


def found(report: Report, code: str) -> Finding:
    return next(finding for finding in report.findings if finding.code == code)


def test_a_dry_run_shows_companions_without_a_stream(client: redis.Redis, each_server: str) -> None:
    report = remove(each_server, dry_run=True)
    assert client.dbsize() == 20 * 2 + 18 + 1
    assert report.summary == (
        "1 of 18 streams and 4 companion keys without a stream would be removed;"
        " nothing was (dry run)."
    )
    planned = those_left(report)
    assert planned.verdict is Verdict.PLANNED
    assert planned.action.statement == "UNLINK <id>-home-unread unread[<id>-home]"
    assert planned.action.predicted["keys"] == 4
    assert planned.action.predicted["freed_bytes"] > 100
    finding = found(report, "stream-companions-abandoned")
    assert finding.severity is Severity.WARNING
    assert finding.evidence["keys_seen"] == 40
    assert set(finding.evidence["examples"]) == {
        f"{before}{user}-home{after}"
        for user in EVICTED
        for before, after in (("", "-unread"), ("unread[", "]"))
    }
    assert "cannot be undone" in finding.advice


@pytest.mark.parametrize(
    ("owners", "answer"), [({}, STAY), ({"answers": "gone"}, ["3", "7", "11", "404"])]
)
def test_companions_of_the_gone_go_though_their_stream_went_before(
    client: redis.Redis, each_server: str, owners: dict[str, Any], answer: list[str]
) -> None:
    report = remove(each_server, answer, owners=owners)
    assert [companions_of(client, user) for user in (*EVICTED, GONE, 4)] == [0, 0, 0, 2]
    assert client.dbsize() == 17 * 3 + 1
    done = those_left(report)
    assert done.verdict is Verdict.WORKED
    assert done.after["removed_keys"] == 4
    assert report.summary == (
        "1 stream and 2 companion keys removed, and 4 companion keys without a stream."
    )
    again = remove(each_server, answer, owners=owners)
    assert again.outcomes == ()
    assert again.summary == "Nothing to remove: every one of 17 streams has its owner."


def test_they_go_where_no_stream_is_left_to_go_with(client: redis.Redis, each_server: str) -> None:
    client.delete(f"{GONE}-home")
    report = remove(each_server)
    assert [companions_of(client, user) for user in (*EVICTED, GONE, 4)] == [0, 0, 0, 2]
    assert those_left(report).after["removed_keys"] == 6


def test_exceptions_and_who_has_a_stream_of_any_type_keep_them(
    client: redis.Redis, each_server: str
) -> None:
    client.set("7-home", "no stream at all")
    remove(each_server, owners={"exceptions": ("3",)})
    assert [companions_of(client, user) for user in EVICTED] == [2, 2]
    client.delete("7-home")
    remove(each_server, exceptions=("3",))
    assert [companions_of(client, user) for user in EVICTED] == [2, 0]


def test_too_large_a_share_is_refused_for_companions_alone(
    client: redis.Redis, each_server: str
) -> None:
    report = remove(each_server, owners={"share_limit_ratio": 0.08})
    assert client.exists(f"{GONE}-home") == 0
    assert [companions_of(client, user) for user in EVICTED] == [2, 2]
    refused = those_left(report)
    assert refused.verdict is Verdict.REFUSED
    assert "10 % of the companion keys would go, more than share_limit_ratio (8.0 %)" in (
        refused.sentence
    )
    assert found(report, "streams-removal-refused").subject == "home companions"


def test_companions_of_which_none_has_a_known_owner_stay(
    client: redis.Redis, each_server: str
) -> None:
    """There is no stream by which to see that another column is meant."""
    client.delete(*(f"{user}-home" for user in USERS))
    report = remove(each_server, ["mouse", "rat"], owners={"share_limit_ratio": 1.0})
    assert client.dbsize() == 41
    assert "not one of 40 companion keys belongs to an id" in those_left(report).sentence


def test_who_came_back_between_the_answers_keeps_them_and_what_came_later_stays(
    client: redis.Redis, each_server: str
) -> None:
    def second() -> list[str]:
        client.set("99-home-unread", 1)
        return [*STAY, "7"]

    report = remove(each_server, in_turn(lambda: STAY, second))
    assert [companions_of(client, user) for user in EVICTED] == [0, 2]
    assert client.get("99-home-unread") == b"1"
    assert those_left(report).after["removed_keys"] == 2


def test_a_stream_that_comes_back_keeps_its_companions(
    client: redis.Redis, each_server: str
) -> None:
    def second() -> list[str]:
        client.zadd("7-home", {"new": 1})
        return STAY

    remove(each_server, in_turn(lambda: STAY, second))
    assert [companions_of(client, user) for user in EVICTED] == [0, 2]
    assert client.zcard("7-home") == 1


def test_what_may_belong_to_somebody_else_stays(client: redis.Redis, each_server: str) -> None:
    """By another template the same key is that of another owner, by another family no companion."""
    ambiguous = HOME.model_copy(update={"companions": ("{key}-unread", "x{key}-unread")})
    for key in ("x4-home-unread", "x404-home-unread", "special-home-unread", "named-home-unread"):
        client.set(key, "1")
    key_provider("some")(lambda: ["named-home-unread"])
    others = {
        "home": ambiguous,
        "special": StreamFamily(redis="main", pattern="special*", max_length=9, type="list"),
        "named": StreamFamily(redis="main", provider="some", max_length=9, type="list"),
    }
    try:
        report = remove(each_server, families=others)
    finally:
        unregister("some")
    left = set(client.scan_iter("*-home-unread"))
    assert {b"x4-home-unread", b"special-home-unread", b"named-home-unread"} <= left
    assert b"x404-home-unread" not in left
    assert found(report, "stream-companions-abandoned").evidence["keys_of_others"] == 2


def test_companions_on_other_nodes_than_their_stream_are_judged_by_it(cluster: Cluster) -> None:
    with cluster.client() as client:
        client.flushall()
        fill(client)
        client.zadd("7-home", {"still": 1})
        report = remove(cluster.urls[0])
        assert [companions_of(client, user) for user in (*EVICTED, GONE, 4)] == [0, 0, 0, 2]
    assert those_left(report).after["removed_keys"] == 2


def test_the_rights_that_the_report_names_are_enough(client: redis.Redis, each_server: str) -> None:
    needed = remove(each_server, dry_run=True).facts["needs_acl"]
    client.execute_command("ACL", "SETUSER", "remover", "on", ">pw", "~*", *needed)
    url = f"redis://remover:pw@{each_server.rpartition('@')[2]}"
    try:
        client.execute_command("ACL", "SETUSER", "remover", "-exists")
        with pytest.raises(MissingRights, match=r"needs ACL \+exists"):
            remove(url)
        assert [companions_of(client, user) for user in EVICTED] == [2, 2]
        client.execute_command("ACL", "SETUSER", "remover", *needed)
        remove(url)
    finally:
        client.acl_deluser("remover")
    assert [companions_of(client, user) for user in EVICTED] == [0, 0]


# --- The rate ------------------------------------------------------------------------------------


def test_a_removal_writes_to_no_more_keys_a_second_than_it_may(
    each_client: redis.Redis, each_server: str
) -> None:
    """Sixty streams with a companion each, and thirty companions without: 150 keys."""
    home = HOME.model_copy(update={"companions": ("{key}-unread",)})
    for user in range(300):
        each_client.set(f"{user}-home-unread", user)
        if user >= 30:
            each_client.zadd(f"{user}-home", {"status": 1})
    stay = [str(user) for user in range(90, 300)]
    asked_at: list[float] = []

    def answers() -> list[str]:
        asked_at.append(time.monotonic())
        return stay

    rules = ReclaimRules(keys_per_second=100)
    report = remove(each_server, answers, families={"home": home}, rules=rules)
    assert each_client.dbsize() == 2 * 210
    assert time.monotonic() - asked_at[-1] >= 150 / 100 - 0.01
    assert those_left(report).after["removed_keys"] == 30
