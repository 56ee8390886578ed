"""The lives of findings, from the ledger's rows: see :mod:`.finding_life`.

What a run finds is compared with the run before it when its report is stored, so that no page has to go
through a history: one query a run, and one more where the run before it could not tell; two for many runs.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from maintenance.core.attention.mutes import MUTES_OF, mutes_in_force, mutes_of
from maintenance.core.attention.standings import RUNS_THAT_LOOKED
from maintenance.core.finding_life import (
    LOOKS_BACK,
    FixedFinding,
    Look,
    Mute,
    ReportLife,
    Settled,
    Sight,
    settle,
)
from maintenance.core.findings import Severity
from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.core.runs.meant_options import meant_options
from maintenance.models import Run, RunState, StoredFinding, StoredReport

_SIGHTS = """
    SELECT jsonb_agg(jsonb_build_object(
        'fingerprint', fingerprint, 'code', code, 'severity', severity, 'subject', subject,
        'sentence', sentence, 'found_at', found_at, 'measured', measured, 'since', since
    )) AS sights
    FROM maintenance_storedfinding
    WHERE run_id = run.id
"""

# A range and no equation, as in standings.py: the index holds the runs of a pair side by side, by time.
_EARLIER = f"""
SELECT run.state, run.options, coalesce(seen.sights, '[]'::jsonb) AS sights
FROM (
    SELECT id, state, options
    FROM maintenance_run
    WHERE (task, target) >= (%s, %s) AND (task, target) <= (%s, %s) AND state = ANY (%s) AND id <> %s
    ORDER BY task, target, queued_at DESC
    LIMIT %s OFFSET %s
) AS run
CROSS JOIN LATERAL ({_SIGHTS}) AS seen
"""  # noqa: S608 - of constants

_EARLIER_OF_MANY = f"""
SELECT wanted.id, run.state, run.options, coalesce(seen.sights, '[]'::jsonb) AS sights
FROM jsonb_to_recordset(%s::jsonb) AS wanted (id uuid, task text, target text)
CROSS JOIN LATERAL (
    SELECT id, state, options, queued_at
    FROM maintenance_run
    WHERE (task, target) >= (wanted.task, wanted.target)
        AND (task, target) <= (wanted.task, wanted.target) AND state = ANY (%s) AND id <> wanted.id
    ORDER BY task, target, queued_at DESC
    LIMIT {LOOKS_BACK}
) AS run
CROSS JOIN LATERAL ({_SIGHTS}) AS seen
ORDER BY wanted.id, run.queued_at DESC
"""  # noqa: S608 - of constants

# A row always, with the mutes; the run before in its other columns, where there is one.
_MUTES_AND_LAST = f"""
SELECT ({MUTES_OF}), earlier.state, earlier.options, earlier.sights
FROM (SELECT) AS always
LEFT JOIN ({_EARLIER}) AS earlier ON true
"""  # noqa: S608 - of constants

_LOOKED = [state.value for state in RUNS_THAT_LOOKED]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a run found beside what is known: its life, and by fingerprint the mutes that last."""

    settled: Settled
    mutes: Mapping[str, Mute]


def compared(run: Run, rows: Sequence[StoredFinding], now: datetime) -> Comparison:
    """Compare what a run found with what earlier ones did. ``rows`` need not be stored yet.

    A run that was skipped or cancelled has not looked: nothing is fixed by it.
    """
    look = look_of(run, rows)
    if run.state not in RUNS_THAT_LOOKED:
        mutes = mutes_of(run.task, {row.fingerprint for row in rows}, now)
        return Comparison(settle(look, ()), mutes)
    with ledger_connection().cursor() as cursor:
        named: list[Any] = [run.task, sorted({row.fingerprint for row in rows}), now]
        cursor.execute(_MUTES_AND_LAST, [*named, *_earlier_than(run, 1, 0)])
        muted, *last = cursor.fetchone()
    mutes = {name: Mute.from_json(body) for name, body in _json(muted).items()}
    return Comparison(settle(look, _earlier(run, last)), mutes)


def compared_together(
    found: Sequence[tuple[Run, Sequence[StoredFinding]]], now: datetime
) -> list[Comparison]:
    """Compare what many runs found, as :func:`compared` does for one, in two queries for all of them."""
    if not found:
        return []
    mutes = mutes_in_force(now)
    earlier = _earlier_of_many([run for run, _rows in found if run.state in RUNS_THAT_LOOKED])
    return [
        Comparison(
            settle(look_of(run, rows), earlier.get(run.id, ())),
            {
                row.fingerprint: mutes[run.task, row.fingerprint]
                for row in rows
                if (run.task, row.fingerprint) in mutes
            },
        )
        for run, rows in found
    ]


def _earlier_of_many(runs: Sequence[Run]) -> Mapping[UUID, Sequence[Look]]:
    """Return the looks before each of ``runs``, newest first."""
    tasks = {run.id: run.task for run in runs}
    wanted = [{"id": str(run.id), "task": run.task, "target": run.target} for run in runs]
    found: defaultdict[UUID, list[Look]] = defaultdict(list)
    with ledger_connection().cursor() as cursor:
        cursor.execute(_EARLIER_OF_MANY, [json.dumps(wanted), _LOOKED])
        for run_id, *look in cursor.fetchall():
            found[run_id].append(_look(tasks[run_id], *look))
    return found


def look_of(run: Run, rows: Iterable[StoredFinding]) -> Look:
    """Return what a run found as a look: with the options that it meant."""
    sights = tuple(_sight(row) for row in rows)
    return Look(run.state == RunState.SUCCEEDED, meant_options(run.task, run.options), sights)


def _earlier_than(run: Run, limit: int, offset: int) -> list[Any]:
    pair = [run.task, run.target]
    return [*pair, *pair, _LOOKED, run.id, limit, offset]


def _earlier(run: Run, last: Sequence[Any]) -> Iterator[Look]:
    """Yield the looks before ``run``, newest first: most need the last alone, so that others are read apart."""
    if last[0] is None:
        return
    yield _look(run.task, *last)
    with ledger_connection().cursor() as cursor:
        cursor.execute(_EARLIER, _earlier_than(run, LOOKS_BACK - 1, 1))
        rows = cursor.fetchall()
    for row in rows:
        yield _look(run.task, *row)


def _look(task: str, state: str, options: Any, sights: Any) -> Look:
    seen = tuple(_sight_of(body) for body in _json(sights))
    return Look(state == RunState.SUCCEEDED, meant_options(task, _json(options)), seen)


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
    run: Run,
    rows: Iterable[StoredFinding],
    fixed: Iterable[FixedFinding],
    mutes: Mapping[str, Mute],
    now: datetime,
) -> ReportLife:
    """Return what a report says of its findings' lives.

    Findings that were stored before lives were noted have none.
    """
    since = {row.fingerprint: row.since for row in rows if row.since is not None}
    return ReportLife(run.finished_at or now, since, tuple(fixed), dict(mutes))


def stored_life(run: Run, stored: StoredReport) -> ReportLife:
    """Return the lives of the findings of a stored report, with what is muted now. Two queries."""
    fixed = [FixedFinding.from_json(body) for body in stored.fixed or []]
    rows = list(StoredFinding.objects.filter(run=run))
    now = timezone.now()
    mutes = mutes_of(run.task, {row.fingerprint for row in rows}, now)
    return life_of(run, rows, fixed, mutes, now)
