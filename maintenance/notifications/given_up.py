"""What was given up after a day of attempts: named until it was told, or a week has passed."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, Q

from maintenance.core.attention.alarm_messages import GONE, tell_again
from maintenance.core.attention.mutes import silenced_alarms
from maintenance.core.findings import Finding, Severity
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.ledger_database import ledger_transaction
from maintenance.core.wording import counted
from maintenance.models import Alarm, Notification, NotificationKind, NotificationState

#: Nobody misses a digest or the end of an alarm for longer; an open alarm is named until it is told.
NAMED_FOR = timedelta(days=7)

# A test has told whoever sent it, and what a summary was to tell has failed with it.
_KINDS = (NotificationKind.ALARM, NotificationKind.RESOLVED, NotificationKind.DIGEST)


@ledger_transaction()
def tell_what_was_given_up(channel: str) -> None:
    """Write the open alarms anew of which a channel, which works again, was not told."""
    now = ledger_now()
    missed = [each.alarm_id for each in _missed(channel, now) if each.alarm_id]
    # The lock keeps the end of an alarm from being told before it.
    alarms = Alarm.objects.select_for_update().filter(resolved_at__isnull=True)
    tell_again(list(alarms.filter(id__in=missed)), (channel,), now)


def given_up_findings(channels: Collection[str]) -> Iterator[Finding]:
    """Yield a finding for each channel with messages that were given up and not told since."""
    now = ledger_now()
    for channel in channels:
        missed = _missed(channel, now)
        if missed:
            last, count = missed[0], len(missed)
            verb = "was" if count == 1 else "were"
            yield Finding(
                code="notification-given-up",
                severity=Severity.WARNING,
                subject=channel,
                sentence=(
                    f"{counted(count, 'message')} to {channel} {verb} given up, the last one"
                    f' "{last.title}": {last.reason}'
                ),
                evidence={"given_up": count},
                advice=(
                    "See the list of messages, filtered by what was given up. Alarms that are open are"
                    " told once the channel has taken another message, such as a test:"
                    " python manage.py maintenance notify --test"
                ),
            )


def _missed(channel: str, now: datetime) -> list[Notification]:
    """Return what was given up and not told since, the newest first, but for alarms that are muted by now."""
    told = Notification.objects.filter(
        alarm=OuterRef("alarm"), channel=channel, kind=OuterRef("kind")
    )
    is_told = Exists(told.exclude(state__in=GONE).filter(created_at__gt=OuterRef("created_at")))
    is_of_interest = Q(alarm__isnull=False, alarm__resolved_at__isnull=True) | Q(
        created_at__gt=now - NAMED_FOR
    )
    failed = Notification.objects.filter(
        is_of_interest, channel=channel, kind__in=_KINDS, state=NotificationState.FAILED
    )
    missed = list(failed.exclude(is_told).select_related("alarm").order_by("-created_at"))
    silenced = silenced_alarms({each.alarm for each in missed if each.alarm}, now)
    return [each for each in missed if each.alarm_id not in silenced]
