"""Writing a digest: the work of the task ``send_digest``. ``send_notifications`` sends it."""

from datetime import datetime

from maintenance.conf import configuration
from maintenance.core.errors import Skipped
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.wording import counted
from maintenance.models import Notification, NotificationKind
from maintenance.notifications.digest_look import digest
from maintenance.notifications.digest_message import digest_message
from maintenance.notifications.periods import SPANS, DigestOptions


def send_digest(job: Job[None, DigestOptions]) -> Report:
    """Write the digest for each channel, once a run. Raises ``Skipped`` where nobody wants one."""
    settings = configuration().notifications
    period = job.options.period
    if not settings.channels:
        raise Skipped("not configured: [notifications] names nobody who is to be told")
    if period not in settings.digests:
        raise Skipped(f"not configured: notifications.digests does not name the {period} one")
    until = ledger_now()
    before = job.previous_state.get(period)
    since = datetime.fromisoformat(before) if before else until - SPANS[period]
    job.progress.update(0, 2, phase="reading the ledger")
    found, pictures = digest(period, since, until)
    message = digest_message(found, pictures)
    job.progress.update(1, 2, phase="writing the digest")
    Notification.objects.bulk_create(
        (
            Notification(
                kind=NotificationKind.DIGEST,
                key=f"digest:{job.run_id or until.isoformat()}",
                channel=channel,
                title=message.subject,
                content=message.to_json(),
                created_at=until,
                due_at=until,
            )
            for channel in settings.channels
        ),
        ignore_conflicts=True,
    )
    return Report(
        title=f"{period.capitalize()} digest",
        summary=f"Written for {counted(len(settings.channels), 'channel')}. {found.headline}",
        facts={
            "since": since.isoformat(),
            "new_count": sum(entry.alike for entry in found.new),
            "still_there_count": sum(entry.alike for entry in found.old),
            "fixed_count": len(found.gone),
            "not_looked_at_count": len(found.gaps),
            "muted_count": found.muted,
        },
        state={**job.previous_state, period: until.isoformat()},
    )
