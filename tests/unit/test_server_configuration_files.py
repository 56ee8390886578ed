"""postgresql.conf and redis.conf: the guide's machines and roles, and what is withheld."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import parse_configuration
from maintenance.core.configuration_file import ConfigurationFile, Line
from maintenance.core.errors import ConfigurationError
from maintenance.postgres.settings.configuration_file import (
    GUIDE_SETTINGS,
    guide_rows,
    postgresql_conf,
)
from maintenance.postgres.settings.defaults import default_settings
from maintenance.postgres.settings.model import Load, Machine, Server
from maintenance.redis.configuration import GUIDE_SETTINGS as REDIS_GUIDE
from maintenance.redis.configuration import RedisLook, RedisSituation, redis_conf
from maintenance.redis.configuration import guide_rows as redis_rows
from maintenance.redis_client.server import parse_facts

MB = 1024**2
GB = 1024**3


def written(file: ConfigurationFile) -> dict[str, str]:
    """Return the settings of postgresql.conf."""
    pairs = (line.text.split(" = ") for line in file.lines if line.text)
    return {name: value.strip("'") for name, value in pairs}


def new_server(machine: Machine, major: int = 17) -> Server:
    return Server(major, default_settings(major), machine, Load())


@pytest.mark.parametrize(
    ("memory_gb", "expected"),
    [
        (1, ("256MB", "768MB", None, None)),  # work_mem and maintenance_work_mem are the defaults
        (4, ("1GB", "3GB", "16MB", "256MB")),
        (5, ("1280MB", "3840MB", "20MB", "320MB")),
        (8, ("2GB", None, "32MB", "512MB")),  # half of it is PostgreSQL's own, and good enough
        (16, ("4GB", "12GB", "64MB", "1GB")),
    ],
)
def test_the_guides_small_medium_and_large_machines(memory_gb, expected):
    machine = Machine(memory_bytes=memory_gb * GB, cpu_count=4, storage="ssd")
    lines = written(postgresql_conf(new_server(machine), "Test."))
    names = ("shared_buffers", "effective_cache_size", "work_mem", "maintenance_work_mem")
    given_values = tuple(lines.get(name) for name in names)
    assert given_values == expected
    assert lines["random_page_cost"] == "1.1"
    assert lines["autovacuum_naptime"] == "10s"
    assert lines["pg_stat_statements.track"] == "all"


def test_every_setting_of_the_guide_is_spoken_of():
    server = new_server(Machine())
    text = postgresql_conf(server, "Test.").text
    for name in GUIDE_SETTINGS:
        assert name in text
    rows = {row["setting"]: row["verdict"] for row in guide_rows(server)}
    assert list(rows) == list(GUIDE_SETTINGS)
    assert rows["shared_buffers"] == "withheld: memory_bytes unknown"
    assert rows["random_page_cost"] == "withheld: storage unknown"
    assert rows["max_connections"] == "withheld: cpu_count unknown"
    assert rows["autovacuum_naptime"] == "change"
    assert rows["checkpoint_completion_target"] == "fits"
    assert "shared_buffers is withheld: it needs the memory" in text
    assert "\nshared_buffers =" not in text


def test_what_awaits_a_restart_is_not_called_good():
    server = new_server(Machine(memory_bytes=8 * GB, cpu_count=4, storage="ssd"))
    pending = replace(server.settings["shared_buffers"], is_pending=True)
    server = replace(server, settings={**server.settings, "shared_buffers": pending})
    text = postgresql_conf(server, "Test.").text
    assert "shared_buffers is withheld: it needs a restart" in text
    rows = {row["setting"]: row["verdict"] for row in guide_rows(server)}
    assert rows["shared_buffers"] == "awaits a restart"


def test_every_line_has_its_reason():
    machine = Machine(memory_bytes=4 * GB, cpu_count=2, storage="ssd")
    files = [
        postgresql_conf(new_server(machine, 18), "Test."),
        redis_conf(RedisSituation(("cache",), GB), "Test."),
        redis_conf(RedisSituation(("broker", "streams"), GB), "Test."),
    ]
    assert all(line.reason for file in files for line in file.lines)


@pytest.mark.parametrize(
    ("roles", "policy", "is_kept"),
    [
        (("cache",), "allkeys-lru", False),
        (("cache", "streams"), "volatile-lru", True),
        (("streams",), "noeviction", True),
        (("broker", "cache", "streams"), "noeviction", True),
        (("cache", "sessions"), "noeviction", True),
        (("ledger",), "noeviction", True),
    ],
)
def test_the_policy_follows_the_role_and_what_must_stay_is_kept(roles, policy, is_kept):
    lines = [line.text for line in redis_conf(RedisSituation(roles, GB), "Test.").lines]
    assert f"maxmemory-policy {policy}" in lines
    assert ("appendonly yes" in lines) is is_kept
    assert ("save 900 1" in lines) is is_kept
    assert ('save ""' in lines) is not is_kept


def test_no_limit_is_ever_advised():
    assert "\nmaxmemory 0" not in redis_conf(RedisSituation(("cache",), 1024), "Test.").text


def test_memory_is_withheld_where_it_is_unknown_or_already_used():
    unknown = redis_conf(RedisSituation(("cache",)), "Test.").text
    assert "maxmemory is withheld: it needs the memory" in unknown
    full = redis_conf(RedisSituation(("cache",), GB, used_bytes=700 * MB), "Test.").text
    assert "maxmemory is withheld: it needs more memory than there is: 700 MB are in use" in full
    assert "\nmaxmemory " not in full


@given(memory=st.integers(8 * MB, 4096 * GB), shared=st.booleans())
def test_maxmemory_leaves_room_for_a_save(memory, shared):
    limit = RedisSituation(("cache",), memory, shared=shared).maxmemory_bytes
    assert limit is not None
    assert limit <= memory * (0.25 if shared else 0.75)


def look(settings: dict[str, str], **info: Any) -> RedisLook:
    known = {
        "redis_version": "7.2.5", "role": "master", "uptime_in_seconds": 1, "used_memory": 1000,
        "maxmemory": 0, "maxmemory_policy": "noeviction", "evicted_keys": 0, "expired_keys": 0,
        "keyspace_hits": 0, "keyspace_misses": 0, "run_id": "x", **info,
    }  # fmt: skip
    return RedisLook(known, parse_facts(known), settings)


def test_each_redis_setting_of_the_guide_is_known_and_judged():
    cache = RedisSituation(("cache",), GB)
    rows = {row["setting"]: row for row in redis_rows(cache, look({"save": ""}))}
    assert list(rows) == list(REDIS_GUIDE)
    assert [rows[name]["verdict"] for name in REDIS_GUIDE] == [
        "change",
        "change",
        "fits: may be lost",
    ]
    kept = look(
        {"save": "900 1", "appendonly": "no"}, maxmemory=512 * MB, maxmemory_policy="noeviction"
    )
    streams = RedisSituation(("streams",), GB)
    assert [row["verdict"] for row in redis_rows(streams, kept)] == [
        "fits",
        "fits",
        "fits: must survive a restart",
    ]
    assert [row["verdict"] for row in redis_rows(streams, look({"save": ""}))][2] == "change"
    assert [row["verdict"] for row in redis_rows(streams, look({}))][2] == "hidden"


def test_long_reasons_are_comments_to_their_end():
    file = ConfigurationFile("x", "About. " * 40, (Line("a = 1", "why " * 60, depth=2),))
    body = [line for line in file.text.splitlines() if line.strip()]
    assert [line for line in body if not line.strip().startswith("#")] == ["        a = 1"]
    assert all(len(line) <= 100 for line in body)


@pytest.mark.parametrize(
    ("deployment", "fault"),
    [
        ({}, "give at least one of"),
        ({"nginx": "nginx.conf"}, '"nginx" must be an absolute path'),
        ({"database": "sote"}, 'names "sote", which is no database'),
        ({"redis": ["cash"]}, 'names "cash", which is no Redis target'),
        ({"nginx": "/x", "gunicon": "/y"}, "unknown setting"),
    ],
)
def test_a_wrong_deployment_is_refused(deployment, fault):
    given_configuration = {
        "databases": {"site": {"url": "postgres://x"}},
        "redis": {"cache": {"url": "redis://x"}},
        "deployments": {"main": deployment},
    }
    with pytest.raises(ConfigurationError, match=fault):
        parse_configuration(given_configuration)
