"""Who may do what, and the page that says so to somebody who may not."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from maintenance.core.runs.registry import TaskSpec, all_tasks, is_registered, task_named
from maintenance.models import Run
from maintenance.people import User, holds

if TYPE_CHECKING:
    from maintenance.admin.base import MaintenanceAdmin

RUN_READING = "maintenance.run_reading_task"
RUN_WRITING = "maintenance.run_writing_task"
RUN_DANGEROUS = "maintenance.run_dangerous_task"
CANCEL_RUN = "maintenance.cancel_run"
VIEW_RUN = "maintenance.view_run"
VIEW_SCHEDULE = "maintenance.view_schedulerow"
CHANGE_SCHEDULE = "maintenance.change_schedulerow"
CHANGE_PERIODIC_TASK = "django_celery_beat.change_periodictask"
ACCEPT_TARGET = "maintenance.add_acceptedtarget"
VIEW_FINDING = "maintenance.view_storedfinding"
MUTE_FINDING = "maintenance.add_mutedfinding"
SEND_TEST = "maintenance.add_notification"

#: What was refused, and the permission as the admin's own lists name it.
_REFUSALS = {
    RUN_READING: (_("You may not run tasks that only read."), _("Can run tasks that only read")),
    RUN_WRITING: (
        _("You may not run tasks that write to a target."),
        _("Can run tasks that write to a target"),
    ),
    RUN_DANGEROUS: (
        _("You may not run tasks that can harm a site."),
        _("Can run tasks that can harm a site"),
    ),
    CANCEL_RUN: (_("You may not cancel runs."), _("Can cancel runs")),
    VIEW_RUN: (_("You may not look at runs."), _("Can view run")),
    ACCEPT_TARGET: (
        _("You may not accept performance targets."),
        _("Can add performance target"),
    ),
    CHANGE_SCHEDULE: (_("You may not pause or resume schedules."), _("Can change schedule")),
    VIEW_FINDING: (_("You may not look at findings."), _("Can view finding")),
    MUTE_FINDING: (_("You may not mute findings."), _("Can add muted finding")),
    SEND_TEST: (_("You may not send test messages."), _("Can add message")),
    VIEW_SCHEDULE: (_("You may not look at schedules."), _("Can view schedule")),
}

P = ParamSpec("P")
AdminT = TypeVar("AdminT", bound="MaintenanceAdmin")


class Refused(PermissionDenied):
    """A person lacks ``permission``; :func:`explains_refusals` turns it into a page."""

    def __init__(self, permission: str) -> None:
        self.sentence, self.permission_name = _REFUSALS[permission]
        super().__init__(str(self.sentence))


def require(user: User, permission: str) -> None:
    """Raise :class:`Refused` for a person without ``permission``."""
    if not holds(user, permission):
        raise Refused(permission)


def permission_to_run(spec: TaskSpec) -> str:
    """Return the permission that a task needs: a dry run of a task that writes needs it, too."""
    if spec.dangerous:
        return RUN_DANGEROUS
    return RUN_WRITING if spec.writes else RUN_READING


def permission_to_switch_on(task: str) -> str:
    """Return the permission that switching on a schedule of a task needs, which somebody has switched off.

    It is the one to run the task: the schedule will. Of a task that is not ours it is the one to edit the row.
    """
    return permission_to_run(task_named(task)) if is_registered(task) else CHANGE_PERIODIC_TASK


def runnable_tasks(user: User) -> list[TaskSpec]:
    """Return the tasks that a person may run by hand, by name."""
    permissions = (RUN_READING, RUN_WRITING, RUN_DANGEROUS)
    allowed = {permission for permission in permissions if holds(user, permission)}
    return [spec for spec in all_tasks() if permission_to_run(spec) in allowed]


def may_cancel(user: User, run: Run) -> bool:
    """Tell whether there is something to cancel and the person may."""
    return not run.is_finished and not run.cancel_requested and holds(user, CANCEL_RUN)


def explains_refusals(
    method: Callable[Concatenate[AdminT, HttpRequest, P], HttpResponse],
) -> Callable[Concatenate[AdminT, HttpRequest, P], HttpResponse]:
    """Decorate a page of a ``MaintenanceAdmin``: a refusal is a sentence and not an empty 403."""

    @wraps(method)
    def explained(
        admin: AdminT, request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs
    ) -> HttpResponse:
        try:
            return method(admin, request, *args, **kwargs)
        except PermissionDenied as refusal:
            context = {
                **admin.page_context(request),
                "title": _("Not permitted"),
                "refusal": refusal if isinstance(refusal, Refused) else None,
            }
            return TemplateResponse(request, "admin/maintenance/refused.html", context, status=403)

    return explained
