"""Pausing schedules and resuming them: who, when and why stand beside the schedule."""

from collections.abc import Iterable

from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from maintenance.core.runs.ledger_database import ledger_transaction
from maintenance.core.scheduling.policies import Policy, pauses
from maintenance.core.scheduling.schedule_versions import default_policy, policy_of
from maintenance.models import Run, RunState, SchedulePolicy

#: Who pauses a schedule whose runs fail.
SCHEDULER = "the scheduler"


@ledger_transaction()
def pause(row: PeriodicTask, actor: str, reason: str) -> bool:
    """Let the slots of a schedule be skipped, with the reason; return whether that changed anything.

    A schedule that is paused already keeps who paused it and why.
    """
    defaults = {"overlap": policy_of(row).overlap}
    policy, _is_new = SchedulePolicy.objects.select_for_update().get_or_create(
        row_id=row.pk, defaults=defaults
    )
    if policy.paused_at is not None:
        return False
    policy.paused_at, policy.paused_by, policy.pause_reason = timezone.now(), actor, reason
    policy.save()
    return True


@ledger_transaction()
def resume(row: PeriodicTask) -> bool:
    """Let a paused schedule run again, from its next slot on; return whether it was paused."""
    policy = SchedulePolicy.objects.select_for_update().filter(row_id=row.pk).first()
    if policy is None or policy.paused_at is None:
        return False
    policy.paused_at, policy.paused_by, policy.pause_reason = None, "", ""
    policy.save()
    return True


@ledger_transaction()
def bring_defaults_back(policies: Iterable[SchedulePolicy]) -> list[PeriodicTask]:
    """Delete policies. Schedules that are paused stay so, by a policy of defaults, and are returned."""
    names = [policy.pk for policy in policies]
    found = SchedulePolicy.objects.select_for_update(of=("self",)).filter(pk__in=names)
    kept = [policy for policy in found.select_related("row") if policy.paused_at is not None]
    found.delete()
    for policy in kept:
        SchedulePolicy.objects.create(
            row_id=policy.pk,
            overlap=default_policy(policy.row.task).overlap,
            paused_at=policy.paused_at,
            paused_by=policy.paused_by,
            pause_reason=policy.pause_reason,
        )
    return [policy.row for policy in kept]


def failures_in_a_row(row: PeriodicTask, policy: Policy) -> str:
    """Say why a schedule has to be paused for its failures; empty where it need not be.

    Failures count since its policy was changed, so that one which is resumed gets its chances again.
    Costs a query.
    """
    ended = Run.objects.filter(
        schedule=row.name,
        state__in=[RunState.SUCCEEDED, RunState.FAILED],
        finished_at__gt=row.maintenance_policy.changed_at,
    ).order_by("-finished_at")
    last: list[str] = list(ended.values_list("state", flat=True)[: policy.pause_after_failures])
    return pauses(policy, last)
