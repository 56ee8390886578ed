"""Sending what waits, message by message: the work of the task ``send_notifications``.

What is promised: a message is written once, since its key is unique, and delivered at least once. A
worker that dies between the answer of a mail server and the note of it sends that one message again, and
nothing else does. Twice costs a glance, not at all may cost a night; and both copies have one Message-ID.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from celery.exceptions import SoftTimeLimitExceeded
from django.db import Error as LedgerError
from django.db.models import Max, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from maintenance.conf import NotificationSettings, configuration
from maintenance.core.attention.mutes import silenced_alarms
from maintenance.core.errors import Skipped
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.redaction import redact
from maintenance.core.reports import Report
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.ledger_database import ledger_transaction
from maintenance.core.wording import counted
from maintenance.models import Notification, NotificationKind, NotificationState
from maintenance.notifications.given_up import given_up_findings, tell_what_was_given_up
from maintenance.notifications.pacing import HOUR, Waiting, allot, is_given_up, pause_after
from maintenance.notifications.transports import Unsent, send
from maintenance.notifications.wording import message_of

#: A message takes seconds; whoever has not noted its end by then is dead.
CLAIM = timedelta(minutes=5)
#: Messages that one run reads and sends; the next one goes on.
MOST_AT_ONCE = 500

_LIMITED = (NotificationKind.ALARM, NotificationKind.RESOLVED)
# What somebody has taken counts for its hour already.
_IS_LIMITED = Q(kind__in=_LIMITED, sent_at__isnull=True)


@dataclass(slots=True)
class _Tally:
    sent: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    partly: dict[str, str] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    given_up: Counter[str] = field(default_factory=Counter)
    held: int = 0
    dropped: int = 0


def send_notifications(job: Job[None, NoOptions]) -> Report:
    """Send every message that is due. Raises ``Skipped`` where nobody is to be told of anything.

    A channel that fails is left alone for the rest of the run, and what waits for it is tried again later.
    """
    settings = configuration().notifications
    if not settings.channels:
        raise Skipped("not configured: [notifications] names nobody who is to be told")
    tally = _Tally()
    _drop_unconfigured(settings, tally)
    for channel in settings.channels:
        may_leave = Q(id__in=_pace(channel, settings, tally)) | ~_IS_LIMITED
        for waiting in list(_due(channel).filter(may_leave)[:MOST_AT_ONCE]):
            if channel in tally.reasons:
                break
            job.progress.check()  # a worker that lost this run sends nothing more
            _send_one(waiting, settings, tally)
        if tally.sent[channel]:
            tell_what_was_given_up(channel)
    return _report(tally, settings)


def _due(channel: str) -> QuerySet[Notification]:
    """Return what is due, in the order in which it was written, and what a dead sender left behind."""
    now = ledger_now()
    waits = Q(state=NotificationState.PENDING, due_at__lte=now)
    left = Q(state=NotificationState.SENDING, claimed_until__lte=now)
    due = Notification.objects.filter(waits | left, channel=channel)
    return due.select_related("alarm").order_by("created_at", "kind", "title")


def _drop_unconfigured(settings: NotificationSettings, tally: _Tally) -> None:
    open_ones = Notification.objects.filter(
        state__in=(NotificationState.PENDING, NotificationState.SENDING)
    ).exclude(channel__in=settings.channels)
    reason = "Its channel is not configured any more."
    for summary in open_ones.filter(kind=NotificationKind.SUMMARY):
        _lose_summed_up(summary, NotificationState.DROPPED, reason)
    tally.dropped += open_ones.update(state=NotificationState.DROPPED, reason=reason)


# --- Rate limits ---


def _pace(channel: str, settings: NotificationSettings, tally: _Tally) -> list[UUID]:
    """Drop what is not wanted any more, and hold back or sum up what is too much for an hour.

    Looks at all alarms that are due, and returns those that may leave by themselves.
    """
    now = ledger_now()
    due = _without_muted(_due(channel).filter(_IS_LIMITED), now, tally)
    if not due:
        return []
    told = Notification.objects.filter(channel=channel, sent_at__gt=now - HOUR)
    last_summary = Notification.objects.filter(
        channel=channel, kind=NotificationKind.SUMMARY
    ).aggregate(last=Max("created_at"))["last"]
    allotment = allot(
        [_waiting(each) for each in due],
        settings.alarms_per_hour,
        told.filter(kind__in=_LIMITED).count(),
        last_summary,
        now,
    )
    by_id = {each.id: each for each in due}
    if allotment.summed_up:
        _sum_up(channel, [by_id[each.id] for each in allotment.summed_up], now)
    if allotment.held:
        held = [each.id for each in allotment.held]
        tally.held += Notification.objects.filter(_is_free(now), id__in=held).update(
            state=NotificationState.PENDING, due_at=allotment.wait_until, claimed_until=None
        )
    return [each.id for each in allotment.single]


def _waiting(each: Notification) -> Waiting:
    severity = each.alarm.severity if each.alarm else "info"
    # That something is over can wait longer than that something has begun.
    rank = Severity(severity).rank if each.kind == NotificationKind.ALARM else 0
    return Waiting(each.id, rank, each.created_at)


def _without_muted(due: Iterable[Notification], now: datetime, tally: _Tally) -> list[Notification]:
    """Drop the messages of alarms whose findings were muted before they were told; return the rest."""
    rest = list(due)
    alarms = {each.alarm for each in rest if each.alarm and each.kind == NotificationKind.ALARM}
    silenced = silenced_alarms(alarms, now)
    muted = {
        each.id
        for each in rest
        if each.kind == NotificationKind.ALARM and each.alarm_id in silenced
    }
    if not muted:
        return rest
    tally.dropped += Notification.objects.filter(id__in=muted).update(
        state=NotificationState.DROPPED, reason="It was muted before it was told."
    )
    return [each for each in rest if each.id not in muted]


@ledger_transaction()
def _sum_up(channel: str, messages: Sequence[Notification], now: datetime) -> None:
    """Write one message in the place of many."""
    lines = [
        {
            "kind": each.kind,
            "severity": each.alarm.severity,
            "sentence": each.alarm.sentence,
            "run_id": str(each.alarm.run_id or ""),
            "fingerprint": each.alarm.fingerprint,
        }
        for each in messages
        if each.alarm is not None
    ]
    name = uuid4()
    title = f"{counted(len(lines), 'more alarm')} in the last hour"
    Notification.objects.create(
        id=name,
        kind=NotificationKind.SUMMARY,
        key=f"summary:{name}",
        channel=channel,
        title=title,
        content={"lines": lines, "messages": [str(each.id) for each in messages]},
        created_at=now,
        due_at=now,
    )
    Notification.objects.filter(id__in=[each.id for each in messages]).update(
        state=NotificationState.SUMMED_UP, reason=f"In the message: {title}."
    )


def _lose_summed_up(summary: Notification, state: NotificationState, reason: str) -> None:
    """Let what a lost summary would have told end like it: its open alarms are then written anew."""
    told_there = Notification.objects.filter(id__in=summary.content.get("messages", ()))
    told_there.update(state=state, reason=reason)


# --- One message ---


def _send_one(waiting: Notification, settings: NotificationSettings, tally: _Tally) -> None:
    if not _claim(waiting):
        return
    unsent = _attempt(waiting, settings)
    if unsent:
        _note_failure(waiting, unsent, tally)
        return
    Notification.objects.filter(id=waiting.id).update(
        state=NotificationState.SENT,
        sent_at=Coalesce("sent_at", ledger_now()),
        reason="",
        claimed_until=None,
    )
    tally.sent[waiting.channel] += 1


def _attempt(waiting: Notification, settings: NotificationSettings) -> Unsent | None:
    """Send a message; return why it did not leave, or not to everybody, and nothing where it did."""
    try:
        send(
            message_of(waiting),
            waiting.channel,
            settings,
            str(waiting.id),
            _StoredReceipts(waiting),
        )
    except Unsent as error:
        return error
    except (SoftTimeLimitExceeded, LedgerError):
        raise  # they end the run, and the message is taken up again after its claim
    except Exception as error:  # noqa: BLE001 - one message, such as a site's own template of it
        return Unsent(f"It cannot be put into words: {type(error).__name__}: {error}")
    return None


@dataclass(frozen=True, slots=True)
class _StoredReceipts:
    """Who has taken a message, on its row: a worker that dies between two of them tells none twice."""

    waiting: Notification

    def __contains__(self, receiver: str) -> bool:
        return receiver in self.waiting.taken_by

    def __len__(self) -> int:
        return len(self.waiting.taken_by)

    def add(self, receiver: str) -> None:
        waiting = self.waiting
        waiting.taken_by = [*waiting.taken_by, receiver]
        waiting.sent_at = waiting.sent_at or ledger_now()
        waiting.save(update_fields=["taken_by", "sent_at"])


def _claim(waiting: Notification) -> bool:
    """Take a message for this attempt; return whether nobody else has it."""
    now = ledger_now()
    waiting.attempts += 1
    waiting.first_attempt_at = waiting.first_attempt_at or now
    return bool(
        Notification.objects.filter(_is_free(now), id=waiting.id).update(
            state=NotificationState.SENDING,
            attempts=waiting.attempts,
            first_attempt_at=Coalesce("first_attempt_at", now),
            claimed_until=now + CLAIM,
        )
    )


def _is_free(now: datetime) -> Q:
    left = Q(state=NotificationState.SENDING, claimed_until__lte=now)
    return Q(state=NotificationState.PENDING) | left


def _note_failure(waiting: Notification, unsent: Unsent, tally: _Tally) -> None:
    """Let a message wait for its next attempt; a test is not tried again, nor what was for a day.

    What somebody has taken is sent then, with the reason why others have not.
    """
    now, reason = ledger_now(), redact(str(unsent))
    is_test = waiting.kind == NotificationKind.TEST
    is_lost = is_test or not waiting.taken_by
    end = NotificationState.FAILED if is_lost else NotificationState.SENT
    over = is_test or is_given_up(waiting.first_attempt_at or now, now)
    if over and is_lost and waiting.kind == NotificationKind.SUMMARY:
        _lose_summed_up(waiting, NotificationState.FAILED, reason)
    Notification.objects.filter(id=waiting.id).update(
        state=end if over else NotificationState.PENDING,
        due_at=now + pause_after(waiting.attempts),
        claimed_until=None,
        reason=reason,
    )
    (tally.partly if unsent.others_are_reached else tally.reasons)[waiting.channel] = reason
    (tally.given_up if over and is_lost else tally.failed)[waiting.channel] += 1


# --- The report ---


def _report(tally: _Tally, settings: NotificationSettings) -> Report:
    findings = [*_unsent(tally)]
    # Where something was given up just now, the finding of its channel has it.
    before = [channel for channel in settings.channels if not tally.given_up[channel]]
    findings += given_up_findings(before)
    sent = tally.sent.total()
    parts = [f"{counted(sent, 'message')} {'was' if sent == 1 else 'were'} sent."]
    if tally.held:
        parts.append(f"{counted(tally.held, 'alarm')} held back until the hour has passed.")
    if tally.dropped:
        parts.append(f"{counted(tally.dropped, 'message')} not needed any more.")
    parts += [finding.sentence for finding in findings]
    return Report(
        title="Messages",
        summary=" ".join(parts),
        findings=tuple(findings),
        facts={f"sent_{channel}_messages": count for channel, count in sorted(tally.sent.items())},
    )


def _unsent(tally: _Tally) -> Iterable[Finding]:
    for channel, reason in {**tally.partly, **tally.reasons}.items():
        waiting = Notification.objects.filter(channel=channel, state=NotificationState.PENDING)
        following = waiting.order_by("due_at").values_list("due_at", flat=True).first()
        rest = (
            f"{counted(waiting.count(), 'message waits', 'messages wait')}, until"
            f" {timezone.localtime(following):%Y-%m-%d %H:%M %Z} at first."
            if following
            else "Nothing else waits for it."
        )
        fault = (
            f"Nothing can be sent to {channel}"
            if channel in tally.reasons
            else f"Not everybody on {channel} is reached"
        )
        given_up = tally.given_up[channel]
        lost = f" {counted(given_up, 'message')} given up." if given_up else ""
        yield Finding(
            code="notification-unsent",
            severity=Severity.WARNING,
            subject=channel,
            sentence=f"{fault}: {reason} {rest}{lost}",
            evidence={"waiting": waiting.count(), "given_up": given_up},
            advice="Mend the channel, then send a test: python manage.py maintenance notify --test",
        )


def write_test(by: str) -> list[Notification]:
    """Write a test message for each channel. Raises ``Skipped`` where none is configured."""
    settings = configuration().notifications
    if not settings.channels:
        raise Skipped("not configured: [notifications] names nobody who is to be told")
    now = ledger_now()
    name = uuid4()
    return Notification.objects.bulk_create(
        Notification(
            kind=NotificationKind.TEST,
            key=f"test:{name}",
            channel=channel,
            title="Test: messages arrive",
            content={"by": by},
            created_at=now,
            due_at=now,
        )
        for channel in settings.channels
    )
