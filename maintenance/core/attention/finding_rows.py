"""The lives of findings, from the ledger's rows: see :mod:`.finding_life`.

What a run finds is compared with the run before it when its report is stored, so that no page has to go
through a history: two queries a run, and one more for each run before it that could not tell.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connection
from django.utils import timezone

from maintenance.core.attention.mutes import mutes_of
from maintenance.core.attention.standings import RUNS_THAT_LOOKED
from maintenance.core.finding_life import (
    LOOKS_BACK,
    FixedFinding,
    Look,
    ReportLife,
    Settled,
    Sight,
    settle,
)
from maintenance.core.findings import Severity
from maintenance.models import Run, RunState, StoredFinding, StoredReport

# A range and no equation, as in standings.py: the index holds the runs of a pair side by side, by time.
_EARLIER = """
SELECT run.state, run.options, coalesce(seen.sights, '[]'::jsonb)
FROM (
    SELECT id, state, options
    FROM maintenance_run
    WHERE (task, target) >= (%s, %s) AND (task, target) <= (%s, %s) AND state = ANY (%s) AND id <> %s
    ORDER BY task, target, queued_at DESC
    LIMIT %s OFFSET %s
) AS run
CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object(
        'fingerprint', fingerprint, 'code', code, 'severity', severity, 'subject', subject,
        'sentence', sentence, 'found_at', found_at, 'measured', measured, 'since', since
    )) AS sights
    FROM maintenance_storedfinding
    WHERE run_id = run.id
) AS seen
"""


def settled_findings(run: Run, rows: Sequence[StoredFinding]) -> Settled:
    """Compare what a run found with what earlier ones did. ``rows`` need not be stored yet.

    A run that was skipped or cancelled has not looked: nothing is fixed by it.
    """
    look = Look(run.state == RunState.SUCCEEDED, run.options, tuple(_sight(row) for row in rows))
    return settle(look, _earlier(run) if run.state in RUNS_THAT_LOOKED else ())


def _earlier(run: Run) -> Iterator[Look]:
    """Yield the looks before ``run``, newest first: most need one, so that the others are read apart."""
    looked = [state.value for state in RUNS_THAT_LOOKED]
    pair = [run.task, run.target]
    for limit, offset in ((1, 0), (LOOKS_BACK - 1, 1)):
        with connection.cursor() as cursor:
            cursor.execute(_EARLIER, [*pair, *pair, looked, run.id, limit, offset])
            rows = cursor.fetchall()
        for state, options, sights in rows:
            seen = tuple(_sight_of(body) for body in _json(sights))
            yield Look(state == RunState.SUCCEEDED, _json(options), seen)
        if len(rows) < limit:
            return


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _sight_of(body: Mapping[str, Any]) -> Sight:
    since = body["since"]
    return Sight(
        fingerprint=body["fingerprint"],
        code=body["code"],
        severity=Severity(body["severity"]),
        subject=body["subject"],
        sentence=body["sentence"],
        found_at=datetime.fromisoformat(body["found_at"]),
        measured=body["measured"],
        since=datetime.fromisoformat(since) if since else None,
    )


def _sight(row: StoredFinding) -> Sight:
    return Sight(
        fingerprint=row.fingerprint,
        code=row.code,
        severity=Severity(row.severity),
        subject=row.subject,
        sentence=row.sentence,
        found_at=row.found_at,
        measured=row.measured,
        since=row.since,
    )


def life_of(
    run: Run, rows: Iterable[StoredFinding], fixed: Iterable[FixedFinding], now: datetime
) -> ReportLife:
    """Return what a report says of its findings' lives; what is muted, is muted at ``now``.

    Findings that were stored before lives were noted have none.
    """
    found = {row.fingerprint: row.since for row in rows}
    since = {name: moment for name, moment in found.items() if moment is not None}
    muted = mutes_of(run.task, found, now)
    return ReportLife(run.finished_at or now, since, tuple(fixed), muted)


def stored_life(run: Run, stored: StoredReport) -> ReportLife:
    """Return the lives of the findings of a stored report, with what is muted now. Two queries."""
    fixed = [FixedFinding.from_json(body) for body in stored.fixed or []]
    return life_of(run, StoredFinding.objects.filter(run=run), fixed, timezone.now())
