"""The configuration, checked as a whole."""

from datetime import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.connection import parse_url

from maintenance.conf import (
    Configuration,
    DatabaseTarget,
    RedisTarget,
    Thresholds,
    parse_configuration,
    resolve_secret,
)
from maintenance.conf.addresses import database_number
from maintenance.core.errors import ConfigurationError, UnknownName
from maintenance.core.windows import Window


def faults_of(given_mapping: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as refusal:
        parse_configuration(given_mapping)
    return str(refusal.value).splitlines()


def test_nothing_has_to_be_configured() -> None:
    empty = parse_configuration({})

    assert empty.thresholds == Thresholds()
    assert list(empty.hosts) == ["local"]


def test_every_fault_is_told_at_once_each_on_its_line() -> None:
    faults = faults_of(
        {
            "databases": {"site": {"urll": "postgres://h/d"}},
            "redis": {"main": {"url": "redis://h", "rol": "cache"}},
            "thresholds": {"disk_warning_ratio": 80},
            "timezone": "Europe/Berln",
            "brokerz": {},
        }
    )

    assert len(faults) == 5
    assert 'databases.site.urll: unknown setting. Did you mean "url"?' in faults
    assert 'redis.main.rol: unknown setting. Did you mean "role"?' in faults
    assert 'brokerz: unknown setting. Did you mean "brokers"?' in faults
    assert 'timezone: "Europe/Berln" is no time zone. Did you mean "Europe/Berlin"?' in faults
    assert any(fault.startswith("thresholds.disk_warning_ratio: ") for fault in faults)


def test_faults_are_told_in_words_of_the_file_and_not_of_python() -> None:
    given = {
        "databases": 5,
        "redis": {"main": "redis://h"},
        "hosts": {"local": {"paths": "/"}},
        "caches": {"site": {"url": 7}},
        "streams": {"home": {"redis": "main", "pattern": "*"}},
    }
    assert faults_of(given) == [
        "databases: must be a table of settings.",
        "redis.main: must be a table of settings.",
        "streams.home.max_length: is missing.",
        "caches.site.url: must be text in quotes.",
        "hosts.local.paths: must be a list of values.",
    ]


def test_a_fault_inside_a_rule_of_a_cache_is_found_by_its_path() -> None:
    caches = {"main": {"url": "redis://h", "invalidate": {"old": {"paterns": ["a*"]}}}}

    assert 'caches.main.invalidate.old.paterns: unknown setting. Did you mean "patterns"?' in (
        faults_of({"caches": caches})
    )


@given(st.text(min_size=8).filter(lambda t: "://" not in t and t[:4] not in {"env:", "file"}))
def test_a_rejected_url_is_never_repeated_because_it_may_hold_a_password(secret: str) -> None:
    planted = f"hunter2-{secret}"

    faults = faults_of({"redis": {"main": {"url": planted}}})

    assert len(faults) == 1
    assert "hunter2" not in faults[0]
    assert faults[0].startswith("redis.main.url: must be a URL")


def test_a_target_has_exactly_one_source() -> None:
    both = {"alias": "default", "url": "postgres://h/d"}

    for target in (both, {}):
        (fault,) = faults_of({"databases": {"site": target}})
        assert 'give either "alias" (a Django connection) or "url"' in fault


def test_a_stream_family_needs_its_server() -> None:
    (fault,) = faults_of(
        {
            "redis": {"streams": {"url": "redis://h"}},
            "streams": {"home": {"redis": "stream", "pattern": "*", "max_length": 1}},
        }
    )

    assert 'streams.home.redis names "stream", which is no Redis target' in fault
    assert fault.endswith('Did you mean "streams"?')


@pytest.mark.parametrize("pattern", ["*", "**", "?*", "[^_]*", "*[!-~]*"])
def test_a_pattern_that_would_flush_the_cache_is_refused(pattern: str) -> None:
    rule = {"patterns": [pattern]}

    (fault,) = faults_of({"caches": {"c": {"url": "redis://h", "invalidate": {"all": rule}}}})

    assert fault.endswith("a pattern that matches nearly every key is a flush, which is refused.")


def test_the_end_that_stays_has_a_default_for_each_type() -> None:
    redis = {"main": {"url": "redis://h"}}
    families = {
        kind: {"redis": "main", "pattern": "*", "type": kind, "max_length": 1}
        for kind in ("zset", "list", "stream")
    }

    configured = parse_configuration({"redis": redis, "streams": families})

    ends = {name: family.kept_end for name, family in configured.families_on("main").items()}
    assert ends == {"zset": "highest", "list": "head", "stream": "newest"}
    assert configured.families_on("other") == {}


def test_what_is_no_mapping_is_a_fault_and_no_crash() -> None:
    assert faults_of([1, 2])
    assert faults_of({"databases": ["site"]})


def test_a_database_is_found_by_name_or_a_suggestion_is() -> None:
    configured = parse_configuration({"databases": {"library": {"alias": "default"}}})

    assert configured.database("library") == DatabaseTarget(alias="default")
    with pytest.raises(UnknownName, match=r'Unknown database "libary"\. Did you mean "library"'):
        configured.database("libary")


def test_values_do_not_change_after_start() -> None:
    configured = Configuration()

    with pytest.raises(ValueError, match="frozen"):
        configured.timezone = "Europe/Berlin"


# --- Secrets ---


def test_a_secret_is_read_from_the_environment_when_it_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = RedisTarget(url="env:CREW_TEST_URL")

    with pytest.raises(ConfigurationError, match="CREW_TEST_URL is not set"):
        target.resolved_url()
    monkeypatch.setenv("CREW_TEST_URL", "redis://:hunter2@h/0")
    assert target.resolved_url() == "redis://:hunter2@h/0"
    assert "hunter2" not in repr(target)


def test_a_secret_is_read_from_a_file_without_its_line_end(tmp_path: Path) -> None:
    file = tmp_path / "secret"

    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        resolve_secret(f"file:{file}")
    file.write_text("postgres://u:hunter2@h/d\n")
    assert resolve_secret(f"file:{file}") == "postgres://u:hunter2@h/d"


def test_a_plain_url_is_itself() -> None:
    assert resolve_secret("redis://h/0") == "redis://h/0"


def test_parameters_of_a_url_target_are_a_dsn_and_the_direct_one_wins() -> None:
    target = DatabaseTarget(url="postgres://pool/d", direct_url="postgres://direct/d")

    assert target.connection_parameters() == {"dsn": "postgres://direct/d"}


def test_a_replica_is_a_target_of_its_own_with_the_limits_of_the_primary() -> None:
    target = DatabaseTarget(
        alias="default",
        direct_url="postgres://direct/d",
        replicas=("postgres://replica/d", "env:OTHER"),
        statement_timeout_seconds=7,
    )
    first, second = target.replica_targets()
    assert first.connection_parameters() == {"dsn": "postgres://replica/d"}
    assert (first.statement_timeout_seconds, first.replicas) == (7, ())
    assert second.url == "env:OTHER"


def test_a_replica_without_a_scheme_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"databases\.site\.replicas\.0: must be a URL"):
        parse_configuration({"databases": {"site": {"url": "env:A", "replicas": ["db2"]}}})


# --- Windows and what a target allows ---


def windows_faults(**given_window: Any) -> list[str]:
    window = {"start": "01:00", "end": "05:00", **given_window}
    return faults_of({"databases": {"site": {"alias": "default", "windows": [window]}}})


@pytest.mark.parametrize(
    ("given_window", "fault"),
    [
        (
            {"days": ["sonday"]},
            'windows.0.days.0: "sonday" is no day of the week. Did you mean "sunday"?',
        ),
        (
            {"days": ["Mon"]},
            'windows.0.days.0: "Mon" is no day of the week. Did you mean "monday"?',
        ),
        (
            {"days": []},
            'windows.0: give at least one of "days", or leave them out for every day.',
        ),
        ({"start": "1 am"}, 'windows.0.start: must be a time of day from "00:00" to "23:59".'),
        ({"end": "24:00"}, 'windows.0.end: must be a time of day from "00:00" to "23:59".'),
        ({"end": "05:00+02:00"}, 'windows.0.end: must be a time of day from "00:00" to "23:59".'),
        ({"end": 5}, 'windows.0.end: must be a time of day from "00:00" to "23:59".'),
        (
            {"timezone": "Europe/Berln"},
            'windows.0.timezone: "Europe/Berln" is no time zone. Did you mean "Europe/Berlin"?',
        ),
        ({"strat": "02:00"}, 'windows.0.strat: unknown setting. Did you mean "start"?'),
    ],
)
def test_a_window_that_cannot_be_read_says_what_is_wrong(
    given_window: dict[str, Any], fault: str
) -> None:
    assert windows_faults(**given_window) == [f"databases.site.{fault}"]


def test_windows_are_read_in_the_zone_of_the_configuration_unless_they_name_one() -> None:
    night = {"start": time(1, 0), "end": "05:00", "days": ["sunday", "monday"]}
    abroad = {"start": "22:00", "end": "02:00", "timezone": "America/New_York"}
    redis = {"url": "redis://h", "windows": [night, abroad]}

    configured = parse_configuration({"timezone": "Europe/Berlin", "redis": {"main": redis}})

    assert configured.windows_of(configured.redis["main"]) == (
        Window(time(1), time(5), "Europe/Berlin", frozenset({0, 6})),
        Window(time(22), time(2), "America/New_York"),
    )
    assert configured.windows_of(configured.hosts["local"]) == ()


HOME = {"redis": "main", "pattern": "*-home", "max_length": 200}


def stream_faults(**families: Any) -> list[str]:
    redis = {
        "main": {"url": "redis://h/0"},
        "again": {"url": "redis://h/0"},
        "other": {"url": "redis://o"},
    }
    return faults_of({"redis": redis, "streams": families})


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"max_length": 0}, "max_length: Input should be greater than 0"),
        ({"max_length": -1}, "max_length: Input should be greater than 0"),
        ({"max_age_seconds": 0}, "max_age_seconds: Input should be greater than 0"),
        ({"pattern": ""}, 'give either "pattern" or "provider"'),
        ({"provider": "homes"}, 'give either "pattern" or "provider"'),
        ({"type": "list", "max_age_seconds": 60}, "a list has no times"),
        ({"type": "stream", "score_unit": "milliseconds"}, '"score_unit" is for sorted sets'),
        ({"companions": ["{key}"]}, 'the companion "{key}" must hold {key} once and more'),
        ({"companions": ["unread"]}, 'the companion "unread" must hold {key} once'),
    ],
)
def test_a_family_that_cannot_be_meant_is_refused(rule: dict[str, Any], says: str) -> None:
    (fault,) = stream_faults(home=HOME | rule)
    assert fault.startswith("streams.home")
    assert says in fault


@pytest.mark.parametrize("redis", ["main", "again"])
def test_families_that_can_have_a_key_in_common_are_refused_with_that_key(redis: str) -> None:
    (fault,) = stream_faults(home=HOME, first=HOME | {"pattern": "1-*", "redis": redis})
    assert fault == (
        'configuration: streams.home and streams.first overlap: "1-home" matches both "*-home" and'
        ' "1-*", and one key can have one limit only. Narrow one of the patterns.'
    )


@pytest.mark.parametrize("change", [{"type": "list"}, {"redis": "other"}, {"pattern": "*-local"}])
def test_families_of_other_types_servers_and_keys_do_not_overlap(change: dict[str, Any]) -> None:
    redis = {"main": {"url": "redis://h/0"}, "other": {"url": "redis://o"}}
    families = {"home": HOME, "second": HOME | change}
    assert len(parse_configuration({"redis": redis, "streams": families}).streams) == 2


SENTINELS = {"sentinels": ["redis://s1:26379", "redis://s2:26379"], "sentinel_name": "site"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"url": "redis://h"}, {"url": "redis://h/0"}),
        ({"url": "redis://h?db=2"}, {"url": "redis://H:6379/2"}),
        ({"url": "redis://localhost/1"}, {"url": "redis://127.0.0.1:6379/1"}),
        ({"url": "redis://:first@h"}, {"url": "redis://bob:second@h"}),
        ({"url": "env:STREAMS"}, {"url": "redis://h"}),
        ({"url": "unix:///run/r.sock"}, {"url": "unix://bob@/run/r.sock?db=0"}),
        ({"url": "redis://h"} | SENTINELS, {"url": "redis://h/0"}),
        (
            {"url": "redis://asked.by.sentinel"} | SENTINELS,
            {"url": "redis://h"} | SENTINELS | {"sentinels": ["redis://s2:26379"]},
        ),
    ],
)
def test_one_server_under_two_addresses_is_known_as_one(
    one: dict[str, Any], other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMS", "redis://user:p%40ss@h/0")
    families = {"home": HOME, "first": HOME | {"pattern": "1-*", "redis": "other"}}
    (fault,) = faults_of({"redis": {"main": one, "other": other}, "streams": families})
    assert "streams.home and streams.first overlap" in fault


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"url": "redis://h/0"}, {"url": "redis://h/1"}),
        ({"url": "redis://h:6379"}, {"url": "redis://h:6380"}),
        ({"url": "unix:///run/r.sock?db=1"}, {"url": "unix:///run/r.sock"}),
        (
            {"url": "redis://h"} | SENTINELS,
            {"url": "redis://h"} | SENTINELS | {"sentinel_name": "o"},
        ),
        ({"url": "env:MISSING"}, {"url": "redis://h"}),
    ],
)
def test_other_databases_and_servers_share_no_keys(
    one: dict[str, Any], other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MISSING", raising=False)
    families = {"home": HOME, "first": HOME | {"pattern": "1-*", "redis": "other"}}
    configured = parse_configuration({"redis": {"main": one, "other": other}, "streams": families})
    assert len(configured.streams) == 2


def test_sentinels_and_the_name_of_their_primary_belong_together() -> None:
    (fault,) = faults_of({"redis": {"main": {"url": "redis://h", "sentinel_name": "site"}}})
    assert '"sentinels" and "sentinel_name" belong together' in fault


def test_a_redis_server_has_the_roles_of_all_that_lies_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QUEUES", "redis://user:p%40ss@localhost/3")
    monkeypatch.delenv("MISSING", raising=False)
    site = parse_configuration(
        {
            "redis": {
                "cache": {"url": "redis://127.0.0.1:6379/0"},
                "streams": {"url": "redis://127.0.0.1:6380", "role": "streams"},
                "socket": {"url": "unix:///run/redis.sock", "role": "ledger"},
                "unknown": {"url": "env:MISSING", "role": "sessions"},
            },
            "brokers": {"site": {"url": "env:QUEUES", "queues": ["high"]}},
            "caches": {"site": {"url": "redis://127.0.0.1:6380/9"}},
        }
    )
    assert site.roles_on("cache") == ("broker", "cache")
    assert site.roles_on("streams") == ("cache", "streams")
    assert site.roles_on("socket") == ("ledger",)
    assert site.roles_on("unknown") == ("sessions",)


@pytest.mark.parametrize("prefix", ["", ":", "*", ":*"])
def test_a_prefix_that_would_mean_any_key_is_refused(prefix: str) -> None:
    for rules in ({"abandoned_prefixes": [prefix]}, {"time_outs": {prefix: 60}}):
        (fault,) = faults_of({"redis": {"main": {"url": "redis://h", "reclaim": rules}}})
        assert fault.startswith("redis.main.reclaim")
        assert "says too little" in fault


def test_prefixes_that_say_something_are_taken_literally() -> None:
    rules = {"abandoned_prefixes": [":1:", "old[*"], "time_outs": {"page:": 60}}
    site = parse_configuration({"redis": {"main": {"url": "redis://h", "reclaim": rules}}})
    assert site.redis["main"].reclaim.abandoned_prefixes == (":1:", "old[*")


def test_a_ping_goes_over_http_and_fits_schedules_by_their_names() -> None:
    check = {"url": "https://hc-ping.com/uuid", "schedules": ["daily *", "weekly trim_*"]}
    target = parse_configuration({"pings": {"all": check}}).pings["all"]
    assert target.fits("daily warm_caches on default")
    assert target.fits("weekly trim_reports")
    assert not target.fits("monthly trim_reports")
    for url in ("ftp://hc-ping.com/uuid", "file.txt"):
        (fault,) = faults_of({"pings": {"all": {"url": url}}})
        assert fault.startswith("pings.all.url: must be a URL")


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h:6379/",
        "redis://:p%2F1@h:6379/3",
        "rediss://u:p@h/12?ssl_cert_reqs=none",
        "redis://h/3?db=7",
        "unix:///run/redis.sock",
        "unix://u:p@/run/redis.sock?db=2",
    ],
)
def test_the_database_of_a_url_is_the_one_that_its_client_chooses(url: str) -> None:
    assert database_number(url) == parse_url(url).get("db", 0)


@pytest.mark.parametrize("url", ["env:NOT_SET_ANYWHERE", "redis://h/one", "redis://[h/1"])
def test_of_a_url_that_cannot_be_read_nobody_chooses_a_database(url: str) -> None:
    assert database_number(url) == 0
