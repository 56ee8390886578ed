"""The list of schedules: what runs when, what came of it last, pause, resume and run now."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from maintenance.admin.base import MaintenanceAdmin
from maintenance.admin.calendar_page import calendar_file, calendar_view
from maintenance.admin.filters import Choices, CompactFilter, TaskFilter
from maintenance.admin.pausing import pause_selected_view, resume_page, resume_selected
from maintenance.admin.rights import (
    CHANGE_SCHEDULE,
    VIEW_SCHEDULE,
    explains_refusals,
    require,
    runnable_tasks,
)
from maintenance.admin.run_selected import run_selected_view
from maintenance.admin.schedule_facts import (
    EDIT_PAGE,
    RowFacts,
    ScheduleList,
    may_edit_periodic_tasks,
)
from maintenance.admin.schedule_row import checklist_of
from maintenance.admin.signs import badge, outcome, outcome_word
from maintenance.admin.wording import moment, relative, task_words
from maintenance.core.evidence.liveness_look import leader_report
from maintenance.core.findings import Severity
from maintenance.core.runs.registry import PREFIX
from maintenance.core.scheduling.schedule_sync import NAME_PREFIX
from maintenance.models import ScheduleRow
from maintenance.schedules import CHECKLISTS

#: Daily before weekly before monthly, and an operator's own rows last.
_CHECKLIST_RANK = Case(
    *(
        When(name__startswith=f"{NAME_PREFIX}{checklist} ", then=Value(rank))
        for rank, checklist in enumerate(CHECKLISTS)
    ),
    default=Value(len(CHECKLISTS)),
    output_field=IntegerField(),
)


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

    list_display = ("what", "state", "rhythm", "next_run", "last_run", "run_now")
    list_display_links = None
    list_filter = (ScheduleChecklistFilter, StateFilter, TaskFilter)
    list_select_related = ("interval", "solar", "clocked", "maintenance_policy")
    list_per_page = 200
    ordering = (_CHECKLIST_RANK, "name")
    search_fields = ("name", "task", "description")
    search_help_text = gettext_lazy("Search in name, task and description")
    actions = ("pause", "resume", "run_selected")
    when_empty = gettext_lazy(
        "There are no schedules yet: python manage.py sync_schedules writes those of the checklists."
    )
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
            path("<int:key>/pause/", view(self.pause_view), name="maintenance_schedulerow_pause"),
            path(
                "<int:key>/resume/", view(self.resume_view), name="maintenance_schedulerow_resume"
            ),
            *super().get_urls(),
        ]

    @explains_refusals
    def pause_view(self, request: HttpRequest, key: int) -> HttpResponse:
        """Pause one schedule, once there is a reason."""
        row = self._row_to_change(request, key)
        answer = pause_selected_view(request, self, [row], [row.pk])
        return answer or redirect("admin:maintenance_schedulerow_changelist")

    @explains_refusals
    def resume_view(self, request: HttpRequest, key: int) -> HttpResponse:
        """Ask whether one schedule is to run again; on POST, let it."""
        row = self._row_to_change(request, key)
        if request.method != "POST":
            return resume_page(request, self, row)
        resume_selected(request, self, [row])
        return redirect("admin:maintenance_schedulerow_changelist")

    def _row_to_change(self, request: HttpRequest, key: int) -> ScheduleRow:
        require(request.user, CHANGE_SCHEDULE)
        row: ScheduleRow | None = self.get_queryset(request).filter(pk=key).first()
        if row is None:
            raise Http404(_("There is no such schedule."))
        return row

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

    @admin.display(description=gettext_lazy("when"))
    def rhythm(self, row: ScheduleRow) -> SafeString:
        """Return the cron in words, with what an operator changed."""
        return _cell("rhythm", row)

    @admin.display(description=gettext_lazy("next run"))
    def next_run(self, row: ScheduleRow) -> SafeString:
        """Return when it is due, in the row's timezone and from now, and the runs after that."""
        facts = _facts(row)
        due = facts.timing.next_due
        return _cell(
            "next_run",
            row,
            when=moment(due, facts.timing.zone) if due else "",
            distance=relative(due, facts.now) if due else "",
            coming=[
                (moment(each.begins_at or each.due_at, facts.timing.zone), each)
                for each in facts.coming
            ],
            overdue=facts.timing.is_overdue(facts.now),
        )

    @admin.display(description=gettext_lazy("last runs"))
    def last_run(self, row: ScheduleRow) -> SafeString:
        """Return what came of the last runs of the same task on the same target."""
        facts = _facts(row)
        run = facts.last_run
        if run is None:
            return _cell("last_run", row)
        kind = outcome(run.state, run.severity)
        return _cell(
            "last_run",
            row,
            run=run,
            outcome=badge(kind, outcome_word(kind)),
            distance=relative(run.at, facts.now),
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
