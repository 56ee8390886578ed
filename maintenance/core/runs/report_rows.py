"""A report as rows of the ledger: the whole of it, and what lists and series ask for."""

import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db import OperationalError

from maintenance.core.attention.alarms import Ended, note_alarms
from maintenance.core.attention.finding_rows import compared, compared_together, life_of
from maintenance.core.finding_life import FixedFinding
from maintenance.core.findings import Finding
from maintenance.core.reports import SCHEMA_VERSION, Report, ReportDocument
from maintenance.core.runs.ledger_database import (
    LOCK_NOT_AVAILABLE,
    ledger_connection,
    ledger_transaction,
    sqlstate_of,
)
from maintenance.models import SUBJECT_LENGTH, Run, StoredFinding, StoredReport

logger = logging.getLogger("maintenance.scheduler")

#: Whoever ends a run writes its files within this time, or was killed before.
RECORDED_WITHIN = timedelta(minutes=2)

# Far below the lease of a leader (10 s), whose transaction waits here: for one lock, and for all of them. A
# held one among 200 is found in eight halvings.
_LOCK_SECONDS = 0.2
_ALARMS_SECONDS = 2.0
_WAIT_FOR_LOCKS = "SELECT pg_catalog.set_config('lock_timeout', %s, true)"

# One statement, because each is a round trip, and most runs write a few rows only.
_STORE = """
WITH forgotten AS (
    DELETE FROM maintenance_runstep WHERE run_id = %(run)s
), report AS (
    INSERT INTO maintenance_storedreport (
        run_id, schema_version, body, state, files, fixed, created_at, record_due_at
    )
    VALUES (
        %(run)s, %(schema_version)s, %(body)s, %(state)s, '[]', %(fixed)s, %(now)s, %(record_due_at)s
    )
), findings AS (
    INSERT INTO maintenance_storedfinding (
        run_id, fingerprint, code, severity, target, subject, sentence, advice, evidence, measured, found_at,
        since
    )
    SELECT %(run)s, fingerprint, code, severity, %(target)s, subject, sentence, advice, evidence, measured,
        %(now)s, since
    FROM pg_catalog.jsonb_to_recordset(%(findings)s) AS finding (
        fingerprint text, code text, severity text, subject text, sentence text, advice text,
        evidence jsonb, measured boolean, since timestamptz
    )
)
INSERT INTO maintenance_storedsample (run_id, target, metric, subject, value, measured_at)
SELECT %(run)s, %(target)s, metric, subject, value, %(now)s
FROM ROWS FROM (
    pg_catalog.unnest(%(metrics)s::text[]), pg_catalog.unnest(%(subjects)s::text[]),
    pg_catalog.unnest(%(values)s::float8[])
) AS sample (metric, subject, value)
"""


def store_report(
    run: Run, document: ReportDocument, now: datetime, *, keeps_files: bool = True
) -> ReportDocument:
    """Write the rows of one report: itself, its findings, its samples; delete the run's steps.

    A report holds what came of the steps. One round trip, whatever the report holds, one before it that
    compares its findings with those of the run before, and one where alarms are configured. Returns the
    document with the lives of its findings.
    """
    report = document.report
    fields = [_finding_fields(run, each) for each in report.findings if not each.repeated]
    rows = [_finding_row(run, each, now) for each in fields]
    comparison = compared(run, rows, now)
    settled = comparison.settled
    for row in rows:
        row.since = settled.since[row.fingerprint]
    fixed = [FixedFinding.of(sight) for sight in settled.fixed]
    with ledger_connection().cursor() as cursor:
        cursor.execute(
            _STORE,
            {
                "run": run.id,
                "target": run.target,
                "now": now,
                "record_due_at": now + RECORDED_WITHIN if keeps_files else None,
                "schema_version": SCHEMA_VERSION,
                "body": json.dumps(report.to_json()),
                "state": json.dumps(dict(report.state)),
                "fixed": json.dumps([each.to_json() for each in fixed]),
                "findings": json.dumps(
                    [
                        {**each, "since": settled.since[each["fingerprint"]].isoformat()}
                        for each in fields
                    ]
                ),
                "metrics": [sample.metric for sample in report.samples],
                "subjects": [sample.subject[:SUBJECT_LENGTH] for sample in report.samples],
                "values": [sample.value for sample in report.samples],
            },
        )
    note_alarms([(run, rows, comparison)], now)
    return replace(document, life=life_of(run, rows, fixed, comparison.mutes, now))


def store_short_reports(ended: Iterable[tuple[Run, Report]], now: datetime) -> None:
    """Write the rows of many reports that have no samples, in a few statements, and raise their alarms.

    Call it in the transaction that writes their runs. Of a schedule whose slots ended with findings the
    newest says how things are.
    """
    pairs = list(ended)
    found = [
        (run, [_finding_row(run, _finding_fields(run, each), now) for each in report.findings])
        for run, report in pairs
        if report.findings
    ]
    newest = {run.schedule: (run, rows) for run, rows in sorted(found, key=_slot_of)}
    compared_ones = compared_together(list(newest.values()), now)
    noted = [
        (run, rows, comparison)
        for (run, rows), comparison in zip(newest.values(), compared_ones, strict=True)
    ]
    for _run, rows, comparison in noted:
        for row in rows:
            row.since = comparison.settled.since[row.fingerprint]
    StoredReport.objects.bulk_create(
        (
            StoredReport(
                run=run,
                schema_version=SCHEMA_VERSION,
                body=report.to_json(),
                created_at=now,
                # Of a slot that is skipped nothing is kept outside of the ledger but a line in the log.
                record_due_at=now + RECORDED_WITHIN if report.findings else None,
            )
            for run, report in pairs
        ),
        batch_size=500,
    )
    StoredFinding.objects.bulk_create((row for _run, rows in found for row in rows), batch_size=500)
    if noted:
        _note_alarms_unless_held_up(noted, now, time.monotonic() + _ALARMS_SECONDS)


def _note_alarms_unless_held_up(ended: Sequence[Ended], now: datetime, give_up_at: float) -> None:
    """Raise the alarms of runs, unless somebody holds their rows: the next slot that ends so raises them.

    The transaction is a leader's, and a worker that hangs in its own must not hold up the schedules. Where
    one of many is held, those of each half are tried by themselves while there is time.
    """
    is_in_time = time.monotonic() < give_up_at
    if is_in_time and _could_note_alarms(ended, now):
        return
    if len(ended) == 1 or not is_in_time:
        for run, _rows, _comparison in ended:
            logger.warning(
                "Alarms of %s are left to its next slot: somebody holds them", run.schedule
            )
        return
    middle = len(ended) // 2
    for half in (ended[:middle], ended[middle:]):
        _note_alarms_unless_held_up(half, now, give_up_at)


def _could_note_alarms(ended: Sequence[Ended], now: datetime) -> bool:
    """Raise the alarms of runs, all or none; return whether nobody held their rows."""
    try:
        with ledger_transaction(), ledger_connection().cursor() as cursor:
            cursor.execute("SELECT pg_catalog.current_setting('lock_timeout')")
            [before] = cursor.fetchone()
            cursor.execute(_WAIT_FOR_LOCKS, [f"{_LOCK_SECONDS:g}s"])
            note_alarms(ended, now)
            # A savepoint that is released keeps it, and what follows may wait for longer.
            cursor.execute(_WAIT_FOR_LOCKS, [before])
    except OperationalError as error:
        if sqlstate_of(error) != LOCK_NOT_AVAILABLE:
            raise
        return False
    return True


def _slot_of(found: tuple[Run, list[StoredFinding]]) -> datetime:
    run, _rows = found
    return run.scheduled_for or run.queued_at


def _finding_row(run: Run, fields: Mapping[str, Any], now: datetime) -> StoredFinding:
    return StoredFinding(run=run, target=run.target, found_at=now, **fields)


def _finding_fields(run: Run, finding: Finding) -> dict[str, Any]:
    return {
        "fingerprint": finding.fingerprint(run.target),
        "code": finding.code,
        "severity": finding.severity.value,
        "subject": finding.subject[:SUBJECT_LENGTH],
        "sentence": finding.sentence,
        "advice": finding.advice,
        "evidence": dict(finding.evidence),
        "measured": finding.measured,
    }
