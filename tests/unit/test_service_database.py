"""The ledger's entry in DATABASES, as the service reads it from DATABASE_URL."""

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import psycopg2.extensions
import pytest

from maintenance.core.errors import ConfigurationError
from maintenance.core.scheduling.leadership import HANGING_SECONDS, LEASE_SECONDS
from service.database_url import ledger_entry
from service.runtime import write_runtime
from tests.up_process import manage

ROOT = Path(__file__).resolve().parents[2]
PRINTED = (
    "import json; from service.settings import DATABASES; print(json.dumps(DATABASES['default']))"
)


def entry_of(url: str, tmp_path: Path) -> dict[str, Any]:
    return entry_with(tmp_path, DATABASE_URL=url)


def entry_with(state: Path, **environment: str) -> dict[str, Any]:
    started = subprocess.run(
        [sys.executable, "-c", PRINTED],
        env={**os.environ, **environment, "MAINTENANCE_STATE": str(state)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    entry: dict[str, Any] = json.loads(started.stdout)
    return entry


def test_a_host_that_is_gone_is_noticed_within_the_lease_of_a_leader(tmp_path: Path) -> None:
    options = entry_of("postgres://crew@db.example/ledger", tmp_path)["OPTIONS"]

    looks = (
        options["keepalives_idle"] + options["keepalives_interval"] * options["keepalives_count"]
    )
    # Linux looks at it when the host is asked again: as long as all of that, it would be missed by a hair.
    assert options["tcp_user_timeout"] < looks * 1000
    assert looks < HANGING_SECONDS < LEASE_SECONDS
    assert options["connect_timeout"] < LEASE_SECONDS
    assert psycopg2.extensions.make_dsn(dbname="ledger", **options)  # libpq knows each of them


@pytest.mark.parametrize("name", ["tcp_user_timeout", "connect_timeout"])
def test_what_the_url_says_goes_first(tmp_path: Path, name: str) -> None:
    options = entry_of(f"postgres://h/ledger?{name}=77&sslmode=require", tmp_path)["OPTIONS"]

    assert (options[name], options["sslmode"]) == ("77", "require")


def test_a_file_that_a_person_names_goes_before_what_a_service_left(tmp_path: Path) -> None:
    """A service that was killed leaves its variables, and the next one must start all the same."""
    write_runtime(tmp_path, {"DATABASE_URL": "postgres://former/ledger", "FLOWER_URL": "http://f/"})
    (tmp_path / "url").write_text("postgres://named/ledger\n")

    entry = entry_with(tmp_path, DATABASE_URL_FILE=str(tmp_path / "url"))

    assert (entry["HOST"], entry["NAME"]) == ("named", "ledger")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p%2Fw@h:5433/db", ("h", "5433", "u", "p/w", "db")),
        ("postgres://one:5432,two:5433/db", ("one,two", "5432,5433", "", "", "db")),
        ("postgres://u@%2Frun%2Fpostgresql/db", ("/run/postgresql", "", "u", "", "db")),
        ("postgres://u@[::1]:5432/a%20b", ("::1", "5432", "u", "", "a b")),
        ("postgres://@/db?host=@abstract", ("@abstract", "", "", "", "db")),
        ("host=h dbname=db user=u password='a b'", ("h", "", "u", "a b", "db")),
    ],
)
def test_an_address_is_read_as_libpq_reads_it(url: str, expected: tuple[str, ...]) -> None:
    entry = ledger_entry(url)
    assert tuple(entry[key] for key in ("HOST", "PORT", "USER", "PASSWORD", "NAME")) == expected


def test_a_service_may_name_the_database() -> None:
    entry = ledger_entry("postgres:///?service=ledger&sslrootcert=/etc/ca.pem")
    assert (entry["NAME"], entry["OPTIONS"]["service"]) == ("", "ledger")
    assert entry["OPTIONS"]["sslrootcert"] == "/etc/ca.pem"


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:Ge/heim@h:5432/db",
        "postgres://u:Ge#heim@h:5432/db",
        "postgres://u:Ge?heim@h:5432/db",
        "postgres://u:Ge@heim@h:5432/db",
        "postgres://u:Geheim%@h/db",
        "postgres://u:Geheim@[::1/db",
        "postgres://u:Geheim@h/db?no_such_word=1",
        "mysql://u:Geheim@h/db",
    ],
)
def test_what_cannot_be_read_is_refused_with_nothing_of_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL cannot be read") as refusal:
        ledger_entry(url)
    assert "heim" not in "".join(traceback.format_exception(refusal.value))


def test_an_address_without_a_database_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL names no database"):
        ledger_entry("postgres://u:p@h:5432")


def test_a_command_says_so_without_a_traceback(tmp_path: Path) -> None:
    result = manage("check", state=tmp_path, DATABASE_URL="postgres://u:Ge/heim@h:5432/db")
    assert result.returncode == 2
    assert result.stderr.startswith("DATABASE_URL cannot be read.")
    assert "heim" not in result.stderr
