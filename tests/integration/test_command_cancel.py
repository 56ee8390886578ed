"""``maintenance cancel``: runs that wait, runs at work, and runs that have ended."""

import getpass
import threading
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from maintenance.core.runs.dispatch import record_run
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import task_named
from maintenance.models import Run, RunState, Trigger
from tests.polling import eventually

pytestmark = pytest.mark.django_db(transaction=True)


def queued(name: str, **options: object) -> Run:
    return record_run(task_named(name), "", options, Origin(Trigger.BEAT))


def cancel(run: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("maintenance", "cancel", run, stdout=out, stderr=StringIO())
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


def test_a_queued_run_ends_at_once_and_its_report_says_who_ended_it() -> None:
    run = queued("note_low")

    code, said = cancel(str(run.id)[:8])

    run.refresh_from_db()
    assert (code, run.state) == (0, RunState.CANCELLED)
    assert f"note_low ({run.id}) is cancelled. Cancelled by " in said
    assert run.report.files


def test_a_run_at_work_stops_and_is_waited_for(tmp_path: Path) -> None:
    run = queued("wait_at_gate", gate=str(tmp_path / "never"))
    thread = threading.Thread(target=lambda: (work_here(run), connection.close()))
    thread.start()
    eventually(lambda: Run.objects.get(id=run.id).progress_done > 0, 20, "the run is at work")

    code, said = cancel(str(run.id))
    thread.join(20)

    assert code == 0
    assert f"is cancelled. Cancelled by {getpass.getuser()} while it was at work." in said


def test_a_run_that_has_ended_stays_as_it_is_and_an_unknown_one_is_refused() -> None:
    run = work_here(queued("note_low"))

    code, said = cancel(str(run.id))

    assert (code, said) == (0, f"note_low ({run.id}) has ended already: succeeded.\n")
    with pytest.raises(CommandError, match="No run has an id that begins with"):
        cancel("ffffffff")
