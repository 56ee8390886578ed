"""Streams of owners who are gone are counted, then removed; nothing goes by mistake."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import redis

from maintenance.conf import (
    DatabaseTarget,
    RedisTarget,
    StreamFamily,
    StreamOwners,
    parse_configuration,
)
from maintenance.core.errors import (
    Cancelled,
    ConfigurationError,
    MissingRights,
    Skipped,
    UnknownName,
)
from maintenance.core.findings import Severity
from maintenance.core.job import Job, SilentProgress
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from maintenance.core.runs.conditions import require_leave
from maintenance.core.runs.registry import task_named
from maintenance.postgres.answers import first_column
from maintenance.redis.abandoned import remove_abandoned_streams
from maintenance.redis.abandoned_options import RemoveStreamsOptions
from maintenance.redis.providers import owner_provider, unregister
from maintenance.schedules import CHECKLISTS
from tests.postgres_clients import ask
from tests.redis_servers import Cluster, take_rights

COMPANIONS = ("{key}-unread", "{key}-unread-by-type")
USERS = range(20)


def family(**given: Any) -> StreamFamily:
    rule = {"redis": "main", "pattern": "*-home", "max_length": 200, "owners": "users"}
    return StreamFamily(**{**rule, "companions": COMPANIONS, **given})


def kept(**given: Any) -> StreamOwners:
    return StreamOwners(**{"answers": "kept", "provider": "users", **given})


@pytest.fixture
def client(each_client: redis.Redis) -> redis.Redis:
    """A server on which twenty users have a stream each, with its companions."""
    fill(each_client)
    return each_client


def fill(client: Any) -> None:
    for user in USERS:
        client.zadd(f"{user}-home", {f"status{n}": n for n in range(30 + user)})
        client.set(f"{user}-home-unread", user)
        client.hset(f"{user}-home-unread-by-type", mapping={"review": user})
    client.set("20-home", "no stream at all")
    client.set("site-settings", "stay")


def remove(
    url: str,
    owners: StreamOwners,
    answers: Sequence[str] | Callable[[], Sequence[str]],
    *,
    configured: dict[str, StreamFamily] | None = None,
    progress: Any = None,
    **options: Any,
) -> Report:
    job = Job(
        "main",
        RedisTarget(url=url),
        RemoveStreamsOptions(**options),
        progress=progress or SilentProgress(),
    )
    ids = answers if callable(answers) else lambda: answers
    return remove_abandoned_streams(
        job, configured or {"home": family()}, {"users": owners}, lambda _owners: ids()
    )


def users_with_streams(client: Any) -> list[int]:
    return [user for user in USERS if client.exists(f"{user}-home")]


def companions_of(client: Any, user: int) -> int:
    return sum(client.exists(f"{user}-home{end}") for end in ("-unread", "-unread-by-type"))


ALL_BUT_THREE = [str(user) for user in USERS if user not in {3, 7, 11}]


def test_a_dry_run_says_what_would_go_and_that_there_is_no_way_back(
    client: redis.Redis, each_server: str
) -> None:
    report = remove(each_server, kept(), ALL_BUT_THREE, dry_run=True)
    assert len(users_with_streams(client)) == 20
    assert report.summary == "3 of 20 streams would be removed; nothing was (dry run)."
    (outcome,) = report.outcomes
    assert outcome.verdict is Verdict.PLANNED
    assert outcome.action.predicted["keys"] == 3
    assert outcome.action.statement == (
        "UNLINK <id>-home <id>-home-unread <id>-home-unread-by-type"
    )
    assert "cannot be undone" in outcome.sentence
    found = report.findings[0]
    assert found.severity is Severity.WARNING
    assert "cannot be undone" in found.advice
    assert found.evidence["longest_keys"] == ["11-home", "7-home", "3-home"]
    assert found.evidence["held_bytes"] > 1000


@pytest.mark.parametrize(
    ("owners", "answer"),
    [(kept(), ALL_BUT_THREE), (kept(answers="gone"), ["3", "7", "11", "404"])],
)
def test_streams_of_the_gone_go_with_their_companions_and_nothing_else(
    client: redis.Redis, each_server: str, owners: StreamOwners, answer: list[str]
) -> None:
    report = remove(each_server, owners, answer)
    assert users_with_streams(client) == [user for user in USERS if user not in {3, 7, 11}]
    assert [companions_of(client, user) for user in (3, 7, 11, 4)] == [0, 0, 0, 2]
    assert client.get("20-home") == b"no stream at all"
    assert client.get("site-settings") == b"stay"
    assert client.dbsize() == 17 * 3 + 2
    (outcome,) = report.outcomes
    assert outcome.verdict is Verdict.WORKED
    assert outcome.after["removed_keys"] == 3
    assert outcome.after["removed_companions"] == 6
    again = remove(each_server, owners, answer)
    assert again.summary == "Nothing to remove: every one of 17 streams has its owner."


def test_exceptions_of_the_configuration_and_of_the_run_stay(
    client: redis.Redis, each_server: str
) -> None:
    remove(each_server, kept(exceptions=("3",)), ALL_BUT_THREE, exceptions=("7",))
    assert [user for user in USERS if user not in users_with_streams(client)] == [11]


@pytest.mark.parametrize(
    ("owners", "answer", "reason"),
    [
        (kept(), [], "an empty answer is a broken query"),
        (kept(), ["mouse", "rat"], "not one of 20 streams belongs to an id of the answer"),
        (kept(), ["1", "2"], "90 % of the streams would go, more than share_limit_ratio (40 %)"),
        (kept(answers="gone"), [str(u) for u in USERS], "100 % of the streams would go"),
        (kept(share_limit_ratio=0.1), ALL_BUT_THREE, "15 % of the streams would go"),
    ],
)
def test_an_answer_that_cannot_be_meant_removes_nothing(
    client: redis.Redis, each_server: str, owners: StreamOwners, answer: list[str], reason: str
) -> None:
    report = remove(each_server, owners, answer)
    assert len(users_with_streams(client)) == 20
    assert report.outcomes[0].verdict is Verdict.REFUSED
    assert reason in report.outcomes[0].sentence
    assert "streams-removal-refused" in [found.code for found in report.findings]
    assert report.summary == "Refused for home; no stream removed."


def test_an_empty_answer_about_who_is_gone_finds_nobody_gone(
    client: redis.Redis, each_server: str
) -> None:
    report = remove(each_server, kept(answers="gone"), [])
    assert len(users_with_streams(client)) == 20
    assert report.outcomes == ()


class Changing:
    """Answers that change between the two times they are asked for."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self.answers = iter(answers)

    def __call__(self) -> Sequence[str]:
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_who_came_back_or_signed_up_meanwhile_keeps_the_stream(
    client: redis.Redis, each_server: str
) -> None:
    def sign_up_and_answer() -> Sequence[str]:
        client.zadd("99-home", {"first": 1})
        return [*ALL_BUT_THREE, "7", "99"]

    first = Changing(ALL_BUT_THREE)
    remove(each_server, kept(), lambda: next(first.answers, None) or sign_up_and_answer())
    assert client.exists("99-home") == 1
    assert [user for user in USERS if user not in users_with_streams(client)] == [3, 11]


def test_a_stream_that_was_not_counted_is_not_removed(
    client: redis.Redis, each_server: str
) -> None:
    """One that signs up after the second answer is not in it, and was not seen before either."""

    def answer_then_sign_up() -> Sequence[str]:
        client.zadd("99-home", {"first": 1})
        return ALL_BUT_THREE

    first = Changing(ALL_BUT_THREE)
    remove(each_server, kept(), lambda: next(first.answers, None) or answer_then_sign_up())
    assert client.exists("99-home") == 1
    assert client.exists("3-home") == 0


@pytest.mark.parametrize("second", [[], ConfigurationError("The query failed.")])
def test_a_second_answer_that_fails_removes_nothing(
    client: redis.Redis, each_server: str, second: Any
) -> None:
    answers = Changing(ALL_BUT_THREE, second)
    if isinstance(second, Exception):
        with pytest.raises(ConfigurationError, match="The query failed"):
            remove(each_server, kept(), answers)
    else:
        assert remove(each_server, kept(), answers).outcomes[0].verdict is Verdict.REFUSED
    assert len(users_with_streams(client)) == 20


def test_a_replica_is_counted_and_refused(client: redis.Redis, each_server: str) -> None:
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        report = remove(each_server, kept(), ALL_BUT_THREE)
    finally:
        client.execute_command("REPLICAOF", "NO", "ONE")
    assert len(users_with_streams(client)) == 20
    assert report.outcomes[0].sentence == "Nothing was removed: the server is a replica."


def test_a_cancelled_removal_stops(client: redis.Redis, each_server: str) -> None:
    class Cancelling(SilentProgress):
        def update(self, *_args: Any, **keywords: Any) -> None:
            if keywords["phase"].startswith("removing"):
                raise Cancelled("Somebody asked for this run to stop.")

    with pytest.raises(Cancelled):
        remove(each_server, kept(), ALL_BUT_THREE, progress=Cancelling())
    assert len(users_with_streams(client)) == 20


def test_the_rights_that_the_report_names_are_enough(client: redis.Redis, each_server: str) -> None:
    needed = remove(each_server, kept(), ALL_BUT_THREE, dry_run=True).facts["needs_acl"]
    client.execute_command("ACL", "SETUSER", "remover", "on", ">pw", "~*", *needed)
    try:
        url = f"redis://remover:pw@{each_server.rpartition('@')[2]}"
        take_rights(client, "remover", ["+unlink", "+memory|usage"])
        with pytest.raises(MissingRights, match=r"needs ACL \+unlink"):
            remove(url, kept(), ALL_BUT_THREE)
        assert len(users_with_streams(client)) == 20
        client.execute_command("ACL", "SETUSER", "remover", *needed)
        remove(url, kept(), ALL_BUT_THREE)
    finally:
        client.acl_deluser("remover")
    assert len(users_with_streams(client)) == 17


def test_families_without_owners_are_none_of_it(client: redis.Redis, each_server: str) -> None:
    plain = family(owners="", companions=())
    report = remove(each_server, kept(), [], configured={"home": plain})
    assert report.summary == "Nothing to do: no stream family on main names its owners."
    with pytest.raises(UnknownName, match="stream family with owners on main"):
        remove(each_server, kept(), [], configured={"home": plain}, families=("home",))
    assert len(users_with_streams(client)) == 20


def test_companions_on_other_nodes_of_a_cluster_go_as_well(cluster: Cluster) -> None:
    with cluster.client() as client:
        client.flushall()
        fill(client)
        report = remove(cluster.urls[0], kept(), ALL_BUT_THREE)
        assert users_with_streams(client) == [u for u in USERS if u not in {3, 7, 11}]
        assert [companions_of(client, user) for user in (3, 7, 11, 4)] == [0, 0, 0, 2]
    assert report.outcomes[0].after["removed_companions"] == 6


def test_a_companion_that_moves_to_another_node_meanwhile_is_left_and_named(
    cluster: Cluster,
) -> None:
    """A slot that is being moved: the node says ASK for a key that it does not hold (any more)."""
    with cluster.client() as client:
        client.flushall()
        fill(client)
        client.delete("3-home-unread")
        node, slot = client.get_node_from_key("3-home-unread"), client.keyslot("3-home-unread")
        other = next(n for n in client.get_primaries() if n.name != node.name)
        there = client.cluster_myid(other)
        client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", there, target_nodes=node)
        try:
            report = remove(cluster.urls[0], kept(), ALL_BUT_THREE)
        finally:
            client.execute_command("CLUSTER SETSLOT", slot, "STABLE", target_nodes=node)
        assert users_with_streams(client) == [u for u in USERS if u not in {3, 7, 11}]
    found = next(f for f in report.findings if f.code == "stream-keys-moved")
    assert found.evidence == {"keys": 1}
    assert report.outcomes[0].after["removed_companions"] == 5


# --- Who is gone, by a database -------------------------------------------------------------------


@pytest.fixture
def database(make_database: Callable[[], str]) -> Iterator[DatabaseTarget]:
    url = make_database()
    ask(
        url,
        "CREATE TABLE bookwyrm_user (id int PRIMARY KEY, local bool, is_active bool,"
        " is_deleted bool, last_active_date timestamptz)",
    )
    ask(
        url,
        "INSERT INTO bookwyrm_user SELECT i, true, i <> 3, i = 7,"
        " now() - CASE WHEN i = 11 THEN interval '1 year' ELSE interval '1 day' END"
        " FROM generate_series(0, 19) i",
    )
    return DatabaseTarget(url=url)


ACTIVE = (
    "SELECT id FROM bookwyrm_user WHERE local AND is_active AND NOT is_deleted"
    " AND last_active_date > now() - interval '180 days';"
)


def test_a_query_says_who_is_kept(
    client: redis.Redis, each_server: str, database: DatabaseTarget
) -> None:
    answer = list(first_column(database, ACTIVE))
    assert sorted(answer, key=int) == ALL_BUT_THREE
    remove(each_server, kept(), lambda: list(first_column(database, ACTIVE)))
    assert [user for user in USERS if user not in users_with_streams(client)] == [3, 7, 11]


def site(redis_url: str, database_url: str, **owners: Any) -> dict[str, Any]:
    return {
        "databases": {"site": {"url": database_url}},
        "redis": {"main": {"url": redis_url}},
        "streams": {"home": family().model_dump(exclude_unset=True)},
        "stream_owners": {"users": {"answers": "kept", **owners}},
    }


def test_the_task_asks_the_database_or_the_function_of_the_configuration(
    client: redis.Redis, each_server: str, database: DatabaseTarget, settings: Any
) -> None:
    spec = task_named("remove_abandoned_streams")
    job = Job("main", RedisTarget(url=each_server), RemoveStreamsOptions(exceptions=("7",)))
    settings.MAINTENANCE = site(each_server, str(database.url), database="site", sql=ACTIVE)
    spec.function(job)
    assert [user for user in USERS if user not in users_with_streams(client)] == [3, 11]
    settings.MAINTENANCE = site(each_server, str(database.url), provider="users")
    owner_provider("users")(lambda: (user for user in USERS if user != 4))
    try:
        spec.function(job)
    finally:
        unregister("users")
    assert [user for user in USERS if user not in users_with_streams(client)] == [3, 4, 11]


def test_the_task_is_off_until_its_target_allows_it() -> None:
    spec = task_named("remove_abandoned_streams")
    with pytest.raises(Skipped, match=r'add allow = \["remove_streams"\]'):
        require_leave(spec, "main", RedisTarget(url="redis://h"))
    require_leave(spec, "main", RedisTarget(url="redis://h", allow=("remove_streams",)))
    planned = {line.task for lines in CHECKLISTS.values() for line in lines}
    assert spec.short_name not in planned


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT id FROM bookwyrm_users", 'relation "bookwyrm_users" does not exist'),
        ("SELECT id, local FROM bookwyrm_user", "must select one column, the ids, and selects 2"),
        ("DELETE FROM bookwyrm_user RETURNING id", "The query failed"),
        ("SELECT id / 0 FROM bookwyrm_user", "division by zero"),
    ],
)
def test_a_query_that_fails_or_writes_is_named(
    database: DatabaseTarget, sql: str, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        list(first_column(database, sql))
    assert ask(str(database.url), "SELECT count(*) FROM bookwyrm_user") == [(20,)]


def test_an_id_that_is_null_is_left_out(database: DatabaseTarget) -> None:
    assert list(first_column(database, "SELECT NULLIF(id, 1) FROM bookwyrm_user WHERE id < 3")) == [
        "0",
        "2",
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"owners": "usrs"}, 'streams.home.owners names "usrs", which is none of stream_owners'),
        ({"pattern": "*-home-*"}, '"owners" needs a pattern with one "*"'),
        ({"pattern": "[0-9]*-home"}, '"owners" needs a pattern with one "*"'),
    ],
)
def test_owners_that_cannot_be_found_are_refused_at_start(
    change: dict[str, Any], says: str
) -> None:
    rule = {"redis": "main", "pattern": "*-home", "max_length": 1, "owners": "users"}
    given = {
        "redis": {"main": {"url": "redis://h"}},
        "streams": {"home": rule | change},
        "stream_owners": {"users": {"answers": "kept", "provider": "users"}},
    }
    with pytest.raises(ConfigurationError) as refusal:
        parse_configuration(given)
    assert says in str(refusal.value)
