"""Running a task by hand: choose it, set its options, confirm what writes, follow the run."""

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django_celery_beat.models import PeriodicTask

from maintenance.admin.base import MaintenanceAdmin
from maintenance.admin.option_fields import label_of
from maintenance.admin.plan_offer import plan_shown
from maintenance.admin.rights import (
    RUN_READING,
    VIEW_RUN,
    VIEW_SCHEDULE,
    Refused,
    permission_to_run,
    require,
    runnable_tasks,
)
from maintenance.admin.schedule_row import arguments_of
from maintenance.admin.starting import start_by_hand
from maintenance.admin.task_form import TaskForm
from maintenance.admin.wording import danger_words, moment, relative, task_words
from maintenance.conf import Configuration, configuration
from maintenance.core.errors import MaintenanceError, UnknownName
from maintenance.core.redaction import address_of
from maintenance.core.reports import Report
from maintenance.core.runs.conditions import require_leave
from maintenance.core.runs.fresh_plans import fresh_plan
from maintenance.core.runs.registry import TargetKind, TaskSpec, task_named
from maintenance.core.windows import closes_at, opens_at
from maintenance.models import Run
from maintenance.people import User, holds
from maintenance.reports.formatting import format_value
from maintenance.reports.plan_figures import figures_of

_SECTIONS = {
    TargetKind.DATABASE: "databases",
    TargetKind.REDIS: "redis",
    TargetKind.BROKER: "brokers",
    TargetKind.CACHE: "caches",
    TargetKind.HOST: "hosts",
    TargetKind.MEDIA: "media",
    TargetKind.SITE: "sites",
    TargetKind.LOG: "logs",
    TargetKind.DEPLOYMENT: "deployments",
    TargetKind.LOAD_TEST: "load_test",
}


def run_task_view(request: HttpRequest, model_admin: MaintenanceAdmin) -> HttpResponse:
    """Show the tasks, the form of one, or its confirmation; start the run and go to its page."""
    name = request.GET.get("task", "")
    if not name:
        return _choice(request, model_admin)
    try:
        spec = task_named(name)
    except UnknownName as error:
        return _choice(request, model_admin, fault=str(error), status=404)
    require(request.user, permission_to_run(spec))
    if request.method == "POST":
        return _answer(request, model_admin, spec)
    form = TaskForm(
        spec,
        configuration(),
        target=request.GET.get("target", ""),
        options=_options_of_schedule(request.user, request.GET.get("schedule", ""), spec)
        or _options_of_run(request.user, request.GET.get("run", ""), spec),
    )
    return _form_page(request, model_admin, spec, form)


def _answer(request: HttpRequest, model_admin: MaintenanceAdmin, spec: TaskSpec) -> HttpResponse:
    form = TaskForm(spec, configuration(), request.POST)
    if "change" in request.POST or not form.is_valid():
        return _form_page(request, model_admin, spec, form)
    try:
        options, plan = form.options, ""
        if "plan_first" in request.POST and spec.has_dry_run:
            options = {**options, "dry_run": True}
        elif form.changes_something:
            target = spec.resolve_target(configuration(), form.target)
            require_leave(spec, form.target, target)
            asked = request.POST.get("plan", "")
            plan = plan_shown(asked, spec, form.target, options)
            is_confirmed = _is_confirmed(request, spec) and plan == asked
            if not is_confirmed or _lacks_plan(spec, form):
                return _confirmation(request, model_admin, spec, form, plan)
        run = start_by_hand(request, model_admin, spec, form.target, options, plan=plan)
    except MaintenanceError as error:
        form.add_error(None, str(error))
        return _form_page(request, model_admin, spec, form)
    return redirect("admin:maintenance_run_change", run.id)


def _is_confirmed(request: HttpRequest, spec: TaskSpec) -> bool:
    """Tell whether a person has seen what is to be done, and ticked that it can do harm."""
    return "confirmed" in request.POST and (spec.dangerous is None or "understood" in request.POST)


def _lacks_plan(spec: TaskSpec, form: TaskForm) -> bool:
    """Tell whether the figures are missing without which nobody may confirm."""
    return spec.needs_plan and fresh_plan(spec, form.target, form.options) is None


def _choice(
    request: HttpRequest, model_admin: MaintenanceAdmin, fault: str = "", status: int = 200
) -> HttpResponse:
    tasks = runnable_tasks(request.user)
    if not tasks:
        raise Refused(RUN_READING)
    parsed = configuration()
    rows = [
        {
            "name": spec.short_name,
            "words": task_words(spec.name),
            "summary": spec.summary,
            "writes": spec.writes,
            "dangerous": bool(spec.dangerous),
            "targets": [name for name in spec.target_names(parsed) if name],
            "configured": is_configured(spec, parsed),
        }
        for spec in tasks
    ]
    groups = [
        (_("Tasks that only read"), [row for row in rows if not row["writes"]]),
        (
            _("Tasks that write to a target"),
            [row for row in rows if row["writes"] and not row["dangerous"]],
        ),
        (_("Tasks that can harm a site"), [row for row in rows if row["dangerous"]]),
    ]
    context = {
        **model_admin.page_context(request),
        "title": _("Run a task"),
        "groups": [(heading, tasks) for heading, tasks in groups if tasks],
        "fault": fault,
    }
    return TemplateResponse(
        request, "admin/maintenance/run/choose_task.html", context, status=status
    )


def _form_page(
    request: HttpRequest, model_admin: MaintenanceAdmin, spec: TaskSpec, form: TaskForm
) -> HttpResponse:
    parsed = configuration()
    asked_for = request.GET.get("target", "")
    context = {
        **model_admin.page_context(request),
        "title": _("Start “%(task)s”") % {"task": task_words(spec.name)},
        "spec": spec,
        "form": form,
        "configured": is_configured(spec, parsed),
        "section": _SECTIONS.get(spec.target_kind, ""),
        "unknown_target": asked_for if asked_for not in {"", *spec.target_names(parsed)} else "",
    }
    return TemplateResponse(request, "admin/maintenance/run/task_form.html", context)


def _confirmation(
    request: HttpRequest, model_admin: MaintenanceAdmin, spec: TaskSpec, form: TaskForm, plan: str
) -> HttpResponse:
    """Ask whether the task is to change something. ``plan`` is empty where the one that was seen holds no more."""
    context = {
        **model_admin.page_context(request),
        "title": _("Start “%(task)s” for real?") % {"task": task_words(spec.name)},
        "spec": spec,
        "form": form,
        "facts": _what_is_to_be_done(spec, form),
        "danger": danger_words(spec.dangerous),
        "is_unticked": "confirmed" in request.POST and not _is_confirmed(request, spec),
        "plan": plan,
        "is_other_plan": plan != request.POST.get("plan", ""),
        **(_plan_to_confirm(spec, form) if spec.needs_plan else {}),
    }
    return TemplateResponse(request, "admin/maintenance/run/confirm_task.html", context)


def _plan_to_confirm(spec: TaskSpec, form: TaskForm) -> dict[str, Any]:
    """Return what the confirmation shows of the plan without which there is none."""
    plan = fresh_plan(spec, form.target, form.options)
    if plan is None:
        return {"plan": "", "lacks_plan": True, "is_unticked": False}
    return {
        "plan": str(plan.id),
        "plan_age": relative(plan.finished_at or plan.queued_at, timezone.now()),
        "figures": figures_of(Report.from_json(plan.report.body)),
    }


def _options_of_schedule(user: User, key: str, spec: TaskSpec) -> dict[str, Any]:
    """Return the options of a schedule of the task; empty for whoever may not look at schedules."""
    rows = PeriodicTask.objects.filter(task=spec.name)
    row = rows.filter(pk=key).first() if key.isdecimal() else None
    return arguments_of(row)[1] if row is not None and holds(user, VIEW_SCHEDULE) else {}


def _options_of_run(user: User, key: str, spec: TaskSpec) -> dict[str, Any]:
    """Return what a run of the task was given, for one like it; empty for whoever may not look at runs."""
    try:
        run_id = uuid.UUID(key)
    except ValueError:
        return {}
    run = Run.objects.filter(id=run_id, task=spec.name).first()
    return dict(run.options) if run is not None and holds(user, VIEW_RUN) else {}


def _what_is_to_be_done(spec: TaskSpec, form: TaskForm) -> list[tuple[str, SafeString | str]]:
    address = target_address(spec, form.target, configuration())
    where = f"{form.target} ({address})" if address else form.target
    return [
        (_("task"), spec.name),
        (_("target"), where or _("the site itself")),
        *window_facts(spec, form.target, configuration()),
        (_("queue"), spec.queue),
        *(
            (label_of(name).lower(), format_value(name, value))
            for name, value in form.options.items()
        ),
    ]


def window_facts(
    spec: TaskSpec, name: str, parsed: Configuration
) -> list[tuple[str, SafeString | str]]:
    """Return whether a target's maintenance window is open; nothing for a target without any."""
    windows = parsed.windows_of(spec.target_kind.targets(parsed).get(name))
    now = timezone.now()
    if closes := closes_at(windows, now):
        return [(_("maintenance window"), format_html(_("open until {}"), moment(closes)))]
    if opens := opens_at(windows, now):
        words = _("closed until {}; a run by hand does not wait for it")
        return [(_("maintenance window"), format_html(words, moment(opens)))]
    return []


def is_configured(spec: TaskSpec, parsed: Configuration) -> bool:
    """Tell whether there is anything that the task can run on."""
    return spec.target_kind is TargetKind.NONE or any(spec.target_names(parsed))


def target_address(spec: TaskSpec, name: str, parsed: Configuration) -> str:
    """Return where a target is, without any secret; empty where its name says it all."""
    target = spec.target_kind.targets(parsed).get(name)
    if alias := getattr(target, "alias", ""):
        return _("connection “%(alias)s” of this site") % {"alias": alias}
    reference = getattr(target, "direct_url", None) or getattr(target, "url", None) or ""
    if "://" not in reference:  # env:NAME and file:/path name where the address is kept
        return str(reference)
    try:
        return address_of(reference)
    except ValueError:  # several hosts or no number for a port: the driver's own notation
        return ""
