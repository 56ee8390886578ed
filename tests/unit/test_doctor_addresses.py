"""Addresses that cannot be read: a finding for each, whatever the mistake, and no piece of a password."""

from pathlib import Path
from typing import Any

import pytest

from maintenance.commands.crew.doctor import _other_references
from maintenance.conf import parse_configuration
from maintenance.conf.addresses import redis_url
from maintenance.core.errors import ConfigurationError
from maintenance.core.findings import Finding
from maintenance.doctor.examination import examinations, examined, unset_secrets
from maintenance.postgres.pgbouncer.console import look_at_console

NOBODY = "127.0.0.1:1"


def unreachable_of(section: str, target: dict[str, Any]) -> Finding:
    configuration = parse_configuration({section: {"site": target}})
    [(title, examination)] = examinations(configuration).items()
    [finding] = examined(title, examination).findings
    assert finding.code == "unreachable"
    return finding


@pytest.mark.parametrize(
    ("section", "url"),
    [
        ("databases", f"postgres://me:hun/ter2@{NOBODY}/site"),
        ("databases", f"postgres://me:100%hunter2@{NOBODY}/site"),
        ("databases", f"postgres://me:1/hunter2@{NOBODY}/site"),
        ("redis", f"redis://:hun/ter2@{NOBODY}/0"),
        ("redis", f"redis://:hun[ter2@{NOBODY}/0"),
        ("redis", f"rediss://:hun[ter2@{NOBODY}/0"),
        ("redis", "redis://[::1:6379/0"),
        ("caches", f"redis://:hun?ter2@{NOBODY}/0"),
        ("brokers", f"redis://:hun#ter2@{NOBODY}/0"),
        ("brokers", f"amqp://me:hun/ter2@{NOBODY}//"),
        ("brokers", "amqp://me:hunter2@[::1//"),
    ],
)
def test_an_address_that_cannot_be_read_is_a_finding_without_its_password(
    section: str, url: str
) -> None:
    more = {"queues": ["celery"]} if section == "brokers" else {}
    finding = unreachable_of(section, {"url": url, **more})
    said = " ".join([finding.sentence, finding.advice, *finding.commands])
    assert not [piece for piece in ("hun", "ter2") if piece in said], said


def test_a_sentinel_is_named_as_celery_writes_it() -> None:
    target = {"url": "redis://h", "sentinels": [f"sentinel://{NOBODY}"], "sentinel_name": "main"}
    assert "Connection refused" in unreachable_of("redis", target).sentence


def test_a_sentinel_whose_url_is_none_is_named_beside_the_others() -> None:
    sentinels = [f"redis://{NOBODY}", f"http://{NOBODY}"]
    target = {"url": "redis://h", "sentinels": sentinels, "sentinel_name": "main"}
    said = unreachable_of("redis", target).sentence
    assert "Connection refused" in said
    assert f"http://{NOBODY} is not the URL of a sentinel" in said


def test_a_secret_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_bytes(b"redis://\xff")
    assert f"{file} is no text in UTF-8" in (
        unreachable_of("redis", {"url": f"file:{file}"}).sentence
    )


def test_variables_of_nginx_and_quotes_of_sql_are_no_secrets_that_are_unset() -> None:
    configuration = parse_configuration(
        {
            "logs": {"site": {"path": "env:UNSET_PATH", "format": '$status "${request_time}"'}},
            "databases": {"site": {"alias": "default"}},
            "stream_owners": {
                "users": {"answers": "kept", "database": "site", "sql": "SELECT $a${1}$a$"}
            },
        }
    )
    [finding] = unset_secrets(_other_references(configuration))
    assert finding.subject == "UNSET_PATH"


@pytest.mark.parametrize(
    ("celerys", "ours"),
    [
        ("rediss://h/0?ssl_cert_reqs=CERT_NONE", "rediss://h/0?ssl_cert_reqs=none"),
        ("rediss://h?a=b&ssl_cert_reqs=CERT_REQUIRED", "rediss://h?a=b&ssl_cert_reqs=required"),
        ("rediss://h?ssl_cert_reqs=optional", "rediss://h?ssl_cert_reqs=optional"),
        ("redis+socket:///run/r.sock?virtual_host=2", "unix:///run/r.sock?db=2"),
        ("redis+socket:///run/r.sock", "unix:///run/r.sock"),
        ("amqps://h?ssl_cert_reqs=CERT_NONE", "amqps://h?ssl_cert_reqs=CERT_NONE"),
    ],
)
def test_a_url_that_a_site_wrote_for_celery_is_understood(celerys: str, ours: str) -> None:
    assert redis_url(celerys) == ours


@pytest.mark.parametrize(
    "url", [f"postgres://me:hun/ter2@{NOBODY}/pgbouncer", "postgres://me:1%hunter2@h/d"]
)
def test_an_address_of_pgbouncer_that_cannot_be_read_says_what_to_write(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        look_at_console(url, 1)
    said = str(raised.value)
    assert "The address of PgBouncer cannot be read." in said
    assert "hun" not in said
