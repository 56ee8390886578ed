"""The list of findings: what is the case now, or all that was ever found."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Case, F, IntegerField, Q, QuerySet, Value, When
from django.db.models.functions import Lower
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from maintenance.admin.base import HistoryAdmin
from maintenance.admin.filters import Choices, CompactFilter, SeverityFilter, TargetFilter
from maintenance.admin.muting import mute_view
from maintenance.admin.rights import MUTE_FINDING, VIEW_RUN, explains_refusals
from maintenance.admin.signs import severity_badge
from maintenance.admin.wording import above, moment, task_words
from maintenance.conf import configuration
from maintenance.core.attention.mutes import ids_of_muted, mutes_in_force
from maintenance.core.attention.standings import configured_pairs, runs_named, standings
from maintenance.core.findings import Severity
from maintenance.models import StoredFinding
from maintenance.people import holds

#: Severity as a number, because the words do not sort by weight.
SEVERITY_RANK = Case(
    *(When(severity=severity.value, then=Value(severity.rank)) for severity in Severity),
    default=Value(0),
    output_field=IntegerField(),
)


class CurrencyFilter(CompactFilter):
    """Current findings are those of the newest run of each task on each configured target."""

    title = gettext_lazy("shown")
    parameter_name = "shown"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:  # noqa: ARG002
        """Return the choice beside the default."""
        return [("all", _("All, also of the past"))]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Offer "current" in the place of Django's "All"."""
        default, *others = super().choices(changelist)
        yield {**default, "display": _("Current")}
        yield from others

    def queryset(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[StoredFinding],
    ) -> QuerySet[StoredFinding]:
        """Narrow down to the newest runs unless all are asked for."""
        if self.value() == "all":
            return queryset
        newest = standings(configured_pairs(configuration()))
        return queryset.filter(run__in=runs_named(each.run_id for each in newest.values()))


class LifeFilter(CompactFilter):
    """New in the run that found it, there before, or muted."""

    title = gettext_lazy("life")
    parameter_name = "life"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:  # noqa: ARG002
        """Return the lives that a finding which is there can have."""
        return [
            ("new", _("New")),
            ("persisting", _("Persisting")),
            ("muted", _("Muted")),
            ("speaking", _("Not muted")),
        ]

    def queryset(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[StoredFinding],
    ) -> QuerySet[StoredFinding]:
        """Narrow the rows down, if a life is chosen."""
        if self.value() in {"muted", "speaking"}:
            now = timezone.now()
            muted = Q(id__in=ids_of_muted(mutes_in_force(now), now))
            # As a value: joined, the planner takes the mutes for few, and reads them all for each finding.
            is_muted = Case(When(muted, then=Value(True)), default=Value(False))
            return queryset.alias(is_muted=is_muted).filter(is_muted=self.value() == "muted")
        wanted = {"new": Q(since=F("found_at")), "persisting": Q(since__lt=F("found_at"))}
        return queryset.filter(wanted.get(self.value() or "", Q()))


class FindingList(ChangeList):
    """Looks up what is muted once for all rows of a page."""

    def get_results(self, request: HttpRequest) -> None:
        """Attach the mute of each row, if it has one."""
        super().get_results(request)
        now = timezone.now()
        mutes = mutes_in_force(now)
        may_mute = holds(request.user, MUTE_FINDING)
        rows: list[StoredFinding] = list(self.result_list)
        for row in rows:
            row.__dict__["mute"] = mutes.get((row.run.task, row.fingerprint))
            row.__dict__["seen_at"] = now
            row.__dict__["may_mute"] = may_mute
        self.result_list = rows


class FindingSeverityFilter(SeverityFilter):
    """The same choices under the name that the list's column has."""

    title = gettext_lazy("severity")


@admin.register(StoredFinding)
class FindingAdmin(HistoryAdmin):
    """Findings belong to their reports: nobody adds, changes or deletes one here."""

    list_display = (
        "severity_with_sign",
        "on_target",
        "code",
        "said",
        "life",
        "found",
    )
    list_display_links = None
    list_filter = (CurrencyFilter, FindingSeverityFilter, LifeFilter, TargetFilter)
    list_select_related = ("run",)
    list_per_page = 50
    ordering = (SEVERITY_RANK.desc(), Lower("target"), Lower("code"), Lower("subject"))
    search_fields = ("code", "subject", "sentence")
    search_help_text = gettext_lazy("Search in code, subject and sentence")
    when_empty = gettext_lazy("No run has found anything yet.")

    def get_ordering(self, request: HttpRequest) -> Any:
        """Put the worst first among the current ones; history is by time, which has an index."""
        if request.GET.get(CurrencyFilter.parameter_name) == "all":
            return ["-found_at"]
        return self.ordering

    @admin.display(description=gettext_lazy("severity"), ordering=SEVERITY_RANK)
    def severity_with_sign(self, finding: StoredFinding) -> SafeString:
        """Return the severity as a word with its sign."""
        return severity_badge(finding.severity, measured=finding.measured)

    @admin.display(description=gettext_lazy("target"), ordering="target")
    def on_target(self, finding: StoredFinding) -> str:
        """Return the target; nothing of what concerns the site as a whole."""
        return finding.target

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ARG002
        """Use the list that knows what is muted."""
        return FindingList

    def get_urls(self) -> list[URLPattern]:
        """Add the page that mutes a finding."""
        view = self.admin_site.admin_view(self.mute_view)
        return [
            path("<int:key>/mute/", view, name="maintenance_storedfinding_mute"),
            *super().get_urls(),
        ]

    @explains_refusals
    def mute_view(self, request: HttpRequest, key: int) -> HttpResponse:
        """Ask why and until when, then mute."""
        return mute_view(request, self, key)

    @admin.display(description=gettext_lazy("life"), ordering="since")
    def life(self, finding: StoredFinding) -> SafeString:
        """Return whether it is new, or since when it is there; that it is muted; the way to mute it."""
        facts = finding.__dict__
        mute, severity = facts["mute"], Severity(finding.severity)
        is_muted = mute is not None and mute.silences(severity, facts["seen_at"])
        context = {
            "is_new": finding.since == finding.found_at,
            "since": moment(finding.since) if finding.since else "",
            "mute": mute if is_muted else None,
            "until": moment(mute.until) if is_muted and mute.until else "",
            "mute_url": reverse("admin:maintenance_storedfinding_mute", args=[finding.pk])
            if facts["may_mute"] and not is_muted and severity is not Severity.OK
            else "",
            "finding": finding,
        }
        return render_to_string("admin/maintenance/storedfinding/cell_life.html", context)

    @admin.display(description=gettext_lazy("finding"), ordering="subject")
    def said(self, finding: StoredFinding) -> SafeString | str:
        """Return the sentence, with its subject where it does not name it."""
        if not finding.subject or finding.subject in finding.sentence:
            return finding.sentence
        return above(finding.sentence, finding.subject)

    @admin.display(description=gettext_lazy("found"), ordering="found_at")
    def found(self, finding: StoredFinding) -> SafeString | str:
        """Return when the finding was made, above the link to it in its report."""
        run = format_html(
            '<a href="{}">{}</a>', place_in_report(finding), task_words(finding.run.task)
        )
        return above(moment(finding.found_at), run)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",  # noqa: ARG002
        extra_context: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> HttpResponse:
        """Go to the finding in its report: it has no page of its own."""
        finding = self.get_object(request, object_id)
        if finding is None or not holds(request.user, VIEW_RUN):
            raise Http404(_("There is no such finding."))
        return redirect(place_in_report(finding))


def place_in_report(finding: StoredFinding) -> str:
    """Return the address of a finding in the report of its run."""
    page = reverse("admin:maintenance_run_change", args=[finding.run_id])
    return f"{page}#finding-{finding.fingerprint}"
