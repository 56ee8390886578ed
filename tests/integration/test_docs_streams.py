"""docs/streams.md carried out as written: its configuration and its code, on streams of each of its kinds."""

import shlex
import time
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.contrib.auth import get_user_model

from docs.reference_from_code.commands import parsers
from maintenance.conf import configuration
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.core.runs.registry import task_named
from maintenance.redis.providers import unregister
from maintenance.redis.stream_classes import Stream, unregister_stream
from maintenance.reports.formats import render_report
from tests.code_blocks import blocks_of
from tests.postgres_clients import ask

PAGE = "docs/streams.md"
PROVIDER, CLASS, CALLS = blocks_of(PAGE, "python")
COMMANDS = [
    line.removeprefix("$ python manage.py ")
    for block in blocks_of(PAGE, "console")
    for line in block.splitlines()
]
DAYS_AGO = {days: (time.time() - days * 86_400) * 1000 for days in (1, 2, 100)}


def fill(client: redis.Redis) -> None:
    """Write streams of each family of the page, over their limits and within them."""
    for key, length in {
        "1-home": 199,
        "2-home": 410,
        "3-home": 250,
        "12-local": 210,
        "13-local": 205,
        "profile/ann": 60,
        "profile/nobody": 60,
        **{f"{user}-books": 20 for user in (1, 2, 3, 4)},
    }.items():
        client.zadd(key, {f"m{number}": number for number in range(length)})
    for key in ("2-home", "3-books", "4-books"):
        client.set(f"{key}-unread", 7)
    client.rpush("recent:front", *range(130))
    for number in range(10_005):
        client.xadd("events:all", {"n": number}, id=f"{number + 1}-0")
    client.zadd("ann-notifications", {str(days): score for days, score in DAYS_AGO.items()})


@pytest.fixture
def client(
    redis_url: str, make_database: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[redis.Redis]:
    """The page's whole configuration, on a server with streams and a database with users."""
    database = make_database()
    ask(
        database,
        "CREATE TABLE bookwyrm_user (id int, local bool, is_active bool, is_deleted bool);"
        " INSERT INTO bookwyrm_user SELECT n, true, n <> 3, false FROM generate_series(1, 4) AS n",
    )
    monkeypatch.setenv("SITE_STREAMS_URL", redis_url)
    monkeypatch.setenv("SITE_DATABASE_URL", database)
    settings.MAINTENANCE = tomllib.loads("\n".join(blocks_of(PAGE, "toml")))
    with redis.Redis.from_url(redis_url) as connection:
        fill(connection)
        yield connection
    unregister("profiles")
    unregister_stream("local")


@pytest.fixture
def code(client: redis.Redis, db: None) -> dict[str, Any]:
    """What the page's modules define, and a user whom its provider names."""
    get_user_model().objects.create_user("ann")
    namespace: dict[str, Any] = {"__name__": "shop.maintenance_hooks"}
    for text in (PROVIDER, CLASS):
        exec(compile(text, PAGE, "exec"), namespace)
    return namespace


def run(task: str, **options: Any) -> Report:
    """Run a task on the page's Redis target, in this process."""
    spec = task_named(task)
    target = configuration().redis["streams"]
    report: Report = spec.function(Job("streams", target, spec.options_type(**options)))
    return report


@pytest.mark.usefixtures("code")
def test_each_family_is_cut_as_the_page_says(client: redis.Redis) -> None:
    run("trim_streams")
    lengths = {key: client.zcard(key) for key in ("1-home", "2-home", "3-home", "12-local")}
    assert lengths == {"1-home": 199, "2-home": 200, "3-home": 200, "12-local": 200}
    assert client.zrange("2-home", 0, 0) == [b"m210"]  # the highest scores stay
    assert client.get("2-home-unread") == b"7"
    assert client.lrange("recent:front", 0, -1) == [b"%d" % n for n in range(100)]
    assert client.xlen("events:all") == 10_000
    assert client.xrange("events:all", count=1)[0][0] == b"6-0"
    assert set(client.zrange("ann-notifications", 0, -1)) == {b"1", b"2"}
    assert (client.zcard("profile/ann"), client.zcard("profile/nobody")) == (50, 60)


def test_a_class_trims_by_itself(client: redis.Redis, code: dict[str, Any]) -> None:
    everything, one = CALLS.splitlines()
    looked = eval(one, code)
    assert isinstance(looked, Report)
    assert looked.outcomes[0].action.predicted == {"keys": 1, "members": 10}
    assert client.zcard("12-local") == 210
    eval(everything, code)
    assert (client.zcard("12-local"), client.zcard("13-local")) == (200, 200)
    assert issubclass(code["LocalStream"], Stream)


def test_the_report_of_a_dry_run_is_the_one_on_the_page(client: redis.Redis) -> None:
    text = render_report(run("trim_streams", dry_run=True, families=("home",)), "text")
    [shown] = blocks_of(PAGE, "text")
    first, *others = shown.split("...\n")
    assert text.startswith(first)
    assert len(others) == 2
    assert all(part in text for part in others)
    for title in ("needs acl", "Stream families", "Lengths of home", "Longest home"):
        assert title in text
    assert client.zcard("2-home") == 410


@pytest.mark.usefixtures("code")
def test_streams_of_the_gone_are_named_and_go_with_what_belongs_to_them(
    client: redis.Redis,
) -> None:
    planned = run("remove_abandoned_streams", dry_run=True)
    assert planned.summary == "1 of 4 streams would be removed; nothing was (dry run)."
    assert client.exists("3-books", "3-books-unread") == 2
    run("remove_abandoned_streams")
    assert client.exists("3-books", "3-books-unread") == 0
    assert client.exists("4-books", "4-books-unread") == 2


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_understood(line: str) -> None:
    name, *arguments = shlex.split(line)
    if name == "check":  # Django's own
        return
    parsed = dict(parsers())[name].parse_args(arguments)
    assert parsed.target == "streams"
