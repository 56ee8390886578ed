"""Alarms: raised, resolved and put into words for each channel, in the transaction that says why.

A message is a row before it is sent (:mod:`maintenance.notifications.delivery`), so that a mail server
that is down holds up no run, and a worker that dies loses none.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Max

from maintenance.conf import NotificationSettings, configuration
from maintenance.core.attention.finding_rows import Comparison, look_of
from maintenance.core.attention.standings import Pair
from maintenance.core.finding_life import Look, Mute, Settled, Sight
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report
from maintenance.core.runs.end_reports import CODES_OF_ENDS
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.ledger_database import ledger_transaction
from maintenance.core.runs.meant_options import is_dry_run, meant_options
from maintenance.models import (
    SUBJECT_LENGTH,
    Alarm,
    Notification,
    NotificationKind,
    NotificationState,
    Run,
    RunState,
    StoredFinding,
)

#: Tasks that tell people of findings: what goes wrong there cannot be told in the same way.
OWN_TASKS = frozenset({"maintenance.send_notifications", "maintenance.send_digest"})

#: Ends of messages of which nobody was told.
GONE = (NotificationState.DROPPED, NotificationState.FAILED)

#: A title stands in a subject line and in a list.
_TITLE_LENGTH = 300


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
    _raise(list(fresh.values()), settings, now)
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
    worse = [(alarm, row) for alarm, row in known if _rank(row) > _rank(alarm)]
    _note_eased([(alarm, row) for alarm, row in known if _rank(row) < _rank(alarm)])
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


def _rank(of: Alarm | StoredFinding) -> int:
    return Severity(of.severity).rank


def _raise(fresh: Sequence[Alarm], settings: NotificationSettings, now: datetime) -> None:
    """Write alarms that are not open yet, each with its messages; another run may be faster."""
    if not fresh:
        return
    Alarm.objects.bulk_create(fresh, ignore_conflicts=True)
    due = _due_times(fresh, settings, now)
    written = Alarm.objects.filter(
        task__in={alarm.task for alarm in fresh},
        fingerprint__in=[alarm.fingerprint for alarm in fresh],
        resolved_at__isnull=True,
        raised_at=now,
    )
    _store(
        message
        for alarm in written
        if _subject_of(alarm) in due
        for message in _messages(
            alarm, NotificationKind.ALARM, settings.channels, now, due[_subject_of(alarm)]
        )
    )


def _subject_of(alarm: Alarm) -> tuple[str, str]:
    """Return by what an alarm is known while it is open."""
    return alarm.task, alarm.fingerprint


def _due_times(
    alarms: Collection[Alarm],
    settings: NotificationSettings,
    now: datetime,
    severity: Severity | None = None,
) -> dict[tuple[str, str], datetime]:
    """Return when people may be told of these alarms: not again (as ``severity``) before the period has passed."""
    if not alarms:
        return {}
    names = {_subject_of(alarm) for alarm in alarms}
    told = _told_last(names, severity)
    period = timedelta(minutes=settings.alarm_period_minutes)
    return {name: max(now, told[name] + period) if name in told else now for name in names}


def _told_last(
    names: Collection[tuple[str, str]], severity: Severity | None
) -> Mapping[tuple[str, str], datetime]:
    """Return when people were last told of these tasks' findings, for those of which they were."""
    as_bad = {} if severity is None else {"key__contains": f":{severity.value}"}
    told = (
        Notification.objects.filter(
            kind=NotificationKind.ALARM,
            alarm__task__in={task for task, _fingerprint in names},
            alarm__fingerprint__in={fingerprint for _task, fingerprint in names},
            sent_at__isnull=False,
            **as_bad,
        )
        .order_by()
        .values("alarm__task", "alarm__fingerprint")
        .annotate(last=Max("sent_at"))
    )
    return {(row["alarm__task"], row["alarm__fingerprint"]): row["last"] for row in told}


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
    due = _due_times([alarm for alarm, _row in others], settings, now)
    for alarm, row in others:
        _tell_anew(alarm, run, row, now, due[_subject_of(alarm)])


def _note_worse(
    run: Run,
    worse: Sequence[tuple[Alarm, StoredFinding]],
    settings: NotificationSettings,
    now: datetime,
) -> None:
    """Tell of open alarms that got worse: at once, unless people were told lately that they are as bad."""
    due = _due_times([alarm for alarm, _row in worse], settings, now, Severity.CRITICAL)
    for alarm, row in worse:
        _tell_anew(alarm, run, row, now, due[_subject_of(alarm)])


def _tell_anew(alarm: Alarm, run: Run, row: StoredFinding, now: datetime, due_at: datetime) -> None:
    alarm.severity, alarm.sentence, alarm.run_id = row.severity, row.sentence, run.id
    alarm.save(update_fields=["severity", "sentence", "run_id"])
    alarm.notifications.filter(state=NotificationState.PENDING).update(
        state=NotificationState.DROPPED, reason="A message of a newer run says it."
    )
    channels = configuration().notifications.channels
    _write(alarm, NotificationKind.ALARM, channels, now, due_at)


def _note_eased(eased: Iterable[tuple[Alarm, StoredFinding]]) -> None:
    """Note that open alarms are less serious, which nobody is told, so that their next rise is one."""
    for alarm, row in eased:
        alarm.severity, alarm.sentence = row.severity, row.sentence
        alarm.save(update_fields=["severity", "sentence"])
        alarm.notifications.filter(state=NotificationState.PENDING, sent_at__isnull=True).update(
            state=NotificationState.DROPPED, reason=f"It is less serious now: {row.sentence}"
        )


def tell_again(found: Collection[Alarm], channels: Collection[str], now: datetime) -> None:
    """Write open alarms anew for the channels that were told of none, or whose message did not get there.

    Who was told of something worse is told: alarms that have eased are no news.
    """
    if not found:
        return
    lost: Counter[tuple[str, str]] = Counter()
    told = set()
    messages = Notification.objects.filter(kind=NotificationKind.ALARM, alarm__in=found)
    keys = {alarm.pk: _key(alarm, NotificationKind.ALARM) for alarm in found}
    ranks = {alarm.pk: _rank(alarm) for alarm in found}
    for alarm_id, written, channel, state in messages.values_list(
        "alarm", "key", "channel", "state"
    ):
        key = keys[alarm_id]
        if state in GONE:
            lost[key, channel] += 1
        elif (
            written.startswith(key)
            or key.startswith(f"{written}:")  # of before keys named the run
            or _severity_of(written).rank > ranks[alarm_id]
        ):
            told.add((key, channel))
    _store(
        message
        for alarm in found
        for channel in channels
        if (key := keys[alarm.pk], channel) not in told
        for message in _messages(
            alarm, NotificationKind.ALARM, (channel,), now, now, lost=lost[key, channel]
        )
    )


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


def resolve(alarm: Alarm, how: str, now: datetime, *, is_told: bool = True) -> None:
    """End an alarm, and tell it where the alarm was told; what was still held back is dropped.

    A message that waits for its server is not dropped: it comes with the one that says it is over.
    """
    alarm.resolved_at, alarm.resolution = now, how
    alarm.save(update_fields=["resolved_at", "resolution"])
    messages = Notification.objects.filter(alarm=alarm, kind=NotificationKind.ALARM)
    waiting = messages.filter(state=NotificationState.PENDING)
    (waiting.filter(due_at__gt=now, attempts=0) if is_told else waiting).update(
        state=NotificationState.DROPPED, reason=how
    )
    channels = sorted(set(messages.exclude(state__in=GONE).values_list("channel", flat=True)))
    if is_told:
        configured = configuration().notifications.channels
        in_use = [channel for channel in channels if channel in configured]
        _write(alarm, NotificationKind.RESOLVED, in_use, now, now)


def _write(
    alarm: Alarm,
    kind: NotificationKind,
    channels: Iterable[str],
    now: datetime,
    due_at: datetime,
) -> None:
    """Write a message to each channel, once for each run that raises the alarm, and once of its end."""
    _store(_messages(alarm, kind, channels, now, due_at))


def _store(messages: Iterable[Notification]) -> None:
    if rows := list(messages):
        Notification.objects.bulk_create(rows, ignore_conflicts=True)


def _messages(
    alarm: Alarm,
    kind: NotificationKind,
    channels: Iterable[str],
    now: datetime,
    due_at: datetime,
    *,
    lost: int = 0,
) -> Iterator[Notification]:
    """Yield a message to each channel. It is another one than the ``lost`` ones before it."""
    where = f" on {alarm.target}" if alarm.target else ""
    subject = f" ({alarm.subject})" if alarm.subject and alarm.subject != alarm.target else ""
    word = "Resolved" if kind is NotificationKind.RESOLVED else alarm.severity.capitalize()
    for channel in channels:
        yield Notification(
            kind=kind,
            key=_key(alarm, kind) + (f":{lost}" if lost else ""),
            channel=channel,
            alarm=alarm,
            title=f"{word}: {alarm.code}{where}{subject}"[:_TITLE_LENGTH],
            created_at=now,
            due_at=due_at,
        )


def _key(alarm: Alarm, kind: NotificationKind) -> str:
    """Return what a message tells: another one of the same is written only where this one was lost."""
    by = f":{alarm.run_id}" if kind is NotificationKind.ALARM and alarm.run_id else ""
    return f"{kind.value}:{alarm.pk}:{alarm.severity}{by}"


def _severity_of(key: str) -> Severity:
    return Severity(key.split(":")[2])


# --- The dead man's switch ---


def note_liveness(reports: Iterable[Report], *, are_all: bool = True) -> None:
    """Raise and resolve alarms of the scheduler and the queues, for whoever has just judged them.

    Nothing is resolved unless the reports ``are_all`` that there is to say. Schedules that are overdue together are one alarm. One query where all is well and nothing open.
    """
    settings = configuration().notifications
    if not settings.channels:
        return
    now = ledger_now()
    found = {
        finding.fingerprint(""): finding
        for report in reports
        for finding in _one_alarm_each(report)
        if finding.severity is Severity.CRITICAL
    }
    with ledger_transaction():
        open_alarms = {
            alarm.fingerprint: alarm
            for alarm in Alarm.objects.filter(task="", resolved_at__isnull=True)
        }
        fresh = [
            Alarm(
                code=finding.code,
                subject=finding.subject[:SUBJECT_LENGTH],
                fingerprint=fingerprint,
                severity=finding.severity.value,
                sentence=finding.sentence,
                advice=finding.advice,
                raised_at=now,
            )
            for fingerprint, finding in found.items()
            if fingerprint not in open_alarms
        ]
        _raise(fresh, settings, now)
        known = [open_alarms[name] for name in found if name in open_alarms]
        tell_again(known, settings.channels, now)
        for fingerprint, alarm in open_alarms.items():
            if are_all and fingerprint not in found:
                resolve(alarm, "It is at work again.", now)


def _one_alarm_each(report: Report) -> Sequence[Finding]:
    overdue = [finding for finding in report.findings if finding.code == "schedule-overdue"]
    if not overdue:
        return report.findings
    return (
        Finding(
            code="schedule-overdue",
            severity=Severity.CRITICAL,
            subject="schedules",
            sentence=report.summary,
            advice=overdue[0].advice,
        ),
    )
