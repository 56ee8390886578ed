"""Runs that must wait, for a limit, for a retry or for a server: none is forgotten."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest
from django.db import connection
from psycopg2 import sql

from maintenance.core.runs.dispatch import start_run
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import task_named
from maintenance.models import Run, RunState, Trigger
from service.embedded.postgres import EmbeddedPostgres
from tests.acceptance.test_checklists_run import finished
from tests.celery_nodes import WorkerFactory
from tests.polling import eventually
from tests.testapp import tasks

pytestmark = pytest.mark.django_db(transaction=True)

BY_HAND = Origin(Trigger.CLI, actor="tester")


@contextmanager
def ledger_away(server: EmbeddedPostgres) -> Iterator[None]:
    """End every session of the ledger but this test's own, and let none begin."""
    name = connection.settings_dict["NAME"]
    own = connection.cursor().connection.info.backend_pid  # type: ignore[union-attr]
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with closing(psycopg2.connect(server.url())) as admin:
        admin.autocommit = True
        with admin.cursor() as cursor:
            cursor.execute(allow.format(sql.Identifier(name), sql.Literal(False)))
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND pid <> %s",
                [name, own],
            )
            try:
                yield
            finally:
                cursor.execute(allow.format(sql.Identifier(name), sql.Literal(True)))


def test_a_run_is_retried_as_often_as_its_task_says_also_beyond_celerys_own_limit(
    make_worker: WorkerFactory,
) -> None:
    make_worker("low")

    run = finished(start_run(task_named("reach_in_vain_for_long"), "", {}, BY_HAND))

    assert run.state == RunState.FAILED
    assert len(run.failures) == 6


def test_a_message_of_application_code_that_must_wait_long_is_kept_in_the_ledger(
    make_worker: WorkerFactory,
) -> None:
    make_worker("high")

    for number in range(4):
        tasks.note_rarely.apply_async(kwargs={"options": {"number": number}})

    eventually(lambda: Run.objects.count() == 4, 30, "a row for each message")
    succeeded = Run.objects.filter(state=RunState.SUCCEEDED)
    eventually(lambda: succeeded.count() == 3, 30, "what the limit allows")
    waiting = Run.objects.filter(state=RunState.QUEUED, available_at__isnull=False)
    eventually(waiting.exists, 30, "the fourth waits")
    assert waiting.get().trigger == Trigger.API


def test_a_message_that_meets_no_ledger_comes_again(
    make_worker: WorkerFactory, postgres_server: EmbeddedPostgres
) -> None:
    worker = make_worker("medium")

    with ledger_away(postgres_server):
        tasks.note_medium.apply_async(kwargs={"options": {"number": 8}})
        worker.wait_for_log("note_medium")
        worker.wait_for_log("ledger")

    eventually(Run.objects.filter(state=RunState.SUCCEEDED).exists, 60, "the run has ended")
