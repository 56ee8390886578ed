"""Alarms: raised, changed and resolved by the findings of runs, in the transaction that says why."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from maintenance.conf import NotificationSettings, configuration
from maintenance.core.attention.alarm_messages import (
    due_times,
    note_eased,
    raise_alarms,
    rank_of,
    resolve,
    subject_of,
    tell_again,
    tell_anew,
)
from maintenance.core.attention.finding_rows import Comparison, look_of
from maintenance.core.attention.standings import Pair
from maintenance.core.finding_life import Look, Mute, Settled, Sight
from maintenance.core.findings import Severity
from maintenance.core.runs.end_reports import CODES_OF_ENDS
from maintenance.core.runs.meant_options import is_dry_run, meant_options
from maintenance.models import Alarm, Run, RunState, StoredFinding

#: Tasks that tell people of findings: what goes wrong there cannot be told in the same way.
OWN_TASKS = frozenset({"maintenance.send_notifications", "maintenance.send_digest"})

#: A run that has ended, the rows of its findings, and what they are beside those of the runs before.
Ended = tuple[Run, Sequence[StoredFinding], Comparison]


def note_alarms(ended: Iterable[Ended], now: datetime) -> None:
    """Raise an alarm for each finding that is bad enough and has none, and resolve those that are gone.

    Call it in the transaction that ends the runs. One query where nothing is bad and nothing open. Raising
    alarms takes as many for many runs as for one; what changes in an open one, and its end, a few each.
    """
    settings = configuration().notifications
    told = [each for each in ended if each[0].task not in OWN_TASKS]
    if not settings.channels or not told:
        return
    open_alarms = _open_alarms([run for run, _rows, _comparison in told])
    fresh: dict[tuple[str, str], Alarm] = {}
    known: list[Alarm] = []
    for run, rows, comparison in told:
        worrying = _worrying(rows, comparison.mutes, settings, now)
        its = open_alarms[run.task, run.target]
        for fingerprint, row in worrying.items():
            if fingerprint not in its:
                fresh.setdefault((run.task, fingerprint), _alarm(run, row, now))
        _note_changes((run, rows, comparison), worrying, its, settings, now)
        known += [its[name] for name in worrying if name in its]
    raise_alarms(list(fresh.values()), settings, now)
    tell_again(known, settings.channels, now)


def _open_alarms(runs: Iterable[Run]) -> Mapping[Pair, Mapping[str, Alarm]]:
    """Return the open alarms of the tasks and targets of ``runs``, by fingerprint."""
    pairs = {(run.task, run.target) for run in runs}
    found: dict[Pair, dict[str, Alarm]] = {pair: {} for pair in pairs}
    of_both = Alarm.objects.filter(
        task__in={task for task, _target in pairs}, target__in={target for _task, target in pairs}
    )
    for alarm in of_both.filter(resolved_at__isnull=True):
        if (alarm.task, alarm.target) in found:
            found[alarm.task, alarm.target][alarm.fingerprint] = alarm
    return found


def _alarm(run: Run, row: StoredFinding, now: datetime) -> Alarm:
    return Alarm(
        task=run.task,
        target=run.target,
        code=row.code,
        subject=row.subject,
        fingerprint=row.fingerprint,
        severity=row.severity,
        sentence=row.sentence,
        advice=row.advice,
        run_id=run.id,
        raised_at=now,
    )


def _note_changes(
    ended: Ended,
    worrying: Mapping[str, StoredFinding],
    open_alarms: Mapping[str, Alarm],
    settings: NotificationSettings,
    now: datetime,
) -> None:
    """Note in the open alarms of a run's task and target what it says of them. No query where that is nothing new."""
    run, rows, comparison = ended
    known = [(open_alarms[name], row) for name, row in worrying.items() if name in open_alarms]
    worse = [(alarm, row) for alarm, row in known if rank_of(row) > rank_of(alarm)]
    note_eased([(alarm, row) for alarm, row in known if rank_of(row) < rank_of(alarm)])
    _note_worse(run, worse, settings, now)
    new = [(alarm, row) for alarm, row in known if comparison.settled.since[row.fingerprint] == now]
    _tell_of_others(run, new, settings, now)
    for fingerprint, alarm in open_alarms.items():
        if fingerprint not in worrying:
            _settle(alarm, run, rows, comparison.settled, now)


def _worrying(
    rows: Iterable[StoredFinding],
    mutes: Mapping[str, Mute],
    settings: NotificationSettings,
    now: datetime,
) -> dict[str, StoredFinding]:
    """Return the findings that are bad enough and not muted, the worst of each fingerprint."""
    least = Severity(settings.alarm_severity).rank
    bad = [row for row in rows if row.measured and Severity(row.severity).rank >= least]
    bad.sort(key=lambda row: Severity(row.severity).rank)
    found = {row.fingerprint: row for row in bad}
    return {
        fingerprint: row
        for fingerprint, row in found.items()
        if fingerprint not in mutes or not mutes[fingerprint].silences(Severity(row.severity), now)
    }


def _tell_of_others(
    run: Run,
    known: Sequence[tuple[Alarm, StoredFinding]],
    settings: NotificationSettings,
    now: datetime,
) -> None:
    """Tell again of open alarms of runs with other options, whose findings are new to runs like ``run``.

    Such an alarm says nothing of these runs. It goes on as theirs: they alone can say when it is over. No
    query where nothing is both open and new.
    """
    origins = [alarm.run_id for alarm, _row in known if alarm.run_id is not None]
    if not origins:
        return
    runs = Run.objects.filter(id__in=origins).values_list("id", "options")
    given: dict[UUID | None, Mapping[str, Any]] = dict(runs)
    meant = meant_options(run.task, run.options)
    others = [
        (alarm, row)
        for alarm, row in known
        if alarm.run_id in given and meant_options(run.task, given[alarm.run_id]) != meant
    ]
    due = due_times([alarm for alarm, _row in others], settings, now)
    for alarm, row in others:
        tell_anew(alarm, run, row, now, due[subject_of(alarm)])


def _note_worse(
    run: Run,
    worse: Sequence[tuple[Alarm, StoredFinding]],
    settings: NotificationSettings,
    now: datetime,
) -> None:
    """Tell of open alarms that got worse: at once, unless people were told lately that they are as bad."""
    due = due_times([alarm for alarm, _row in worse], settings, now, Severity.CRITICAL)
    for alarm, row in worse:
        tell_anew(alarm, run, row, now, due[subject_of(alarm)])


def _settle(
    alarm: Alarm,
    run: Run,
    rows: Sequence[StoredFinding],
    settled: Settled,
    now: datetime,
) -> None:
    """Resolve an open alarm that ``run`` says is over; leave it where the run cannot tell."""
    present = [row for row in rows if row.fingerprint == alarm.fingerprint]
    if present:
        measured = [row for row in present if row.measured]
        if measured:
            row = max(measured, key=lambda each: Severity(each.severity).rank)
            least = Severity(configuration().notifications.alarm_severity)
            is_muted = Severity(row.severity).rank >= least.rank
            how = "It is muted." if is_muted else f"It is less serious now: {row.sentence}"
            resolve(alarm, how, now, is_told=not is_muted)
    elif alarm.fingerprint in {sight.fingerprint for sight in settled.fixed} or (
        _is_ruled_out(alarm, run, rows)
    ):
        resolve(alarm, "The last look did not find it any more.", now)


def _is_ruled_out(alarm: Alarm, run: Run, rows: Iterable[StoredFinding]) -> bool:
    """Tell whether ``run`` says that what an alarm tells of is not there.

    A run says that of findings of runs with the same options; that runs fail, of all.
    """
    if run.state != RunState.SUCCEEDED:
        return False
    if alarm.code in CODES_OF_ENDS and not is_dry_run(run.task, run.options):
        return True
    origin = (
        Run.objects.filter(id=alarm.run_id).values_list("options", flat=True).first()
        if alarm.run_id
        else None
    )
    options = meant_options(run.task, run.options if origin is None else origin)
    sight = Sight(
        alarm.fingerprint,
        alarm.code,
        Severity(alarm.severity),
        alarm.subject,
        alarm.sentence,
        alarm.raised_at,
    )
    return look_of(run, rows).rules_out(sight, Look(succeeded=True, options=options))
