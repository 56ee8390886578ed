"""Pausing schedules and resuming them: who, when and why stand beside the schedule."""

from django.db import transaction
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from maintenance.models import SchedulePolicy


@transaction.atomic
def pause(row: PeriodicTask, actor: str, reason: str) -> bool:
    """Let the slots of a schedule be skipped, with the reason; return whether that changed anything.

    A schedule that is paused already keeps who paused it and why.
    """
    policy, _is_new = SchedulePolicy.objects.select_for_update().get_or_create(row_id=row.pk)
    if policy.paused_at is not None:
        return False
    policy.paused_at, policy.paused_by, policy.pause_reason = timezone.now(), actor, reason
    policy.save()
    return True


@transaction.atomic
def resume(row: PeriodicTask) -> bool:
    """Let a paused schedule run again, from its next slot on; return whether it was paused."""
    policy = SchedulePolicy.objects.select_for_update().filter(row_id=row.pk).first()
    if policy is None or policy.paused_at is None:
        return False
    policy.paused_at, policy.paused_by, policy.pause_reason = None, "", ""
    policy.save()
    return True
