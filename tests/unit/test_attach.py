"""What is proposed for a site, from what was seen on its servers."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.attach.addresses import Address
from maintenance.attach.fit import fitting
from maintenance.attach.look import DatabaseSeen, RedisSeen, ShapeSeen, TableSeen
from maintenance.attach.proposal import proposed
from maintenance.conf import parse_configuration
from maintenance.conf.presets import preset_named, preset_names
from maintenance.core.configuration_file import ConfigurationFile
from tests.explained_lines import unexplained

PRESETS = {name: preset_named(name) for name in preset_names()}
ODD = 'odd "quoted" \\ \x1b[31m\u2028 name'


def database(*tables: str) -> DatabaseSeen:
    seen = tuple(TableSeen("public", name, 1000) for name in (*tables, "django_migrations"))
    return DatabaseSeen("db:5432/site", "17.6", seen, ())


def server(
    *shapes: tuple[str, str, int],
    queues: tuple[str, ...] = (),
    prefixes: tuple[str, ...] = (),
    queue_prefix: str = "",
) -> RedisSeen:
    return RedisSeen(
        "redis://h:6379/0",
        "Redis 7.2",
        1000,
        tuple(ShapeSeen(shape, kind, count, 400) for shape, kind, count in shapes),
        queues,
        tuple((prefix, 1, 10) for prefix in prefixes),
        queue_prefix,
    )


SITE = database("bookwyrm_status", "bookwyrm_book", "bookwyrm_edition", "bookwyrm_user")
ACTIVITY = server(("*-home", "zset", 40), ("*-lists", "zset", 9), prefixes=("django_cache",))
BROKER = server(queues=("high_priority", "inbox"))
EMPTY = server()


def address(name: str) -> Address:
    return Address(f"env:{name}", is_to_be_set=True)


def proposal_for(
    databases: Sequence[DatabaseSeen],
    servers: Sequence[RedisSeen],
    environment: Mapping[str, str] | None = None,
) -> ConfigurationFile:
    found = fitting(PRESETS, databases, servers)
    seen = [
        (address(f"DB_{number}" if number else "DB"), one) for number, one in enumerate(databases)
    ]
    named = [(address(f"REDIS_{number}"), one) for number, one in enumerate(servers)]
    return proposed(seen, named, found, environment or {})


def file_for(
    seen: DatabaseSeen, *servers: RedisSeen, environment: Mapping[str, str] | None = None
) -> str:
    return proposal_for([seen], servers, environment).text


@pytest.mark.parametrize(
    ("servers", "activity", "broker"),
    [
        ((ACTIVITY, BROKER), 0, 1),
        ((BROKER, ACTIVITY), 1, 0),
        ((ACTIVITY,), 0, 0),
        ((BROKER, EMPTY), 1, 0),
        ((EMPTY, ACTIVITY), 1, 0),
        ((EMPTY, BROKER), 0, 1),
        ((BROKER,), 0, 0),
    ],
)
def test_servers_are_told_apart_by_what_is_on_them(
    servers: tuple[RedisSeen, ...], activity: int, broker: int
) -> None:
    parsed = parse_configuration(tomllib.loads(file_for(SITE, *servers)))
    assert parsed.preset == "bookwyrm"
    assert parsed.databases["site"].url == "env:DB"
    assert parsed.redis["activity"].url == parsed.caches["site"].url == f"env:REDIS_{activity}"
    assert parsed.redis["broker"].url == parsed.brokers["site"].url == f"env:REDIS_{broker}"
    assert len(parsed.streams) == 5


def test_servers_that_nothing_tells_apart_are_taken_in_order_and_that_is_said() -> None:
    text = file_for(SITE, server(), server())
    parsed = parse_configuration(tomllib.loads(text))
    assert (parsed.redis["activity"].url, parsed.redis["broker"].url) == (
        "env:REDIS_0",
        "env:REDIS_1",
    )
    assert " ".join(text.replace("#", "").split()).count("taken by the order that was given") == 2


def test_servers_beyond_those_of_the_preset_are_proposed_as_those_of_an_unknown_site() -> None:
    queues = server(queues=("slow",), prefixes=("blog",))
    parsed = parse_configuration(tomllib.loads(file_for(SITE, EMPTY, queues, BROKER, ACTIVITY)))
    assert parsed.preset == "bookwyrm"
    roles = {name: (target.url, target.role) for name, target in parsed.redis.items()}
    assert roles == {
        "activity": ("env:REDIS_3", "streams"),
        "broker": ("env:REDIS_2", "broker"),
        "site2": ("env:REDIS_0", "cache"),
        "site3": ("env:REDIS_1", "broker"),
    }, "the name site is that of the preset's queues and cache"
    assert (parsed.brokers["site3"].queues, parsed.brokers["site"].url) == (
        ("slow",),
        "env:REDIS_2",
    )
    assert (parsed.caches["site3"].key_prefix, parsed.caches["site"].url) == (
        "blog",
        "env:REDIS_3",
    )


def test_the_database_of_a_known_site_may_stand_anywhere() -> None:
    unknown = database("library_book")
    file = proposal_for([unknown, SITE, unknown], [BROKER, ACTIVITY])
    parsed = parse_configuration(tomllib.loads(file.text))
    assert parsed.preset == "bookwyrm"
    urls = {name: target.url for name, target in parsed.databases.items()}
    assert urls == {"site": "env:DB_1", "site2": "env:DB", "site3": "env:DB_2"}
    assert parsed.databases["site"].windows, "what the preset knows of it is the right one's"
    assert not parsed.databases["site2"].windows


@pytest.mark.parametrize(
    ("prefixes", "abandoned"),
    [
        (("",), ()),  # the cache of today has no prefix: its keys are no old ones
        (("bw", ""), ()),  # which of the two is today's, nobody can tell
        (("bw",), (":1:",)),
        (("django_cache", ""), (":1:",)),  # the preset's own case
        ((), (":1:",)),
    ],
)
def test_keys_of_the_cache_that_is_there_are_not_taken_for_abandoned(
    prefixes: tuple[str, ...], abandoned: tuple[str, ...]
) -> None:
    text = file_for(SITE, server(("*-home", "zset", 9), prefixes=prefixes), BROKER)
    parsed = parse_configuration(tomllib.loads(text))
    assert parsed.redis["activity"].reclaim.abandoned_prefixes == abandoned
    assert unexplained(text) == []


def test_a_few_keys_are_enough_to_doubt_that_keys_like_them_are_abandoned() -> None:
    one_key = replace(server(("*-home", "zset", 9)), prefixes=(("", 1, 1),))
    parsed = parse_configuration(tomllib.loads(file_for(SITE, one_key, BROKER)))
    assert parsed.redis["activity"].reclaim.abandoned_prefixes == ()
    assert parsed.caches["site"].key_prefix == "django_cache", "one key is no cache"


def test_a_prefix_that_the_preset_does_not_know_is_taken_from_the_keys() -> None:
    text = file_for(SITE, server(("*-home", "zset", 9), prefixes=("bw",)), BROKER)
    assert parse_configuration(tomllib.loads(text)).caches["site"].key_prefix == "bw"


def test_a_few_tables_with_its_names_make_no_preset() -> None:
    assert fitting(PRESETS, [database("bookwyrm_user", "library_book")], ()) is None


def test_the_other_preset_is_known_by_its_tables() -> None:
    seen = database(*PRESETS["paperless-ngx"].fits.tables)
    parsed = parse_configuration(tomllib.loads(file_for(seen, server(queues=("celery",)))))
    assert parsed.preset == "paperless-ngx"
    assert parsed.brokers["site"].url == parsed.redis["site"].url == "env:REDIS_0"


def test_a_prefix_of_the_site_that_our_environment_does_not_say_is_taken_from_the_keys() -> None:
    seen = database(*PRESETS["paperless-ngx"].fits.tables)
    redis = server(queues=("celery",), prefixes=("archive-",), queue_prefix="archive-")
    text = file_for(seen, redis)
    parsed = parse_configuration(tomllib.loads(text))
    assert parsed.brokers["site"].key_prefix == parsed.caches["site"].key_prefix == "archive-"
    assert "The preset brings caches, queues;" in " ".join(text.replace("#", "").split())
    told = {"PAPERLESS_REDIS_PREFIX": "archive-"}
    assert "key_prefix" not in file_for(seen, redis, environment=told), "the preset says it then"
    unknown = file_for(database("library_book"), redis)
    assert parse_configuration(tomllib.loads(unknown)).brokers["site"].key_prefix == "archive-"


def test_an_unknown_site_gets_roles_queues_and_caches_and_no_limit_is_guessed() -> None:
    streams = server((f"*-{ODD}", "zset", 40), prefixes=("", ODD))
    text = file_for(database("library_book", ODD), streams, server(queues=("slow", ODD)))
    parsed = parse_configuration(tomllib.loads(text))
    assert parsed.preset == ""
    assert [target.role for target in parsed.redis.values()] == ["streams", "broker"]
    assert parsed.brokers["site2"].queues == ("slow", ODD)
    assert [cache.key_prefix for cache in parsed.caches.values()] == ["", ODD]
    assert parsed.streams == {}
    assert "max_length" in text
    assert "\x1b" not in text


NOTHING = DatabaseSeen("db:5432/site", "17.6", (), ())
DATABASES = (
    SITE,
    database(*PRESETS["paperless-ngx"].fits.tables),
    database("library_book", ODD),
    NOTHING,
)
PREFIXES = st.sampled_from(["", "archive-", ODD])
SHAPES = (
    ShapeSeen("*-home", "zset", 40, 400),
    ShapeSeen(f"*-{ODD}", "list", 9, 9),
    ShapeSeen("one", "string", 1),
)
SERVERS = st.builds(
    RedisSeen,
    address=st.just("redis://h:6379/0"),
    name=st.just("Redis 7.2"),
    keys=st.sampled_from([0, 1000]),
    shapes=st.lists(st.sampled_from(SHAPES), unique=True).map(tuple),
    queues=st.sampled_from([(), ("celery",), ("inbox", ODD)]),
    prefixes=st.lists(
        st.tuples(PREFIXES, st.integers(0, 999), st.just(10)), unique=True, max_size=3
    ).map(tuple),
    queue_prefix=PREFIXES,
    searched_keys=st.sampled_from([None, 500]),
)


@given(
    databases=st.lists(st.sampled_from(DATABASES), min_size=1, max_size=3),
    servers=st.lists(SERVERS, max_size=4),
    environment=st.sampled_from([{}, {"PAPERLESS_REDIS_PREFIX": "archive-"}]),
)
def test_every_line_for_any_site_says_why_it_is_there_and_all_are_accepted(
    databases: list[DatabaseSeen], servers: list[RedisSeen], environment: dict[str, str]
) -> None:
    file = proposal_for(databases, servers, environment)
    assert [line.text for line in file.lines if line.text and not line.reason] == []
    assert unexplained(file.text) == []
    parsed = parse_configuration(tomllib.loads(file.text))
    assert len(parsed.databases) == len(databases)
    urls = {target.url for target in parsed.redis.values()}
    assert {f"env:REDIS_{number}" for number in range(len(servers))} <= urls, (
        "no server is left out"
    )


def test_a_line_without_a_reason_is_noticed() -> None:
    assert unexplained("# why\na = 1\nb = 2\n\nc = 3\n") == ["b = 2", "c = 3"]


def test_what_is_said_of_a_line_is_what_was_seen() -> None:
    broker = server(queues=("celery",), prefixes=("archive-",), queue_prefix="archive-")
    text = " ".join(file_for(database("library_book"), broker).replace("#", "").split())
    for words in (
        "1,000 keys; queues celery. [redis.site]",
        "Read from the variable REDIS_0, since it may hold a password; what was looked at is",
        'redis://h:6379/0. url = "env:REDIS_0"',
        'Celery\'s queues are on it: celery. role = "broker"',
        'without its own queues of remote control. queues = ["celery"]',
        '(global_keyprefix). key_prefix = "archive-"',
        'before the version of these keys stands "archive-". key_prefix = "archive-"',
        "It is 1 in these keys. version = 1",
    ):
        assert words in text, (words, text)
    bare = " ".join(file_for(NOTHING, replace(server(), keys=0)).replace("#", "").split())
    assert "it holds no key, so that nothing speaks for another one. Verify." in bare


def test_what_was_not_looked_through_for_queues_is_not_called_a_cache() -> None:
    cut_off = replace(server(), searched_keys=500)
    text = " ".join(file_for(NOTHING, cut_off).replace("#", "").split())
    assert "queues were looked for among 500 of its 1,000 keys, so that there may be more" in text
    assert "What it is for is not known" in text
    assert 'role = "cache"' not in text
    seen = replace(server(prefixes=("blog",)), searched_keys=500)
    text = " ".join(file_for(NOTHING, seen).replace("#", "").split())
    assert 'keys of a cache of Django are on it. role = "cache"' in text
    by_order = " ".join(file_for(SITE, cut_off, ACTIVITY).replace("#", "").split())
    assert "queues were looked for among 500 of its 1,000 keys" in by_order


def test_caches_of_several_servers_have_names_of_their_own() -> None:
    seen = server(prefixes=("a", "b"))
    caches = parse_configuration(tomllib.loads(file_for(NOTHING, seen, seen))).caches
    assert {name: cache.key_prefix for name, cache in caches.items()} == {
        "site": "a",
        "site_2": "b",
        "site2": "a",
        "site2_2": "b",
    }
