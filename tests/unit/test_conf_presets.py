"""Presets: their schema, what of them holds, and who said what."""

import tomllib
from importlib.resources import files
from typing import Any

import pytest

from maintenance.conf import parse_configuration, sound_part
from maintenance.conf.presets import preset_named, preset_names, read_preset, values_with_origins
from maintenance.core.errors import ConfigurationError

BOOKWYRM = {
    "POSTGRES_USER": "bookwyrm",
    "POSTGRES_PASSWORD": "p@ss:/w%rd",
    "POSTGRES_DB": "bookwyrm",
    "REDIS_ACTIVITY_PASSWORD": "a#b",
    "REDIS_BROKER_PASSWORD": "broker",
}


@pytest.fixture
def of_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in BOOKWYRM.items():
        monkeypatch.setenv(name, value)


def of(given: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {v.path: (v.value, v.origin) for v in values_with_origins(given, {})}


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_one_and_is_accepted_as_it_is(name: str) -> None:
    preset = preset_named(name)
    parsed = parse_configuration({"preset": name})
    assert set(preset.fits.redis) == set(parsed.redis)
    assert parsed.databases["site"].allow == ()
    assert not any(target.allow for target in (*parsed.redis.values(), *parsed.caches.values()))


def test_the_variables_of_a_site_are_all_that_a_preset_needs(of_the_site: None) -> None:
    parsed = parse_configuration({"preset": "bookwyrm"})
    assert parsed.databases["site"].connection_parameters()["dsn"] == (
        "postgres://bookwyrm:p%40ss%3A%2Fw%25rd@db:5432/bookwyrm"
    )
    assert parsed.redis["activity"].resolved_url() == "redis://:a%23b@redis_activity:6379/0"
    assert parsed.brokers["site"].resolved_url() == "redis://:broker@redis_broker:6379/0"
    assert len(parsed.brokers["site"].queues) == 14
    assert parsed.roles_on("activity") == ("cache", "streams")


def test_an_archive_that_sets_no_variable_at_all_has_the_addresses_of_its_compose_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its compose file names a host alone: user, name and password are the defaults of its settings."""
    for name in (
        "DBUSER",
        "DBPASS",
        "DBHOST",
        "DBPORT",
        "DBNAME",
        "DBSSLMODE",
        "REDIS",
        "REDIS_PREFIX",
    ):
        monkeypatch.delenv(f"PAPERLESS_{name}", raising=False)
    parsed = parse_configuration({"preset": "paperless-ngx"})
    assert parsed.databases["site"].connection_parameters()["dsn"] == (
        "postgres://paperless:paperless@db:5432/paperless"
        "?sslmode=prefer&sslrootcert=&sslcert=&sslkey="
    )
    assert parsed.brokers["site"].resolved_url() == "redis://broker:6379"
    assert parsed.roles_on("site") == ("broker", "cache")


def test_a_limit_that_the_site_has_set_is_ours_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_STREAM_LENGTH", "500")
    parsed = parse_configuration({"preset": "bookwyrm"})
    assert (parsed.streams["home"].max_length, parsed.streams["suggestions"].max_length) == (
        500,
        30,
    )


def test_the_operator_wins_key_by_key_and_the_rest_of_the_preset_stays() -> None:
    given = {
        "preset": "bookwyrm",
        "databases": {"site": {"alias": "default", "jobs": 4}},
        "streams": {"home": {"max_length": 150}},
        "caches": {"site": False},
    }
    parsed = parse_configuration(given)
    assert (parsed.databases["site"].alias, parsed.databases["site"].url) == ("default", None)
    assert len(parsed.databases["site"].windows) == 1
    assert parsed.streams["home"].max_length == 150
    assert parsed.streams["home"].companions == ("{key}-unread", "{key}-unread-by-type")
    assert parsed.caches == {}

    origins = of(given)
    assert origins["streams.home.max_length"] == ("150", "you")
    assert origins["streams.home.pattern"] == ('"*-home"', "preset bookwyrm")
    assert origins["caches.site"] == ("false", "you")
    assert "databases.site.url" not in origins
    replaced = {v.path: v.replaces for v in values_with_origins(given, {}) if v.replaces}
    assert replaced == {"streams.home.max_length": '"${MAX_STREAM_LENGTH:-200}"'}


def test_an_unknown_preset_is_one_fault_among_all_others() -> None:
    given = {"preset": "bookwrym", "databasess": {}, "timezone": "Europe/Berln"}
    with pytest.raises(ConfigurationError) as refusal:
        parse_configuration(given)
    assert str(refusal.value).splitlines() == [
        'preset: there is no preset "bookwrym". Did you mean "bookwyrm"?',
        'timezone: "Europe/Berln" is no time zone. Did you mean "Europe/Berlin"?',
        'databasess: unknown setting. Did you mean "databases"?',
    ]


def test_an_unknown_key_of_a_preset_is_answered_with_the_nearest() -> None:
    text = files("maintenance.presets").joinpath("bookwyrm.toml").read_text()
    given = tomllib.loads(text)
    given["fits"]["tabels"] = given["fits"].pop("tables")
    given["titel"] = "x"
    with pytest.raises(ConfigurationError) as refusal:
        read_preset(given)
    faults = str(refusal.value).splitlines()
    assert 'fits.tabels: unknown setting. Did you mean "tables"?' in faults
    assert 'titel: unknown setting. Did you mean "title"?' in faults


def test_what_is_sound_stays_in_force_beside_what_is_not() -> None:
    parsed, faults = sound_part(
        {
            "databases": {"good": {"alias": "default"}, "bad": {"urll": "x"}},
            "redis": {"main": {"url": "redis://h"}},
            "streams": {"home": {"redis": "mian", "pattern": "*", "max_length": 3}},
            "timezone": "Mars",
        }
    )
    assert (list(parsed.databases), list(parsed.redis), parsed.streams) == (["good"], ["main"], {})
    assert 'databases.bad.urll: unknown setting. Did you mean "url"?' in faults
    assert any("which is no Redis target" in fault for fault in faults)
    assert any(fault.startswith('timezone: "Mars" is no time zone.') for fault in faults)


def test_no_password_is_printed_with_a_value() -> None:
    given = {
        "preset": "bookwyrm",
        "databases": {"site": {"url": "postgres://me:geheim@h/d"}},
        "redis": {"activity": {"url": "redis://:${REDIS_PASSWORD:-geheim}@h:6379/0"}},
        "hosts": {"local": {"paths": ["/srv/x"]}},
    }
    text = "\n".join(f"{v.value} {v.replaces}" for v in values_with_origins(given, {}))
    assert "geheim" not in text
    assert '"postgres://me:***@h/d"' in text
    assert '"redis://:${REDIS_PASSWORD:-***}@h:6379/0"' in text


def test_headers_and_addresses_of_pings_are_printed_as_references_alone() -> None:
    given = {
        "load_test": {
            "site": {"headers": {"Authorization": "Basic dXNlcg==", "X-Login": "env:LOGIN"}}
        },
        "pings": {
            "all": {"url": "https://me:word@hc.example/secret-id?x=1"},
            "own": {"url": "${PING}"},
        },
    }

    printed = {one.path: one.value for one in values_with_origins(given, {})}

    assert printed == {
        "load_test.site.headers.Authorization": '"***"',
        "load_test.site.headers.X-Login": '"env:LOGIN"',
        "pings.all.url": '"https://hc.example/***"',
        "pings.own.url": '"${PING}"',
    }
