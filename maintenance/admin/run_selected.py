"""Running the tasks of several schedules at once, after a look at the list of them."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from maintenance.admin.base import MaintenanceAdmin
from maintenance.admin.rights import permission_to_run
from maintenance.admin.schedule_row import arguments_of
from maintenance.admin.starting import start_by_hand
from maintenance.admin.wording import danger_words, task_words
from maintenance.core.errors import MaintenanceError, UnknownName
from maintenance.core.runs.registry import TaskSpec, task_named
from maintenance.models import ScheduleRow
from maintenance.people import User, holds


@dataclass(frozen=True, slots=True)
class Candidate:
    """One selected row: ``refusal`` says why it cannot be run, empty where it can."""

    row: ScheduleRow
    words: str
    target: str
    options: dict[str, Any]
    spec: TaskSpec | None
    refusal: str

    @property
    def writes(self) -> bool:
        """Whether the task changes its target."""
        return self.spec is not None and self.spec.writes

    @property
    def danger(self) -> str:
        """What a person must have understood before it runs for real, empty where it is harmless."""
        return danger_words(self.spec.dangerous) if self.spec else ""


def run_selected_view(
    request: HttpRequest, model_admin: MaintenanceAdmin, rows: list[ScheduleRow]
) -> HttpResponse | None:
    """Show what would run; once confirmed, run it. ``None`` returns to the list."""
    candidates = [_candidate(row, request.user) for row in rows]
    runnable = [candidate for candidate in candidates if not candidate.refusal]
    some_harm = any(candidate.danger for candidate in runnable)
    dry_run = "dry_run" in request.POST
    is_understood = dry_run or not some_harm or "understood" in request.POST
    if "confirmed" in request.POST and is_understood:
        return _run(request, model_admin, runnable, dry_run=dry_run)
    context = {
        **model_admin.page_context(request),
        "title": _("Run these now?"),
        "candidates": candidates,
        "runnable": runnable,
        "some_write": any(candidate.writes for candidate in runnable),
        "some_harm": some_harm,
        "is_unticked": "confirmed" in request.POST,
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "admin/maintenance/schedulerow/confirm_run.html", context)


def _candidate(row: ScheduleRow, user: User) -> Candidate:
    target, options = arguments_of(row)
    spec: TaskSpec | None = None
    refusal = ""
    try:
        spec = task_named(str(row.task))
    except UnknownName as error:
        refusal = str(error)
    else:
        if not holds(user, permission_to_run(spec)):
            refusal = _("You may not run this task.")
    return Candidate(row, task_words(str(row.task)), target, options, spec, refusal)


def _run(
    request: HttpRequest,
    model_admin: MaintenanceAdmin,
    candidates: list[Candidate],
    *,
    dry_run: bool,
) -> HttpResponse | None:
    started = 0
    for candidate in candidates:
        spec = candidate.spec
        if spec is None:
            continue
        if dry_run and spec.writes and not spec.has_dry_run:
            sentence = _("“%(task)s” has no dry run and was left out.") % {"task": candidate.words}
            messages.warning(request, sentence)
            continue
        if spec.needs_plan and not dry_run:
            sentence = _("“%(task)s” is confirmed on its plan alone, and was left out.")
            messages.warning(request, sentence % {"task": candidate.words})
            continue
        options = dict(candidate.options)
        if spec.writes and spec.has_dry_run:
            options["dry_run"] = dry_run
        try:
            start_by_hand(request, model_admin, spec, candidate.target, options)
        except MaintenanceError as error:
            messages.error(request, f"{candidate.words}: {error}")
        else:
            started += 1
    if not started:
        return None
    messages.success(
        request,
        ngettext("%(count)d run is started.", "%(count)d runs are started.", started)
        % {"count": started},
    )
    return redirect("admin:maintenance_run_changelist")
