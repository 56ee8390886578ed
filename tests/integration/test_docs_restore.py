"""The restore of docs/deployment.md: an older ledger in place of a newer one, by the lines of the guide."""

from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import pytest
import pytest_django
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from maintenance.models import Run, StoredReport
from service.embedded.binaries import locate_postgres
from service.embedded.ports import LOOPBACK
from service.embedded.postgres import EmbeddedPostgres
from tests.integration.test_docs_deployment import Machine, block_with, machine
from tests.integration.test_upgrade import write_rows_of_then
from tests.postgres_clients import Client, ask

__all__ = ["machine"]

ALIAS = "restored"
THEN = ("maintenance", "0003_steps_and_dangerous_tasks")
PASSWORD = "word"


@pytest.fixture
def ledger(
    postgres_server: EmbeddedPostgres, django_db_blocker: pytest_django.DjangoDbBlocker
) -> Iterator[str]:
    """The alias of a ledger as the guide makes it: database and role are called maintenance."""
    superuser = postgres_server.url()
    ask(superuser, f"CREATE ROLE maintenance LOGIN PASSWORD '{PASSWORD}'")
    ask(superuser, "CREATE DATABASE maintenance OWNER maintenance")
    connections.databases[ALIAS] = {
        **connections["default"].settings_dict,
        "NAME": "maintenance",
        "USER": "maintenance",
        "PASSWORD": PASSWORD,
        "HOST": LOOPBACK,
        "PORT": str(urlsplit(superuser).port),
    }
    with django_db_blocker.unblock():
        yield ALIAS
        connections[ALIAS].close()
    del connections[ALIAS]
    del connections.databases[ALIAS]
    ask(superuser, "DROP DATABASE IF EXISTS maintenance (FORCE)")
    ask(superuser, "DROP ROLE maintenance")


@pytest.fixture
def superuser(machine: Machine, postgres_server: EmbeddedPostgres) -> dict[str, str]:
    """The login by which the programs of PostgreSQL find the server; what systemctl is told is noted."""
    for program in ("pg_dump", "dropdb", "createdb", "pg_restore"):
        machine.stand_in(program, f'exec {locate_postgres().bindir / program} "$@"')
    machine.stand_in("systemctl", f'echo "$@" >> {machine.folder}/told')
    at = urlsplit(postgres_server.url())
    return {
        "PGHOST": LOOPBACK,
        "PGPORT": str(at.port),
        "PGUSER": at.username or "",
        "PGPASSWORD": unquote(at.password or ""),
    }


def migrate_to_newest(alias: str) -> None:
    executor = MigrationExecutor(connections[alias])
    executor.migrate(executor.loader.graph.leaf_nodes())


@pytest.mark.timeout(300)
def test_a_dump_of_an_older_version_takes_the_place_of_a_newer_ledger(
    ledger: str,
    machine: Machine,
    superuser: dict[str, str],
    postgres_server: EmbeddedPostgres,
) -> None:
    saving, gap, restoring = block_with(
        "pg_restore --dbname maintenance --exit-on-error < ledger.dump &&"
    ).partition("\n\n")
    assert gap
    there = f"cd {machine.folder}\n"
    # What the doctor asks for is a superuser's, and in the dump.
    ask(postgres_server.url("maintenance"), "CREATE EXTENSION pg_stat_statements")
    executor = MigrationExecutor(connections[ledger])
    executor.migrate([THEN])
    write_rows_of_then(executor.loader.project_state([THEN]).apps, ledger)
    [summary] = Run.objects.using(ledger).values_list("summary", flat=True)
    machine.execute(there + saving, **superuser)

    migrate_to_newest(ledger)
    late = Run.objects.using(ledger).create(
        task="maintenance.late", target="default", queue="high", trigger="cli", queued_at=timezone.now()
    )  # fmt: skip
    connections[ledger].close()
    with Client(postgres_server.url("maintenance")):  # somebody who has not gone
        machine.execute(there + restoring, **superuser)

    told = (machine.folder / "told").read_text().splitlines()
    assert told == ["stop maintenance.target", "start maintenance.target"]
    owners = ask(
        postgres_server.url("maintenance"),
        "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'",
    )
    assert owners == [("maintenance",)]
    migrate_to_newest(ledger)
    run = Run.objects.using(ledger).get()
    assert run.summary == summary
    assert StoredReport.objects.using(ledger).get().run_id == run.pk
    assert run.pk != late.pk
