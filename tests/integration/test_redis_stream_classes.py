"""Streams that an application names itself: by a class, or by a provider of keys."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
import redis
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from maintenance.conf import Configuration, RedisTarget, StreamFamily, configuration
from maintenance.core.errors import ConfigurationError, UnknownName
from maintenance.core.findings import Severity
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.core.runs.registry import task_named
from maintenance.redis.providers import key_provider, unregister
from maintenance.redis.stream_classes import (
    Stream,
    all_families,
    families_on,
    register_stream,
    unregister_stream,
)
from maintenance.redis.stream_options import TrimOptions
from maintenance.redis.streams import trim_streams


@pytest.fixture
def client(redis_url: str, settings: Any) -> Iterator[redis.Redis]:
    """A client of an emptied server that is the Redis target ``main``."""
    settings.MAINTENANCE = {"redis": {"main": {"url": redis_url, "role": "streams"}}}
    with redis.Redis.from_url(redis_url) as connection:
        for key in ("1-home", "2-home", "1-local"):
            connection.zadd(key, {f"m{number}": number for number in range(15)})
        yield connection


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    for name in ("home", "named", "list"):
        unregister_stream(name)
    unregister("homes")
    unregister("list")


class HomeStream(Stream):
    redis = "main"
    pattern = "*-home"
    max_length = 10


def test_a_stream_trims_itself_as_the_guide_has_it(client: redis.Redis) -> None:
    report = HomeStream().trim()
    assert (client.zcard("1-home"), client.zcard("2-home"), client.zcard("1-local")) == (10, 10, 15)
    assert client.zrange("1-home", 0, 0) == [b"m5"]
    assert report.summary.startswith("10 members removed from 2 of 2 streams")


def test_one_stream_of_a_class_is_trimmed_alone(client: redis.Redis) -> None:
    planned = HomeStream().trim("1-home", dry_run=True)
    assert planned.outcomes[0].action.predicted == {"keys": 1, "members": 5}
    HomeStream().trim(b"1-home")
    assert (client.zcard("1-home"), client.zcard("2-home")) == (10, 15)


def test_a_class_may_name_its_keys(client: redis.Redis) -> None:
    class NamedStream(Stream):
        redis = "main"
        max_length = 10

        def keys(self) -> Iterable[str]:
            yield "1-home"
            yield "1-local"
            yield "nobody-home"

    report = NamedStream().trim()
    assert report.summary.startswith("10 members removed from 2 of 2 streams")
    unregister(NamedStream.source())
    assert (client.zcard("1-home"), client.zcard("2-home"), client.zcard("1-local")) == (10, 15, 10)
    assert client.exists("nobody-home") == 0


@pytest.mark.usefixtures("client")
def test_registered_classes_are_trimmed_beside_configured_families() -> None:
    register_stream(HomeStream)
    register_stream(HomeStream)  # a module that is reloaded
    assert HomeStream.name == "home"
    families = families_on(configuration(), "main")
    assert families == {"home": HomeStream.family()}
    assert families_on(configuration(), "other") == {}


@pytest.mark.usefixtures("client")
def test_two_classes_of_one_name_are_refused() -> None:
    register_stream(HomeStream)
    another = type("HomeStream", (Stream,), {"redis": "main", "pattern": "h*", "max_length": 1})
    another.__qualname__ = "elsewhere.HomeStream"
    with pytest.raises(ConfigurationError, match='Two stream classes are named "home"'):
        register_stream(another)


def test_a_faulty_class_is_refused_when_it_is_registered() -> None:
    with pytest.raises(ConfigurationError, match="max_length: Input should be greater than 0"):
        register_stream(
            type("EmptyStream", (Stream,), {"redis": "main", "pattern": "*", "max_length": 0})
        )


def configured(**families: Any) -> Configuration:
    return Configuration(redis={"main": RedisTarget(url="redis://h")}, streams=families)


def test_a_class_beside_a_family_of_its_name_or_its_keys_is_refused() -> None:
    register_stream(HomeStream)
    rule = {"redis": "main", "max_length": 5}
    with pytest.raises(ConfigurationError, match=r"streams\.home is configured, and"):
        all_families(configured(home=StreamFamily(pattern="x", **rule)))
    with pytest.raises(ConfigurationError, match=r"streams\.all and streams\.home overlap"):
        all_families(configured(all=StreamFamily(pattern="*", **rule)))
    with pytest.raises(UnknownName, match="Redis target of"):
        all_families(Configuration())


def test_such_a_class_is_told_at_start(settings: Any) -> None:
    register_stream(HomeStream)
    settings.MAINTENANCE = {}
    with pytest.raises(SystemCheckError, match=r"maintenance\.E006"):
        call_command("check")


def trim_provided(url: str) -> Report:
    family = StreamFamily(redis="main", provider="homes", max_length=10)
    return trim_streams(Job("main", RedisTarget(url=url), TrimOptions()), {"home": family})


def test_a_provider_names_the_keys_of_a_family(client: redis.Redis, redis_url: str) -> None:
    @key_provider("homes")
    def homes() -> Iterator[str | bytes]:
        yield from ("1-home", b"2-home", "1-home")

    report = trim_provided(redis_url)
    assert (client.zcard("1-home"), client.zcard("2-home"), client.zcard("1-local")) == (10, 10, 15)
    assert "+scan" not in report.facts["needs_acl"]


def test_a_provider_that_breaks_or_yields_no_key_is_named(
    client: redis.Redis, redis_url: str
) -> None:
    with pytest.raises(UnknownName, match='Unknown key provider "homes"'):
        trim_provided(redis_url)

    @key_provider("homes")
    def broken() -> Iterator[Any]:
        yield "1-home"
        raise KeyError("users")

    with pytest.raises(ConfigurationError, match=r'The key provider "homes" .* raised KeyError'):
        trim_provided(redis_url)
    unregister("homes")
    key_provider("homes")(lambda: [7])
    with pytest.raises(ConfigurationError, match="yielded 7, which is neither text nor bytes"):
        trim_provided(redis_url)
    assert client.zcard("2-home") == 15


def test_two_providers_of_one_name_are_refused() -> None:
    key_provider("homes")(list)
    with pytest.raises(ConfigurationError, match='Two key providers are named "homes"'):
        key_provider("homes")(HomeStream().keys)


# --- Keys that two families claim ----------------------------------------------------------------


def site_with(url: str, families: Mapping[str, Any], **servers: str) -> dict[str, Any]:
    targets = {name: {"url": address} for name, address in {"main": url, **servers}.items()}
    return {"redis": targets, "streams": families}


def trim_by_task(target_name: str = "main", **options: Any) -> Report:
    target = configuration().redis[target_name]
    return task_named("trim_streams").function(Job(target_name, target, TrimOptions(**options)))


def claimed(report: Report) -> dict[str, str]:
    (found,) = [f for f in report.findings if f.code == "stream-keys-claimed"]
    assert found.severity is Severity.WARNING
    assert found.evidence["keys"] == len(found.evidence["examples"])
    assert all(key in found.sentence for key in found.evidence["examples"])
    return found.evidence["examples"]


NAMED = {"provider": "homes", "max_length": 5}
HOME = {"pattern": "*-home", "max_length": 10}


@pytest.fixture
def named_keys() -> None:
    key_provider("homes")(lambda: ["1-home", "1-local", "nobody-home"])


@pytest.mark.usefixtures("named_keys")
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_key_that_a_provider_names_and_another_pattern_matches_has_the_limit_of_the_pattern(
    client: redis.Redis, redis_url: str, settings: Any, dry_run: bool
) -> None:
    families = {"named": {"redis": "main", **NAMED}, "home": {"redis": "main", **HOME}}
    settings.MAINTENANCE = site_with(redis_url, families)
    report = trim_by_task(dry_run=dry_run)
    assert claimed(report) == {"1-home": "home"}
    left = (15, 15, 15) if dry_run else (10, 10, 5)
    assert (client.zcard("1-home"), client.zcard("2-home"), client.zcard("1-local")) == left


@pytest.mark.usefixtures("named_keys")
@pytest.mark.parametrize("alone", [False, True])
def test_the_other_family_may_be_of_a_target_with_another_name_and_address(
    client: redis.Redis, redis_url: str, settings: Any, alone: bool
) -> None:
    families = {"named": {"redis": "main", **NAMED}, "home": {"redis": "again", **HOME}}
    again = redis_url.replace("127.0.0.1", "localhost")
    settings.MAINTENANCE = site_with(redis_url, families, again=again)
    report = trim_by_task(families=("named",) if alone else ())
    assert claimed(report) == {"1-home": "home"}
    assert (client.zcard("1-home"), client.zcard("1-local")) == (15, 5)
    trim_by_task("again")
    assert (client.zcard("1-home"), client.zcard("1-local")) == (10, 5)


@pytest.mark.usefixtures("named_keys")
def test_families_of_another_database_or_type_claim_nothing(
    client: redis.Redis, redis_url: str, settings: Any
) -> None:
    families = {
        "named": {"redis": "main", **NAMED},
        "home": {"redis": "other", **HOME},
        "lists": {"redis": "main", **HOME, "type": "list"},
    }
    other = f"{redis_url.rpartition('/')[0]}/7"
    settings.MAINTENANCE = site_with(redis_url, families, other=other)
    assert "stream-keys-claimed" not in {f.code for f in trim_by_task().findings}
    assert (client.zcard("1-home"), client.zcard("1-local")) == (5, 5)


@pytest.mark.usefixtures("named_keys")
def test_a_key_that_two_providers_name_is_left_alone_by_both(
    client: redis.Redis, redis_url: str, settings: Any
) -> None:
    key_provider("list")(lambda: ["2-home", b"1-home"])
    second = {"redis": "main", "provider": "list", "max_length": 10}
    families = {"named": {"redis": "main", **NAMED}, "second": second}
    settings.MAINTENANCE = site_with(redis_url, families)
    found = [f for f in trim_by_task().findings if f.code == "stream-keys-claimed"]
    assert [(f.subject, f.evidence["examples"]) for f in found] == [
        ("named", {"1-home": "second"}),
        ("second", {"1-home": "named"}),
    ]
    assert (client.zcard("1-home"), client.zcard("2-home"), client.zcard("1-local")) == (15, 10, 5)


def test_a_class_is_asked_for_its_own_streams_only(
    client: redis.Redis, redis_url: str, settings: Any
) -> None:
    local = {"redis": "main", "pattern": "*-local", "max_length": 12}
    settings.MAINTENANCE = site_with(redis_url, {"local": local})
    assert claimed(HomeStream().trim("1-home", "1-local")) == {"1-local": "local"}
    assert (client.zcard("1-home"), client.zcard("1-local")) == (10, 15)


def test_a_class_that_overlaps_a_family_is_refused_when_it_trims(
    client: redis.Redis, redis_url: str, settings: Any
) -> None:
    first = {"redis": "main", "pattern": "1-*", "max_length": 12}
    settings.MAINTENANCE = site_with(redis_url, {"first": first})
    with pytest.raises(ConfigurationError, match=r"streams\.first and streams\.home overlap"):
        HomeStream().trim()
    assert client.zcard("1-home") == 15
