"""The list of schedules: what runs when, what came of it last, pause, resume and run now."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_celery_beat.models import PeriodicTask

from maintenance.admin.base import MaintenanceAdmin
from maintenance.admin.calendar_page import calendar_file, calendar_view
from maintenance.admin.filters import Choices, CompactFilter, TaskFilter
from maintenance.admin.latest_runs import latest_runs
from maintenance.admin.pausing import pause_selected_view, resume_selected
from maintenance.admin.rights import VIEW_SCHEDULE, explains_refusals, require, runnable_tasks
from maintenance.admin.run_selected import run_selected_view
from maintenance.admin.schedule_row import Timing, arguments_of, checklist_of, timing_of
from maintenance.admin.signs import outcome_badge
from maintenance.admin.wording import moment, relative, task_words
from maintenance.conf import configuration
from maintenance.core.findings import Severity
from maintenance.core.liveness_look import leader_report
from maintenance.core.registry import PREFIX
from maintenance.core.schedule_sync import NAME_PREFIX, Difference, differences
from maintenance.models import Run, SchedulePolicy, ScheduleRow
from maintenance.schedules import CHECKLISTS

#: The page of django-celery-beat's own admin, which a project may have unregistered.
EDIT_PAGE = "admin:django_celery_beat_periodictask_change"

#: Daily before weekly before monthly, and an operator's own rows last.
_CHECKLIST_RANK = Case(
    *(
        When(name__startswith=f"{NAME_PREFIX}{checklist} ", then=Value(rank))
        for rank, checklist in enumerate(CHECKLISTS)
    ),
    default=Value(len(CHECKLISTS)),
    output_field=IntegerField(),
)


@dataclass(frozen=True, slots=True)
class RowFacts:
    """All that a line of the list shows and the row itself does not hold."""

    target: str
    timing: Timing
    last_run: Run | None
    edits: tuple[Difference, ...]
    policy: SchedulePolicy | None
    may_run: bool
    edit_url: str
    policy_url: str
    now: datetime

    @property
    def is_paused(self) -> bool:
        """Whether its slots are skipped until somebody resumes it."""
        return self.policy is not None and self.policy.paused_at is not None


class ScheduleList(ChangeList):
    """Gathers the facts of all rows of a page at once: one query each, however many rows."""

    def get_results(self, request: HttpRequest) -> None:
        """Attach :class:`RowFacts` to every row of the page."""
        super().get_results(request)
        rows: list[ScheduleRow] = list(self.result_list)
        pairs = {row.pk: (str(row.task), arguments_of(row)[0]) for row in rows}
        newest = latest_runs(pairs.values())
        edits = _edits()
        runnable = {spec.name for spec in runnable_tasks(request.user)}
        may_edit = may_edit_periodic_tasks(self.model_admin.admin_site, request)
        policies = PolicyPages(self.model_admin.admin_site, request)
        now = timezone.now()
        for row in rows:
            row.__dict__["facts"] = RowFacts(
                target=pairs[row.pk][1],
                timing=timing_of(row, now),
                last_run=newest.get(pairs[row.pk]),
                edits=tuple(edits.get(str(row.name), ())),
                policy=policy_of(row),
                may_run=row.task in runnable,
                edit_url=reverse(EDIT_PAGE, args=[row.pk]) if may_edit else "",
                policy_url=policies.of(row),
                now=now,
            )
        self.result_list = rows


def policy_of(row: PeriodicTask) -> SchedulePolicy | None:
    """Return the policy of a row that has one of its own."""
    policy: SchedulePolicy | None = getattr(row, "maintenance_policy", None)
    return policy


class PolicyPages:
    """Where a person of this request looks at the policy of a row, or gives it one."""

    def __init__(self, site: admin.AdminSite, request: HttpRequest) -> None:
        self._may_view = self._may_add = False
        if site.is_registered(SchedulePolicy):
            pages = site.get_model_admin(SchedulePolicy)
            self._may_view = pages.has_view_or_change_permission(request)
            self._may_add = pages.has_add_permission(request)

    def of(self, row: ScheduleRow) -> str:
        """Return the address, empty where there is nothing to see or do."""
        if policy_of(row) is not None:
            if not self._may_view:
                return ""
            return reverse("admin:maintenance_schedulepolicy_change", args=[row.pk])
        if not self._may_add:
            return ""
        return f"{reverse('admin:maintenance_schedulepolicy_add')}?row={row.pk}"


def may_edit_periodic_tasks(site: admin.AdminSite, request: HttpRequest) -> bool:
    """Tell whether django-celery-beat's own page is there and open to the person."""
    if not site.is_registered(PeriodicTask):
        return False
    return site.get_model_admin(PeriodicTask).has_change_permission(request)


def _edits() -> dict[str, list[Difference]]:
    """Return what operators changed, by row. Whether a row is paused has its own column."""
    found: dict[str, list[Difference]] = {}
    for difference in differences(configuration()):
        if difference.field not in {"enabled", "row"}:
            found.setdefault(difference.schedule, []).append(difference)
    return found


class ScheduleChecklistFilter(CompactFilter):
    """By checklist, which is the first word of a row's name."""

    title = gettext_lazy("checklist")
    parameter_name = "checklist"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:  # noqa: ARG002
        """Return the checklists in the order of their periods."""
        return [(name, name.capitalize()) for name in CHECKLISTS]

    def queryset(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[ScheduleRow],
    ) -> QuerySet[ScheduleRow]:
        """Keep the rows of the chosen checklist."""
        if self.value() is None:
            return queryset
        return queryset.filter(name__startswith=f"{NAME_PREFIX}{self.value()} ")


class StateFilter(CompactFilter):
    """By whether a schedule is on, paused or off."""

    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:  # noqa: ARG002
        """Return the states."""
        return [("on", _("on")), ("paused", _("paused")), ("off", _("off"))]

    def queryset(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[ScheduleRow],
    ) -> QuerySet[ScheduleRow]:
        """Keep the rows in the chosen state."""
        if self.value() is None:
            return queryset
        if self.value() == "off":
            return queryset.filter(enabled=False)
        is_paused = Q(maintenance_policy__paused_at__isnull=False)
        return queryset.filter(is_paused if self.value() == "paused" else ~is_paused, enabled=True)


@admin.register(ScheduleRow)
class ScheduleAdmin(MaintenanceAdmin):
    """Rows are written by ``sync_schedules``; editing one is django-celery-beat's own page."""

    list_display = ("what", "state", "target", "rhythm", "next_run", "last_run", "run_now")
    list_display_links = None
    list_filter = (ScheduleChecklistFilter, StateFilter, TaskFilter)
    list_select_related = ("crontab", "interval", "solar", "clocked", "maintenance_policy")
    list_per_page = 200
    ordering = (_CHECKLIST_RANK, "name")
    search_fields = ("name", "task", "description")
    search_help_text = gettext_lazy("Search in name, task and description")
    actions = ("pause", "resume", "run_selected")
    change_list_template = "admin/maintenance/schedulerow/change_list.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ARG002
        """Use the list that gathers its facts at once."""
        return ScheduleList

    def get_queryset(self, request: HttpRequest) -> QuerySet[ScheduleRow]:
        """Keep to maintenance: beat may have other work."""
        return (
            super()
            .get_queryset(request)
            .filter(Q(name__startswith=NAME_PREFIX) | Q(task__startswith=PREFIX))
        )

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Tell whether the person may run anything by hand."""
        return bool(runnable_tasks(request.user))

    def get_urls(self) -> list[URLPattern]:
        """Add the calendar, as a page and as a file."""
        view = self.admin_site.admin_view
        return [
            path("calendar/", view(self.calendar_view), name="maintenance_schedulerow_calendar"),
            path(
                "calendar.ics",
                view(self.calendar_file_view),
                name="maintenance_schedulerow_calendar_file",
            ),
            *super().get_urls(),
        ]

    @explains_refusals
    def calendar_view(self, request: HttpRequest) -> HttpResponse:
        """Show what will run when."""
        require(request.user, VIEW_SCHEDULE)
        return calendar_view(request, self)

    @explains_refusals
    def calendar_file_view(self, request: HttpRequest) -> HttpResponse:
        """Hand out what will run when, for other calendars."""
        require(request.user, VIEW_SCHEDULE)
        return calendar_file(request)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, and above it whether a scheduler is at work."""
        scheduler = leader_report()
        is_well = scheduler.severity is Severity.OK
        context = {
            "scheduler_kind": "on" if is_well else scheduler.severity.value,
            "scheduler_word": _("at work") if is_well else _("not at work"),
            "scheduler_sentence": scheduler.summary,
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",  # noqa: ARG002
        extra_context: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> HttpResponse:
        """Go to django-celery-beat's page of the row."""
        if self.get_object(request, object_id) is None:
            raise Http404(_("There is no such schedule."))
        if not may_edit_periodic_tasks(self.admin_site, request):
            return redirect("admin:maintenance_schedulerow_changelist")
        return redirect(EDIT_PAGE, object_id)

    # --- Columns -------------------------------------------------------------------------------

    @admin.display(description=gettext_lazy("schedule"), ordering="name")
    def what(self, row: ScheduleRow) -> SafeString:
        """Return the task in words, with the checklist's line that it answers."""
        return _cell(
            "what",
            row,
            task=task_words(str(row.task)),
            line=row.description or row.name,
            own=not checklist_of(row),
        )

    @admin.display(description=gettext_lazy("state"), ordering="enabled")
    def state(self, row: ScheduleRow) -> SafeString:
        """Return whether the schedule is on; of a paused one, who paused it and why."""
        return _cell("state", row)

    @admin.display(description=gettext_lazy("target"))
    def target(self, row: ScheduleRow) -> str:
        """Return the target's name."""
        return _facts(row).target

    @admin.display(description=gettext_lazy("when"))
    def rhythm(self, row: ScheduleRow) -> SafeString:
        """Return the cron in words, with what an operator changed."""
        return _cell("rhythm", row)

    @admin.display(description=gettext_lazy("next run"))
    def next_run(self, row: ScheduleRow) -> SafeString:
        """Return when it is due, in the row's timezone and from now."""
        facts = _facts(row)
        due = facts.timing.next_due
        return _cell(
            "next_run",
            row,
            when=moment(due, facts.timing.zone) if due else "",
            distance=relative(due, facts.now) if due else "",
            overdue=facts.timing.is_overdue(facts.now),
        )

    @admin.display(description=gettext_lazy("last run"))
    def last_run(self, row: ScheduleRow) -> SafeString:
        """Return what came of the last run of the same task on the same target."""
        facts = _facts(row)
        run = facts.last_run
        if run is None:
            return _cell("last_run", row)
        return _cell(
            "last_run",
            row,
            run=run,
            outcome=outcome_badge(run),
            distance=relative(run.finished_at or run.started_at or run.queued_at, facts.now),
        )

    @admin.display(description=gettext_lazy("by hand"))
    def run_now(self, row: ScheduleRow) -> SafeString:
        """Return the links to run it now and to edit it."""
        return _cell("by_hand", row, task=str(row.task).removeprefix(PREFIX))

    # --- Actions -------------------------------------------------------------------------------

    @admin.action(description=gettext_lazy("Pause selected schedules"), permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[ScheduleRow]) -> HttpResponse | None:
        """Ask for the reason, then let their slots be skipped."""
        rows = list(queryset)
        return pause_selected_view(request, self, rows, [row.pk for row in rows])

    @admin.action(description=gettext_lazy("Resume selected schedules"), permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[ScheduleRow]) -> None:
        """Let them run again, row by row: a bulk update would pass by the signal of beat."""
        resume_selected(request, self, list(queryset))

    @admin.action(description=gettext_lazy("Run selected schedules now"), permissions=["run"])
    def run_selected(
        self, request: HttpRequest, queryset: QuerySet[ScheduleRow]
    ) -> HttpResponse | None:
        """Ask, then run the tasks of the selected rows."""
        return run_selected_view(request, self, list(queryset))


def _facts(row: ScheduleRow) -> RowFacts:
    facts: RowFacts = row.__dict__["facts"]
    return facts


def _cell(name: str, row: ScheduleRow, **context: Any) -> SafeString:
    template = f"admin/maintenance/schedulerow/cell_{name}.html"
    return render_to_string(template, {"row": row, "facts": _facts(row), **context})
