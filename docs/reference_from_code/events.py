"""The page of events: the JSON line of a run, and what else a shipper of logs may meet."""

import inspect
import json
from datetime import UTC, datetime, timedelta

from docs.reference_from_code.markdown import code, page, prose, table
from maintenance.core.errors import MaintenanceError
from maintenance.core.findings import Finding, Severity
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report, ReportDocument, RunFacts
from maintenance.models import RunState, Trigger
from maintenance.reports.log_line import JsonLineFormatter, log_line

_LINE = """
When a run has ended, the logger `maintenance.runs` writes one line. In the service it goes to standard error,
or to the file that `MAINTENANCE_RUN_LOG` names. This is one, spread over several lines:
"""
_LEDGER = """
The API, the admin and this line share the ledger's words. """


def events_page() -> str:
    """Return the page."""
    line = {"time": "...", "level": "INFO", "logger": "maintenance.runs", "message": "run finished"}
    example = json.dumps({**line, **log_line(_example())}, indent=2, ensure_ascii=False)
    return page(
        "Events and the log line",
        "## One line a run",
        _LINE.strip(),
        f"```json\n{example}\n```",
        prose(inspect.getdoc(log_line) or ""),
        prose(inspect.getdoc(JsonLineFormatter) or ""),
        "## Words of the ledger",
        _LEDGER.strip(),
        table(("of", "words"), _words()),
        "## Reasons why a run did not go on",
        table(("name", "meaning"), errors()),
    )


def _words() -> list[tuple[str, str]]:
    of = {
        "a run's state": RunState.values,
        "what started it": Trigger.values,
        "what became of an action": [verdict.value for verdict in Verdict],
        "a finding's severity": [severity.value for severity in Severity],
    }
    return [(name, ", ".join(map(code, words))) for name, words in of.items()]


def errors() -> list[tuple[str, str]]:
    """Return the errors that the engine understands, by name with their meaning."""
    return [
        (f"`{kind.__name__}`", prose(" ".join((inspect.getdoc(kind) or "").split())))
        for kind in MaintenanceError.__subclasses__()
        if kind.__module__ == MaintenanceError.__module__
    ]


def _example() -> ReportDocument:
    due = datetime(2026, 11, 23, 3, 10, tzinfo=UTC)
    finding = Finding(
        code="table-bloat",
        severity=Severity.WARNING,
        subject="public.review",
        sentence="public.review is 41 % bloat: 1.2 GiB of 2.9 GiB.",
        evidence={"bloat_ratio": 0.41},
    )
    run = RunFacts(
        run_id="3f9a12c4-5b8e-4c1e-9a37-0d2f6f6f7a11",
        task="maintenance.report_table_bloat",
        target="library",
        schedule="weekly report_table_bloat on library",
        trigger="beat",
        actor="",
        state="succeeded",
        reason="",
        attempt=1,
        options={},
        queued_at=due,
        started_at=due + timedelta(seconds=1),
        finished_at=due + timedelta(seconds=9),
    )
    report = Report(title="Table bloat", summary="1 of 212 tables is bloated.", findings=(finding,))
    return ReportDocument(run=run, report=report)
