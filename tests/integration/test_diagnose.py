"""``maintenance diagnose`` on a site with planted faults: measured now, traced to what is there."""

import json
import os
import secrets
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
import redis
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.utils import timezone

from maintenance.commands import diagnosing
from maintenance.conf import DatabaseTarget
from maintenance.host.memory.processes import Group, measure_groups
from maintenance.host.server_cpu import measure_server_cpu
from maintenance.models import StoredSample
from service.embedded.ports import free_port
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.valkey import EmbeddedValkey
from service.sample_site import access_log, build
from tests.ledger_rows import finished_run
from tests.polling import eventually

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.django_db(transaction=True)

LEAKY_APP = """
held = b"x" * 40_000_000

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"leaky"]
"""


class Site:
    """A built sample site with its configuration."""

    def __init__(self, database_url: str, redis_url: str, log: Path) -> None:
        truth = build(database_url, redis_url, scale=0.05, seed=20)
        access_log.write(log, date.fromisoformat(truth.as_of), truth.seed)
        text = (ROOT / "service/sample_site/maintenance.toml").read_text()
        for name, value in (
            ("SITE_DATABASE_URL", database_url),
            ("SITE_REDIS_URL", redis_url),
            ("SITE_ACCESS_LOG", str(log)),
        ):
            text = text.replace(f"env:{name}", value)
        # The log of the profiler is another source, which this site does not have.
        self.settings = {**tomllib.loads(text), "hook_modules": [], "performance_log": ""}
        self.database_url = database_url
        self.redis_url = redis_url


@pytest.fixture(scope="module")
def site(postgres_server: EmbeddedPostgres, server_root: Path) -> Iterator[Site]:
    """The sample site on a database and a Valkey of its own."""
    name = f"diagnosed_{secrets.token_hex(6)}"
    postgres_server.ensure_database(name)
    folder = server_root / f"diagnosed-{secrets.token_hex(4)}"
    folder.mkdir()
    settings = {"appendonly": "no"}
    with EmbeddedValkey(folder / "valkey", secrets.token_hex(16), settings=settings) as valkey:
        yield Site(postgres_server.url(name), valkey.url(0), folder / "access.log")


def diagnose(*words: str, settings: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    """Walk a runbook; return the exit code and the report."""
    out, code = StringIO(), 0
    with override_settings(MAINTENANCE=settings or {}):
        try:
            call_command("maintenance", "diagnose", *words, "--json", stdout=out, stderr=StringIO())
        except SystemExit as end:
            code = int(end.code or 0)
    return code, json.loads(out.getvalue())["report"]


def causes(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The causes by their titles."""
    (table,) = report["tables"]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    return {row["cause"]: row for row in rows}


def test_slow_pages_are_traced_to_what_is_planted(site: Site) -> None:
    code, report = diagnose("slow-pages", settings=site.settings)

    found = causes(report)
    assert code == 1
    assert report["facts"]["symptom_now"] == "yes"
    slow = found["A few routes are slow, the others are not"]
    assert slow["verdict"] == "likely"
    assert "/book/{id}/similar" in slow["because"]
    assert (
        found["The planner has no statistics, or tables are full of dead rows"]["verdict"]
        == "likely"
    )
    index = found["An index is missing"]  # nobody can tell of a table without statistics
    assert index["verdict"] == "not known"
    assert "public.library_readthrough needs ANALYZE" in index["because"]
    assert found["Requests wait for a lock or for a long transaction"]["verdict"] == "ruled out"
    unknown = found["Code asks for its rows one at a time (N+1)"]
    assert (unknown["verdict"], "performance_log" in unknown["because"]) == ("not known", True)
    assert report["summary"].endswith(report["facts"]["next_step"])
    assert any(f["runbook"] == "docs/runbooks.md#slow-pages" for f in report["findings"])


def test_high_redis_memory_is_traced_to_what_is_planted(site: Site) -> None:
    with redis.Redis.from_url(site.redis_url) as client:
        client.config_set("maxmemory", int(client.info()["used_memory"] * 1.1))
        try:
            keys = client.dbsize()
            code, report = diagnose("redis-memory", settings=site.settings)
            assert client.dbsize() == keys  # a diagnosis removes nothing
        finally:
            client.config_set("maxmemory", 0)

    found = causes(report)
    assert code == 1
    assert report["facts"]["symptom_now"] == "yes"
    assert "redis-memory-high" in {f["code"] for f in report["findings"]}
    assert found["Streams are longer than their limit"]["verdict"] == "likely"
    assert "home" in found["Streams are longer than their limit"]["because"]
    assert found["Streams belong to people who are gone"]["verdict"] == "likely"
    assert report["facts"]["next_step"].startswith("Trim them:")


def busy(url: str, end: threading.Event) -> None:
    """Keep one session at work until it is told to end."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            while not end.is_set():
                cursor.execute("SELECT sum(n) FROM generate_series(1, 200000) AS n")


def test_a_busy_database_is_measured_and_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # Tests share their machine: how much of it one busy session gets is not ours to say.
    monkeypatch.setattr(diagnosing, "HIGH_CPU_RATIO", 0.02)
    end = threading.Event()
    sessions = [threading.Thread(target=busy, args=(site.database_url, end)) for _ in range(2)]
    for session in sessions:
        session.start()
    try:
        code, report = diagnose("database-cpu", settings=site.settings)
    finally:
        end.set()
        for session in sessions:
            session.join()

    (high,) = [f for f in report["findings"] if f["code"] == "database-cpu-high"]
    assert code == 1
    assert report["facts"]["symptom_now"] == "yes"
    assert 0.02 < high["evidence"]["used_ratio"] <= 1
    assert causes(report)["Checkpoints come too often and write whole pages"]["verdict"] != "likely"


def test_the_processors_of_a_server_elsewhere_are_unavailable(site: Site) -> None:
    assert measure_server_cpu(os.getpid(), seconds=0) is None  # here, and no PostgreSQL
    target = DatabaseTarget(url=site.database_url)

    report = diagnosing.measure_database_cpu("site", target)

    assert report.facts["used_ratio"] <= 1


@pytest.fixture
def leaky(tmp_path: Path) -> Iterator[Group]:
    """A real Gunicorn with two workers that hold 40 MB each."""
    (tmp_path / "leaky.py").write_text(LEAKY_APP)
    arguments = ["leaky:app", "--bind", f"127.0.0.1:{free_port()}", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *arguments, "--chdir", str(tmp_path)],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )

    def found() -> list[Group]:
        groups = [g for g in measure_groups() if g.program.title == "gunicorn leaky:app"]
        return [g for g in groups if len(g.processes) == 3 and g.memory_bytes > 80_000_000]

    try:
        eventually(lambda: bool(found()), 30, "Gunicorn has its workers")
        yield found()[0]
    finally:
        process.terminate()
        process.wait(20)


def test_a_process_that_leaks_is_named_by_its_stored_course(leaky: Group) -> None:
    run = finished_run("check_process_memory", "local")
    now, title = timezone.now(), leaky.program.title
    for half_hours in range(1, 20):
        StoredSample.objects.create(
            run=run,
            target="local",
            metric="process_memory_bytes" if leaky.is_proportional else "process_resident_bytes",
            subject=title,
            value=leaky.memory_per_process_bytes - half_hours * 1_000_000,
            measured_at=now - timedelta(minutes=30 * half_hours),
        )

    code, report = diagnose("memory")

    (growing,) = [f for f in report["findings"] if f["code"] == "process-memory-growing"]
    assert code == 1
    assert growing["subject"] == title
    assert 40e6 < growing["evidence"]["daily_bytes"] < 60e6
    assert report["summary"].startswith(f"It is so now: A process of {title} grows by")
    assert "max_requests" in report["facts"]["next_step"]
    # This machine may have workers of others, too.
    assert causes(report)["Nothing replaces a worker that has grown"]["findings"] >= 1


def test_a_check_stores_the_sample_that_growth_is_told_by(leaky: Group) -> None:
    with override_settings(MAINTENANCE={}):
        call_command(
            *("maintenance", "run", "check_process_memory", "--now", "--fail-on", "critical"),
            stdout=StringIO(),
            stderr=StringIO(),
        )

    sample = StoredSample.objects.get(
        target="local", subject=leaky.program.title, metric="process_group_memory_bytes"
    )
    assert sample.value == pytest.approx(leaky.memory_bytes, rel=0.2)


@pytest.mark.parametrize(
    ("word", "meant"),
    [("slow-page", "slow-pages"), ("databse-cpu", "database-cpu"), ("redis", "redis-memory")],
)
def test_a_misspelt_symptom_gets_a_suggestion(word: str, meant: str) -> None:
    with pytest.raises(CommandError, match=f'Did you mean "{meant}"') as refused:
        call_command("maintenance", "diagnose", word, stdout=StringIO(), stderr=StringIO())

    assert refused.value.returncode == 2


def test_a_database_that_is_down_is_not_measured() -> None:
    settings = {
        "databases": {"gone": {"url": "postgres://app:very-secret@127.0.0.1:1/site"}},
        "hosts": {},
    }

    code, report = diagnose("database-cpu", settings=settings)

    assert code == 2
    assert {row["verdict"] for row in causes(report).values()} == {"not known"}
    assert "very-secret" not in json.dumps(report)
