"""Findings that somebody muted: written, read, and taken out of what counts."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.db.models.expressions import RawSQL

from maintenance.core.attention.standings import Pair, Standing, runs_named
from maintenance.core.errors import InvalidOptions
from maintenance.core.finding_life import Mute
from maintenance.core.findings import Severity
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.models import Alarm, MutedFinding, RunState, StoredFinding

#: Severities that count for something, and which a mute can silence.
_COUNTING = (Severity.WARNING.value, Severity.CRITICAL.value)


_BODY = "jsonb_build_object('severity', severity, 'reason', reason, 'by', muted_by, 'until', until)"

_NOW_AND_MUTES = f"""
SELECT pg_catalog.statement_timestamp(), coalesce((
    SELECT jsonb_agg(jsonb_build_array(task, fingerprint, {_BODY}))
    FROM maintenance_mutedfinding
    WHERE until IS NULL OR until > pg_catalog.statement_timestamp()
), '[]'::jsonb)
"""  # noqa: S608 - of constants

#: The mutes that last among these findings of a task, by fingerprint, as a part of another statement; its
#: parameters are the task, the fingerprints and the time.
MUTES_OF = f"""
SELECT coalesce(jsonb_object_agg(fingerprint, {_BODY}), '{{}}'::jsonb)
FROM maintenance_mutedfinding
WHERE task = %s AND fingerprint = ANY (%s) AND (until IS NULL OR until > %s)
"""  # noqa: S608 - of constants


_IDS_OF_MUTED = """
SELECT finding.id
FROM json_to_recordset(%s::json) AS quiet (task text, fingerprint text, severity text)
JOIN maintenance_storedfinding AS finding USING (fingerprint, severity)
JOIN maintenance_run AS run ON run.id = finding.run_id AND run.task = quiet.task
"""


def mute(
    finding: StoredFinding, *, reason: str, by: str, until: datetime | None, endless: bool = False
) -> tuple[MutedFinding, bool]:
    """Mute a finding wherever its task finds it again; return the row, and whether it is a new one.

    A finding that is muted already is muted anew, from what it is now. Raises ``InvalidOptions`` for a
    missing reason, for a time that is past, and where it is not said for how long.
    """
    now = ledger_now()
    reason = reason.strip()
    if not reason:
        raise InvalidOptions("Say why it is muted: others will ask.")
    if (until is None) != endless:
        raise InvalidOptions("Say until when it is muted, or that it is for good; not both.")
    if until is not None and until <= now:
        raise InvalidOptions("The time until which it is muted is past.")
    row, is_new = MutedFinding.objects.update_or_create(
        task=finding.run.task,
        fingerprint=finding.fingerprint,
        defaults={
            "target": finding.target,
            "code": finding.code,
            "subject": finding.subject,
            "severity": finding.severity,
            "reason": reason,
            "muted_by": by,
            "muted_at": now,
            "until": until,
            "endless": endless,
        },
    )
    return row, is_new


def mutes_in_force(now: datetime) -> dict[tuple[str, str], Mute]:
    """Return the mutes that last, by task and fingerprint. One query."""
    lasting = MutedFinding.objects.filter(Q(until=None) | Q(until__gt=now))
    return {(row.task, row.fingerprint): row.mute for row in lasting}


def now_and_mutes() -> tuple[datetime, dict[tuple[str, str], Mute]]:
    """Return the ledger's time and the mutes that last, in one query: for a page that counts them."""
    with ledger_connection().cursor() as cursor:
        cursor.execute(_NOW_AND_MUTES)
        now, rows = cursor.fetchone()
    listed = json.loads(rows) if isinstance(rows, str) else rows
    return now, {(task, fingerprint): Mute.from_json(body) for task, fingerprint, body in listed}


def mutes_of(task: str, fingerprints: Collection[str], now: datetime) -> dict[str, Mute]:
    """Return the mutes that last among these findings of a task, by fingerprint."""
    if not fingerprints:
        return {}
    lasting = MutedFinding.objects.filter(Q(until=None) | Q(until__gt=now), task=task)
    return {row.fingerprint: row.mute for row in lasting.filter(fingerprint__in=list(fingerprints))}


def muted_findings(
    run_ids: Iterable[Any], mutes: Mapping[tuple[str, str], Mute], now: datetime
) -> list[StoredFinding]:
    """Return which findings of these runs are muted. One query, none where nothing is."""
    if not mutes:
        return []
    muted = {fingerprint for _task, fingerprint in mutes}
    of_these = StoredFinding.objects.filter(run__in=runs_named(run_ids))
    rows = of_these.filter(fingerprint__in=muted).select_related("run")
    return [
        row
        for row in rows
        if is_silenced((row.run.task, row.fingerprint), Severity(row.severity), mutes, now)
    ]


def ids_of_muted(mutes: Mapping[tuple[str, str], Mute], now: datetime) -> RawSQL:
    """Return the findings of all runs that are muted as a subquery, for ``id__in``: one parameter, however many."""
    quiet = [
        {"task": task, "fingerprint": fingerprint, "severity": severity.value}
        for (task, fingerprint), mute in mutes.items()
        for severity in Severity
        if mute.silences(severity, now)
    ]
    return RawSQL(_IDS_OF_MUTED, [json.dumps(quiet)])  # noqa: S611 - a constant


def is_silenced(
    key: tuple[str, str],
    severity: Severity,
    mutes: Mapping[tuple[str, str], Mute],
    now: datetime,
) -> bool:
    """Tell whether a finding, by its task and fingerprint, counts for nothing."""
    found = mutes.get(key)
    return found is not None and found.silences(severity, now)


def silenced_alarms(alarms: Iterable[Alarm], now: datetime) -> set[Any]:
    """Return the ids of alarms of which nobody wants to be told now. One query, none where there are none."""
    found = list(alarms)
    mutes = mutes_in_force(now) if found else {}
    return {
        alarm.pk
        for alarm in found
        if is_silenced((alarm.task, alarm.fingerprint), Severity(alarm.severity), mutes, now)
    }


def without_muted(
    standings: Mapping[Pair, Standing],
    now: datetime,
    mutes: Mapping[tuple[str, str], Mute],
) -> tuple[dict[Pair, Standing], list[int]]:
    """Return how things stand if muted findings count for nothing, and the ids of those.

    No query where nothing is muted, else two. A failed run whose failure is muted is not well: it
    has not looked.
    """
    found = dict(standings)
    by_run: dict[str, Pair] = {
        str(each.run_id): pair for pair, each in found.items() if each.run_id is not None
    }
    silenced = muted_findings(by_run, mutes, now)
    if not silenced:
        return found, []
    ids = [row.id for row in silenced]
    muted = Counter(str(row.run_id) for row in silenced)
    rest = (
        StoredFinding.objects.filter(run__in=[UUID(name) for name in muted], severity__in=_COUNTING)
        .exclude(id__in=ids)
        .values_list("run_id", "severity")
    )
    worst: dict[str, Severity] = {}
    for run_id, severity in rest:
        known = worst.get(str(run_id), Severity.OK)
        worst[str(run_id)] = max(known, Severity(severity), key=lambda each: each.rank)
    for name, count in muted.items():
        pair = by_run[name]
        found[pair] = _quieter(found[pair], worst.get(name), count)
    return found, ids


def _quieter(standing: Standing, worst: Severity | None, muted: int) -> Standing:
    note = f" {muted} muted." if standing.summary else ""
    if worst is not None:
        return standing._replace(severity=worst.value, summary=f"{standing.summary}{note}")
    severity = min(Severity(standing.severity or "ok"), Severity.INFO, key=lambda s: s.rank)
    return standing._replace(
        severity=severity.value,
        summary=f"{standing.summary}{note}",
        is_failure_muted=standing.state == RunState.FAILED,
    )
