"""What is wrong between targets: each fault told, at once with the others, and none that only follows."""

from typing import Any

import pytest

from maintenance.conf import parse_configuration, sound_part
from maintenance.core.errors import ConfigurationError

SERVER = {"url": "redis://h:6379/0"}
FAMILY = {"pattern": "*-home", "max_length": 9}


def faults_of(mapping: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        parse_configuration(mapping)
    return str(raised.value).splitlines()


def test_every_name_that_is_not_there_is_told_at_once() -> None:
    faults = faults_of(
        {
            "redis": {"main": SERVER},
            "streams": {
                "a": {**FAMILY, "redis": "x"},
                "b": {**FAMILY, "redis": "main", "pattern": "*-b", "owners": "people"},
            },
            "stream_owners": {"users": {"answers": "kept", "database": "site", "sql": "SELECT 1"}},
            "load_test": {"site": {"url": "http://h", "log": "z"}},
        }
    )

    assert [fault.split(",")[0] for fault in faults] == [
        'configuration: streams.a.redis names "x"',
        'configuration: streams.b.owners names "people"',
        'configuration: stream_owners.users.database names "site"',
        'configuration: load_test.site.log names "z"',
    ]


def test_a_fault_of_a_setting_hides_none_between_targets() -> None:
    faults = faults_of(
        {
            "redis": {"main": SERVER},
            "databases": {"site": {"alias": "default", "tempo": 3}},
            "streams": {"a": {**FAMILY, "redis": "x"}},
        }
    )

    assert faults[0].startswith("databases.site.tempo: unknown setting.")
    assert 'streams.a.redis names "x"' in faults[1]
    assert len(faults) == 2


def test_what_names_a_target_with_a_fault_has_none_itself() -> None:
    mapping = {
        "redis": {"main": {**SERVER, "rolle": "cache"}},
        "streams": {"a": {**FAMILY, "redis": "main"}},
    }

    (fault,) = faults_of(mapping)
    sound, _ = sound_part(mapping)

    assert fault.startswith("redis.main.rolle: unknown setting.")
    assert (sound.redis, sound.streams) == ({}, {})


def test_a_fault_between_targets_leaves_the_others_as_they_are() -> None:
    sound, faults = sound_part(
        {
            "redis": {"main": SERVER},
            "streams": {"a": {**FAMILY, "redis": "x"}, "b": {**FAMILY, "redis": "main"}},
        }
    )

    assert len(faults) == 1
    assert list(sound.streams) == ["b"]


@pytest.mark.parametrize(
    ("prefix", "cache"),
    [
        (":1:", {"key_prefix": ""}),
        ("site:", {"key_prefix": "site"}),
        ("site:2:", {"key_prefix": "site", "version": 2}),
    ],
)
def test_keys_of_a_cache_in_use_are_not_called_abandoned(
    prefix: str, cache: dict[str, Any]
) -> None:
    mapping = {
        "redis": {"main": {**SERVER, "reclaim": {"abandoned_prefixes": [prefix]}}},
        "caches": {"site": {"url": "redis://h", **cache}},
    }

    (fault,) = faults_of(mapping)

    assert f'abandoned_prefixes has "{prefix}", and keys of caches.site begin with' in fault


@pytest.mark.parametrize(
    "cache",
    [
        {"url": "redis://h", "key_prefix": "django_cache"},  # what the release of today has
        {"url": "redis://h/1", "key_prefix": ""},  # another database
        {"url": "redis://other", "key_prefix": ""},
        {"url": "redis://h", "key_prefix": "", "version": 2},
    ],
)
def test_other_keys_may_be_called_abandoned(cache: dict[str, Any]) -> None:
    mapping = {
        "redis": {"main": {**SERVER, "reclaim": {"abandoned_prefixes": [":1:"]}}},
        "caches": {"site": cache},
    }

    assert parse_configuration(mapping).redis["main"].reclaim.abandoned_prefixes == (":1:",)


@pytest.mark.parametrize("given", [None, [], "text"])
def test_what_is_no_table_is_a_fault_for_whoever_tells_all(given: Any) -> None:
    sound, faults = sound_part(given)

    assert faults == ["configuration: must be a table of settings."]
    assert sound.databases == {}
