"""The dead man's switch as alarms: a scheduler or queues that stand still, told as a run's findings are."""

from collections.abc import Iterable, Sequence

from maintenance.conf import configuration
from maintenance.core.attention.alarm_messages import raise_alarms, resolve, tell_again
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.ledger_database import ledger_transaction
from maintenance.models import SUBJECT_LENGTH, Alarm


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
        raise_alarms(fresh, settings, now)
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
