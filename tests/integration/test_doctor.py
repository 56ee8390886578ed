"""`maintenance doctor`: everything that is wrong on one screen, with its mend, and never a password."""

import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from maintenance.doctor.certificates import certificate_of_postgres, certificate_of_redis
from maintenance.doctor.signatures import signing_certificates
from service.embedded.postgres import EmbeddedPostgres
from tests.signing_keys import sign_by
from tests.up_process import ROOT, clean_environment, manage

PASSWORD = "h1dden-everywhere"

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None or shutil.which("faketime") is None,
    reason="openssl or faketime is not installed",
)


@pytest.fixture(scope="module")
def expired(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate that was valid in January 2020, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    made += ["-nodes", "-days", "30", "-subj", "/CN=localhost"]
    made += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["faketime", "2020-01-01 12:00:00", *made], check=True, capture_output=True)
    return certificate, key


@contextmanager
def tls_server(certificate: Path, key: Path, *, asks_first: bool) -> Iterator[int]:
    """Answer the TLS handshake as PostgreSQL (which is asked first) or Redis does, and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    if asks_first and len(connection.recv(8)) == 8:
                        connection.sendall(b"S")
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:  # a client that does not trust the certificate goes
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def test_the_end_of_a_certificate_is_read_whoever_trusts_it(expired: tuple[Path, Path]) -> None:
    with tls_server(*expired, asks_first=True) as port:
        found = certificate_of_postgres({"host": "127.0.0.1", "port": port}, 10)
    assert found is not None
    assert found.until == "2020-01-31"
    assert found.left_seconds() < 0
    with tls_server(*expired, asks_first=False) as port:
        assert certificate_of_redis(f"rediss://127.0.0.1:{port}/0", 10) == found


def doctor(config: Path, *arguments: str, faked: str = "", **environment: str) -> tuple[int, str]:
    """Run the command as a person does; return its code and all that it said."""
    program = ["faketime", "-f", faked] if faked else []
    done = subprocess.run(
        [*program, sys.executable, "manage.py", "maintenance", "doctor", *arguments],
        cwd=ROOT,
        env=clean_environment(MAINTENANCE_CONFIG=str(config), **environment),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_every_bad_input_stands_on_one_screen_with_its_mend_and_no_password(
    tmp_path: Path, postgres_server: EmbeddedPostgres, redis_url: str, expired: tuple[Path, Path]
) -> None:
    config = tmp_path / "maintenance.toml"
    wrong = postgres_server.url().replace("://", "://nobody:" + PASSWORD + "@", 1)
    wrong = f"postgres://nobody:{PASSWORD}@{wrong.rpartition('@')[2]}"
    with (
        tls_server(*expired, asks_first=True) as postgres_port,
        tls_server(*expired, asks_first=False) as redis_port,
    ):
        config.write_text(
            f"""
            preset = "bookwrym"
            timezon = "UTC"
            [databases]
            own = {{ alias = "default" }}
            gone = {{ url = "postgres://me:{PASSWORD}@127.0.0.1:1/d" }}
            wrong = {{ url = "env:WRONG" }}
            tls = {{ url = "postgres://me:{PASSWORD}@127.0.0.1:{postgres_port}/d?sslmode=require" }}
            unset = {{ url = "postgres://${{SITE_USER}}:${{SITE_PASSWORD}}@h/d" }}
            misspelt = {{ urll = "env:X" }}
            [redis]
            main = {{ url = "env:MAIN" }}
            tls = {{ url = "rediss://:{PASSWORD}@127.0.0.1:{redis_port}/0" }}
            gone = {{ url = "redis://:{PASSWORD}@127.0.0.1:1/0" }}
            [brokers]
            gone = {{ url = "redis://:{PASSWORD}@127.0.0.1:1/0", queues = ["celery"] }}
            """
        )
        given = {"DATABASE_URL": postgres_server.url(), "MAIN": redis_url, "WRONG": wrong}
        code, said = doctor(config, faked="+2h", **given)
    assert code == 1, said
    for words in (
        'preset: there is no preset "bookwrym". Did you mean "bookwyrm"?',
        'timezon: unknown setting. Did you mean "timezone"?',
        'databases.misspelt.urll: unknown setting. Did you mean "url"?',
        "127.0.0.1:1/d cannot be reached",
        "Its address comes from the variable WRONG.",
        "password authentication failed",
        "TLS certificate expired on 2020-01-31",
        "SITE_USER, SITE_PASSWORD are not set",
        "export SITE_PASSWORD=...",
        "hours behind this machine's",
        "redis.gone, brokers.gone",
        "timedatectl set-ntp true",
    ):
        assert words in " ".join(said.split()), (words, said)
    assert said.count("TLS certificate expired") == 2
    assert said.count("hours behind this machine's") == 2
    assert PASSWORD not in said
    assert len(said.splitlines()) < 120


def test_json_is_one_document_and_a_target_can_be_looked_at_alone(
    tmp_path: Path, postgres_server: EmbeddedPostgres
) -> None:
    config = tmp_path / "maintenance.toml"
    config.write_text(
        '[databases.own]\nalias = "default"\n[redis.gone]\nurl = "redis://127.0.0.1:1"\n'
    )
    code, said = doctor(config, "--target", "own", "--json", DATABASE_URL=postgres_server.url())
    assert code == 0, said
    assert "databases.own" in json.dumps(json.loads(said))
    assert "redis" not in said


def test_a_file_that_is_no_toml_is_shown_with_its_lines_and_the_rest_is_looked_at(
    tmp_path: Path, postgres_server: EmbeddedPostgres, redis_url: str
) -> None:
    config = tmp_path / "maintenance.toml"
    config.write_text(
        f"""preset = bookwyrm
timezon = "UTC"
[databases.own]
alias = "default"
[databases.site]
url = "postgres://me:{PASSWORD}@127.0.0.1:1/d
allow = ["reindex"]
[redis.main]
url = "env:MAIN"
[redis.other]
url = "env:MAIN"
role = 5
[caches]
site = {{ url = "env:MAIN", verion = 1 }}
[streams.home]
redis = "mian"
pattern = "*-home"
max_length = 10
"""
    )
    given = {"DATABASE_URL": postgres_server.url(), "MAIN": redis_url}
    code, said = doctor(config, **given)
    assert code == 1, said
    words = " ".join(said.split())
    for expected in (
        'line 1: is no TOML: Invalid value. Text stands in quotes: name = "value". Line 1 is left out below.',
        "line 6: is no TOML: Illegal character '\\n'. Close the quotes at the end of the text.",
        "Lines 5 to 7 are left out below.",
        'timezon: unknown setting. Did you mean "timezone"?',
        "Correct it in line 2 of",
        "redis.other.role: Input should be 'cache'",
        "Correct it in line 12 of",
        'caches.site.verion: unknown setting. Did you mean "version"?',
        "Correct it in line 14 of",
        'streams.home.redis names "mian", which is no Redis target; did you mean "main"?',
        "Correct it in line 16 of",
        "databases.own [",
        "redis.main [",
    ):
        assert expected.lower() in words.lower(), (expected, said)
    assert "databases.site [" not in words
    assert "redis.other [" not in words
    assert PASSWORD not in said

    code, said = doctor(config, "--json", **given)
    assert code == 1, said
    first = json.loads(said)["reports"][0]
    assert [f["evidence"].get("line") for f in first["findings"][:2]] == [1, 6]

    code, said = doctor(config, "--target", "site", **given)
    assert code == 2, said
    assert "which the doctor tells without --target" in said


def test_a_certificate_of_signed_messages_is_told_before_no_program_starts_with_it(
    tmp_path: Path, postgres_server: EmbeddedPostgres
) -> None:
    config = tmp_path / "maintenance.toml"
    config.write_text('[databases.own]\nalias = "default"\n')
    signed = sign_by(tmp_path, "crew", tmp_path / "*.pem", days=13)
    code, said = doctor(config, "--json", DATABASE_URL=postgres_server.url(), **signed)
    assert code == 1, said
    [report] = [one for one in json.loads(said)["reports"] if one["title"] == "signed messages"]
    [finding] = report["findings"]
    assert (finding["code"], finding["severity"]) == ("certificate-expires", "warning")
    assert finding["subject"] == signed["MAINTENANCE_SIGNING_CERTIFICATE"]


def test_certificates_of_a_store_are_judged_each_by_itself(
    tmp_path: Path, expired: tuple[Path, Path]
) -> None:
    store = tmp_path / "trusted"
    store.mkdir()
    sign_by(store, "soon", store, days=13)
    sign_by(store, "sound", store)
    for key in store.glob("*.key"):
        key.unlink()
    (store / "old.pem").write_text(f"Issuer: somebody\n{expired[0].read_text()}")
    (store / "words.pem").write_text("none")
    found = {one.subject: one for one in signing_certificates(str(tmp_path / "none"), str(store))}
    assert {Path(path).name: one.code for path, one in found.items()} == {
        "soon.pem": "certificate-expires",
        "sound.pem": "certificate",
        "old.pem": "certificate-expired",
        "words.pem": "certificate-unreadable",
        "none": "certificate-unreadable",
    }
    assert "expired on 2020-01-31" in found[str(store / "old.pem")].sentence
    assert "it is no certificate" in found[str(store / "words.pem")].sentence


def test_without_its_file_the_doctor_looks_at_the_crew_alone(
    tmp_path: Path, postgres_server: EmbeddedPostgres
) -> None:
    missing = tmp_path / "none.toml"
    code, said = doctor(missing, DATABASE_URL=postgres_server.url())
    assert code == 1, said
    words = " ".join(said.split())
    assert "cannot be read: No such file or directory. Create it" in words
    assert "beat and ledger" in words


def test_nothing_but_the_doctor_starts_with_a_broken_file(tmp_path: Path) -> None:
    config = tmp_path / "maintenance.toml"
    config.write_text(f'[databases.site]\nurl = "postgres://me:{PASSWORD}@h/d\n')
    for command in (["maintenance", "config"], ["check"], ["maintenance", "run", "doctor"]):
        done = manage(*command, state=tmp_path / "state", MAINTENANCE_CONFIG=str(config))
        assert done.returncode == 2, done.stderr
        assert "is not TOML: Illegal character '\\n' (at line 2" in done.stderr
        assert "`python manage.py maintenance doctor` shows every fault" in done.stderr
        assert "Traceback" not in done.stderr
        assert PASSWORD not in done.stderr


def test_a_hook_module_that_is_not_there_is_shown_and_stops_all_else(
    tmp_path: Path, postgres_server: EmbeddedPostgres
) -> None:
    config = tmp_path / "maintenance.toml"
    config.write_text('hook_modules = ["nowhere.at_all"]\n[databases.own]\nalias = "default"\n')
    given = {"DATABASE_URL": postgres_server.url()}
    code, said = doctor(config, **given)
    assert code == 1, said
    words = " ".join(said.split())
    assert "hook_modules: nowhere.at_all cannot be imported: No module named 'nowhere'." in words
    assert "Correct its name in line 1 of" in words
    assert "databases.own [" in words

    done = manage(
        "maintenance", "config", state=tmp_path / "state", MAINTENANCE_CONFIG=str(config), **given
    )
    assert done.returncode == 2
    assert 'hook_modules: "nowhere.at_all" cannot be imported' in done.stderr
    assert "Traceback" not in done.stderr
