"""The list of runs, the page of one run, and the way to start and to cancel one."""

import uuid
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from maintenance.admin import live
from maintenance.admin.base import HistoryAdmin
from maintenance.admin.downloads import download
from maintenance.admin.filters import (
    AskedForFilter,
    ChecklistFilter,
    RunStateFilter,
    SeverityFilter,
    TargetFilter,
    TaskFilter,
    TriggerFilter,
)
from maintenance.admin.rights import (
    CANCEL_RUN,
    VIEW_RUN,
    explains_refusals,
    may_cancel,
    require,
    runnable_tasks,
)
from maintenance.admin.run_now import run_task_view
from maintenance.admin.run_page import facts, page_context
from maintenance.admin.signs import state_badge
from maintenance.admin.wording import asked_by, moment, on_target, task_words
from maintenance.core.runs import ledger
from maintenance.core.runs.recording import record
from maintenance.models import Run, RunState
from maintenance.people import noted_name


class RunList(ChangeList):
    """Tells each row whether the person may cancel its run."""

    def get_results(self, request: HttpRequest) -> None:
        """Note it on every run of the page."""
        super().get_results(request)
        runs: list[Run] = list(self.result_list)
        for run in runs:
            run.__dict__["may_be_cancelled"] = may_cancel(request.user, run)
        self.result_list = runs


@admin.register(Run)
class RunAdmin(HistoryAdmin):
    """Runs are history: nobody adds, changes or deletes one here."""

    list_display = (
        "state_with_sign",
        "worst_finding",
        "what",
        "short_summary",
        "queued",
        "took",
    )
    list_display_links = ("what",)
    list_filter = (
        AskedForFilter,
        RunStateFilter,
        SeverityFilter,
        ChecklistFilter,
        TriggerFilter,
        TargetFilter,
        TaskFilter,
    )
    search_fields = ("task", "target", "actor", "summary", "reason")
    search_help_text = gettext_lazy("Search in task, target, person, summary and reason, or by id")
    ordering = ("-queued_at",)
    list_per_page = 50
    when_empty = gettext_lazy(
        "Nothing has run yet. Runs stand here as soon as a schedule is due, or somebody runs a task."
    )
    change_list_template = "admin/maintenance/run/change_list.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ARG002
        """Use the list that knows what the person may cancel."""
        return RunList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        """Leave the long columns to the page of one run."""
        return super().get_queryset(request).defer("options", "failures")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Run], search_term: str
    ) -> tuple[QuerySet[Run], bool]:
        """Find a run by its id, which is what Flower and the logs show."""
        try:
            return queryset.filter(id=uuid.UUID(search_term.strip())), False
        except ValueError:
            return super().get_search_results(request, queryset, search_term)

    def get_urls(self) -> list[URLPattern]:
        """Add the pages that Django's admin does not have."""

        def page(route: str, view: Any, name: str) -> URLPattern:
            pattern: URLPattern = path(route, self.admin_site.admin_view(view), name=name)
            return pattern

        return [
            page("run-now/", self.run_now_view, "maintenance_run_run_now"),
            page("progress/", self.list_progress_view, "maintenance_run_list_progress"),
            page("<uuid:run_id>/progress/", self.progress_view, "maintenance_run_progress"),
            page("<uuid:run_id>/cancel/", self.cancel_view, "maintenance_run_cancel"),
            page(
                "<uuid:run_id>/report/<str:format_name>/",
                self.report_view,
                "maintenance_run_report",
            ),
            *super().get_urls(),
        ]

    # --- Columns -------------------------------------------------------------------------------

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def state_with_sign(self, run: Run) -> SafeString:
        """Return the state as a word with its sign, and the way to cancel what has not ended."""
        may = run.__dict__.get("may_be_cancelled", False)
        return format_html(
            "{}{}",
            live.part(run, "state", state_badge(run.state)),
            live.part(run, "cancel", live.cancel_link(run, may=may)),
        )

    @admin.display(description=gettext_lazy("task"), ordering="task")
    def what(self, run: Run) -> SafeString | str:
        """Return the task as a phrase, and what it runs on."""
        return on_target(task_words(run.task), run.target)

    @admin.display(description=gettext_lazy("asked for"), ordering="queued_at")
    def queued(self, run: Run) -> SafeString:
        """Return when the run was asked for, and by whom."""
        return format_html(
            '{}<span class="maintenance-under">{}</span>',
            moment(run.queued_at),
            asked_by(run),
        )

    @admin.display(description=gettext_lazy("took"))
    def took(self, run: Run) -> SafeString | str:
        """Return the duration; of a running run, how long it has been at work."""
        return live.part(run, "took", live.took(run))

    @admin.display(description=gettext_lazy("worst finding"), ordering="severity")
    def worst_finding(self, run: Run) -> SafeString | str:
        """Return the worst severity among the findings of a run that has looked."""
        return live.part(run, "worst", live.worst_finding(run))

    @admin.display(description=gettext_lazy("summary"))
    def short_summary(self, run: Run) -> SafeString | str:
        """Return the verdict; of a run that has not ended, how far it is or what it waits for."""
        return live.part(run, "summary", live.summary(run))

    # --- Pages ---------------------------------------------------------------------------------

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, with the way to run a task for whoever may."""
        context = {"may_run_tasks": bool(runnable_tasks(request.user)), **(extra_context or {})}
        answer = super().changelist_view(request, context)
        if isinstance(answer, TemplateResponse) and answer.context_data:
            shown = answer.context_data.get("cl")  # a refusal shows none
            rows = shown.result_list if shown else ()
            answer.context_data["is_live"] = any(not run.is_finished for run in rows)
        return answer

    @explains_refusals
    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",  # noqa: ARG002
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one run. Raises ``Http404`` for an id that no run has."""
        require(request.user, VIEW_RUN)
        try:
            run = self._run(uuid.UUID(object_id))
        except ValueError:
            raise Http404(_("No run has the id %(id)s.") % {"id": object_id}) from None
        context = {
            **self.page_context(request),
            **page_context(request, run),
            "title": task_words(run.task),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/maintenance/run/page.html", context)

    @explains_refusals
    def run_now_view(self, request: HttpRequest) -> HttpResponse:
        """Run a task by hand."""
        return run_task_view(request, self)

    @explains_refusals
    def progress_view(self, request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
        """Answer the script of a run's page."""
        require(request.user, VIEW_RUN)
        return JsonResponse(live.page_answer(self._run(run_id)))

    @explains_refusals
    def list_progress_view(self, request: HttpRequest) -> HttpResponse:
        """Answer the script of pages that list runs."""
        require(request.user, VIEW_RUN)
        runs = live.asked_runs(request.GET.getlist("run"))
        return JsonResponse(live.list_answer(runs, request.user))

    @explains_refusals
    def report_view(
        self, request: HttpRequest, run_id: uuid.UUID, format_name: str
    ) -> HttpResponse:
        """Hand out the report as a file."""
        require(request.user, VIEW_RUN)
        return download(self._run(run_id), format_name)

    @explains_refusals
    def cancel_view(self, request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
        """Ask whether to cancel; on POST, do it."""
        require(request.user, CANCEL_RUN)
        require(request.user, VIEW_RUN)
        run = self._run(run_id)
        if run.is_finished:
            messages.info(request, _("“%(run)s” has ended already.") % {"run": run})
        elif request.method == "POST":
            self._cancel(request, run)
        else:
            context = {
                **self.page_context(request),
                "run": run,
                "facts": facts(run),
                "title": _("Cancel “%(task)s”?") % {"task": task_words(run.task)},
            }
            return TemplateResponse(request, "admin/maintenance/run/confirm_cancel.html", context)
        return redirect("admin:maintenance_run_change", run.id)

    def _cancel(self, request: HttpRequest, run: Run) -> None:
        document = ledger.request_cancel(run, noted_name(request.user))
        self.log_change(request, run, "Cancel requested.")
        if document is not None:
            record(run, document)
        run.refresh_from_db(fields=["state"])
        sentences = {
            RunState.CANCELLED: _("“%(run)s” is cancelled."),
            RunState.RUNNING: _("“%(run)s” will stop within seconds."),
        }
        sentence = sentences.get(RunState(run.state), _("“%(run)s” has ended already."))
        messages.success(request, sentence % {"run": run})

    @staticmethod
    def _run(run_id: uuid.UUID) -> Run:
        try:
            return Run.objects.get(id=run_id)
        except Run.DoesNotExist:
            raise Http404(_("No run has the id %(id)s.") % {"id": run_id}) from None
