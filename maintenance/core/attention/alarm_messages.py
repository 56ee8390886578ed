"""What people are told of alarms: when, on which channels, and once.

A message is a row before it is sent (:mod:`maintenance.notifications.delivery`), so that a mail server
that is down holds up no run, and a worker that dies loses none.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from django.db.models import Max

from maintenance.conf import NotificationSettings, configuration
from maintenance.core.findings import Severity
from maintenance.models import (
    Alarm,
    Notification,
    NotificationKind,
    NotificationState,
    Run,
    StoredFinding,
)

#: Ends of messages of which nobody was told.
GONE = (NotificationState.DROPPED, NotificationState.FAILED)

#: A title stands in a subject line and in a list.
_TITLE_LENGTH = 300


def raise_alarms(fresh: Sequence[Alarm], settings: NotificationSettings, now: datetime) -> None:
    """Write alarms that are not open yet, each with its messages; another run may be faster."""
    if not fresh:
        return
    Alarm.objects.bulk_create(fresh, ignore_conflicts=True)
    due = due_times(fresh, settings, now)
    written = Alarm.objects.filter(
        task__in={alarm.task for alarm in fresh},
        fingerprint__in=[alarm.fingerprint for alarm in fresh],
        resolved_at__isnull=True,
        raised_at=now,
    )
    _store(
        message
        for alarm in written
        if subject_of(alarm) in due
        for message in _messages(
            alarm, NotificationKind.ALARM, settings.channels, now, due[subject_of(alarm)]
        )
    )


def rank_of(of: Alarm | StoredFinding) -> int:
    """Return how serious something is: more is worse."""
    return Severity(of.severity).rank


def subject_of(alarm: Alarm) -> tuple[str, str]:
    """Return by what an alarm is known while it is open."""
    return alarm.task, alarm.fingerprint


def due_times(
    alarms: Collection[Alarm],
    settings: NotificationSettings,
    now: datetime,
    severity: Severity | None = None,
) -> dict[tuple[str, str], datetime]:
    """Return when people may be told of these alarms: not again (as ``severity``) before the period has passed."""
    if not alarms:
        return {}
    names = {subject_of(alarm) for alarm in alarms}
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


def tell_anew(alarm: Alarm, run: Run, row: StoredFinding, now: datetime, due_at: datetime) -> None:
    """Let an open alarm say what ``run`` found, and tell that at ``due_at`` instead of what still waits."""
    alarm.severity, alarm.sentence, alarm.run_id = row.severity, row.sentence, run.id
    alarm.save(update_fields=["severity", "sentence", "run_id"])
    alarm.notifications.filter(state=NotificationState.PENDING).update(
        state=NotificationState.DROPPED, reason="A message of a newer run says it."
    )
    channels = configuration().notifications.channels
    _write(alarm, NotificationKind.ALARM, channels, now, due_at)


def note_eased(eased: Iterable[tuple[Alarm, StoredFinding]]) -> None:
    """Note that open alarms are less serious, which nobody is told, so that their next rise is one."""
    for alarm, row in eased:
        alarm.severity, alarm.sentence = row.severity, row.sentence
        alarm.save(update_fields=["severity", "sentence"])
        alarm.notifications.filter(state=NotificationState.PENDING, sent_at__isnull=True).update(
            state=NotificationState.DROPPED, reason=f"It is less serious now: {row.sentence}"
        )


def tell_again(found: Collection[Alarm], channels: Collection[str], now: datetime) -> None:
    """Write open alarms anew for the channels that were told of none, or whose message did not get there.

    Who was told of something worse is told: alarms that have eased are no news. What replaces a message that
    waited for its time, and was never tried, waits for that time too.
    """
    if not found:
        return
    lost: Counter[tuple[str, str]] = Counter()
    told = set()
    waited: dict[tuple[str, str], datetime] = {}
    messages = Notification.objects.filter(kind=NotificationKind.ALARM, alarm__in=found)
    keys = {alarm.pk: _key(alarm, NotificationKind.ALARM) for alarm in found}
    ranks = {alarm.pk: rank_of(alarm) for alarm in found}
    for alarm_id, written, channel, state, attempts, due_at in messages.values_list(
        "alarm", "key", "channel", "state", "attempts", "due_at"
    ):
        key = keys[alarm_id]
        if state in GONE:
            lost[key, channel] += 1
            if not attempts:
                waited[key, channel] = max(due_at, waited.get((key, channel), now))
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
            alarm,
            NotificationKind.ALARM,
            (channel,),
            now,
            waited.get((key, channel), now),
            lost=lost[key, channel],
        )
    )


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
