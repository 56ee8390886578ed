"""A critical finding of a real worker's run, as a mail that a real server took."""

from pathlib import Path

import pytest

from maintenance.core.runs.dispatch import start_run
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import task_named
from maintenance.models import Notification, NotificationState, Run, RunState, Trigger
from tests.celery_nodes import WorkerFactory
from tests.mail_server import mail_server
from tests.polling import eventually

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_critical_finding_arrives_once_and_so_does_its_end(
    make_worker: WorkerFactory, testapp_environment: dict[str, str], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.touch()

    def look() -> Run:
        options = {"gate": str(gate)}
        run = start_run(task_named("look_at_gate"), "", options, Origin(Trigger.CLI, actor="ann"))
        eventually(
            lambda: Run.objects.filter(id=run.id, state=RunState.SUCCEEDED).exists(),
            60,
            "it looked",
        )
        return run

    with mail_server() as server:
        testapp_environment["TESTAPP_MAIL_PORT"] = str(server.port)
        make_worker()
        first = look()
        eventually(lambda: len(server.mails) == 1, 60, "the alarm has arrived")
        look()
        gate.unlink()
        look()
        eventually(lambda: len(server.mails) == 2, 60, "its end has arrived")
        sent = Notification.objects.filter(state=NotificationState.SENT)
        eventually(lambda: sent.count() == 2, 60, "both are noted as sent")
        open_runs = Run.objects.exclude(state=RunState.SUCCEEDED)
        eventually(lambda: not open_runs.exists(), 60, "nothing is left to do")

        assert server.subjects == ["Critical: gate-open (gate)", "Resolved: gate-open (gate)"]
    assert Notification.objects.count() == 2
    text = str(server.mails[0].get_body(("plain",)).get_content())  # type: ignore[union-attr]
    assert f"https://ops.example.org/admin/maintenance/run/{first.id}/change/#finding-" in text
