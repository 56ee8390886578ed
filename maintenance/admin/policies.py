"""Policies of schedules, a site's own schedules among them, and blackouts."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from maintenance.admin.base import AnyModelAdmin, MaintenanceAdmin
from maintenance.admin.filters import Choices, CompactFilter
from maintenance.admin.pausing import pause_selected_view, resume_selected
from maintenance.admin.rights import CHANGE_SCHEDULE
from maintenance.admin.signs import badge
from maintenance.admin.wording import moment, named
from maintenance.conf import configuration
from maintenance.core.runs.registry import TargetKind
from maintenance.core.scheduling.pausing import bring_defaults_back
from maintenance.models import Blackout, SchedulePolicy
from maintenance.people import holds
from maintenance.reports.formatting import format_seconds


class EditedAdmin(MaintenanceAdmin):
    """Rows that people write: the permissions of Django's admin decide."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever holds the permission to add may."""
        return AnyModelAdmin.has_add_permission(self, request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever holds the permission to delete may."""
        return AnyModelAdmin.has_delete_permission(self, request, obj)


class PausedFilter(CompactFilter):
    """By whether the schedule is paused."""

    title = gettext_lazy("paused")
    parameter_name = "paused"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:  # noqa: ARG002
        """Return both."""
        return [("yes", _("yes")), ("no", _("no"))]

    def queryset(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[SchedulePolicy],
    ) -> QuerySet[SchedulePolicy]:
        """Keep what is paused, or what is not."""
        if self.value() is None:
            return queryset
        return queryset.filter(paused_at__isnull=self.value() == "no")


@admin.register(SchedulePolicy)
class SchedulePolicyAdmin(EditedAdmin):
    """How single schedules deal with what goes wrong; deleting one brings the defaults back, and ends no pause."""

    list_display = (
        "schedule",
        "state",
        "only_on",
        "missed",
        "while_running",
        "jitter",
        "start_within",
        "of_priority",
    )
    list_filter = (PausedFilter,)
    list_select_related = ("row",)
    search_fields = ("row__name", "row__task")
    ordering = ("row__name",)
    when_empty = gettext_lazy(
        "No schedule has a policy of its own, and the defaults hold: of missed slots the last one runs,"
        " late, and a slot is skipped while the run before lasts."
    )
    raw_id_fields = ("row",)
    actions = ("pause", "resume")
    readonly_fields = ("paused_at", "paused_by", "pause_reason")
    fieldsets: ClassVar = (
        (None, {"fields": ("row", "days", "priority", "jitter_seconds")}),
        (
            gettext_lazy("When something goes wrong"),
            {
                "fields": (
                    "misfire",
                    "catch_up_seconds",
                    "deadline_seconds",
                    "overlap",
                    "pause_after_failures",
                )
            },
        ),
        (
            gettext_lazy("Pause (by the actions of the list)"),
            {"fields": ("paused_at", "paused_by", "pause_reason")},
        ),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave out who paused it, while nobody has."""
        is_paused = obj is not None and obj.paused_at is not None
        return super().get_fieldsets(request, obj)[: None if is_paused else -1]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """A policy stays with its schedule, which is its key."""
        readonly = tuple(super().get_readonly_fields(request, obj))
        return readonly if obj is None else ("row", *readonly)

    @admin.display(description=gettext_lazy("schedule"), ordering="row__name")
    def schedule(self, policy: SchedulePolicy) -> str:
        """Return the schedule's name, which may break where its crontab could not."""
        return str(policy.row.name)

    @admin.display(description=gettext_lazy("state"), ordering="paused_at")
    def state(self, policy: SchedulePolicy) -> SafeString:
        """Return whether the schedule is on, paused or off."""
        if not policy.row.enabled:
            return badge("off", _("off"))
        return badge("paused", _("paused")) if policy.paused_at else badge("on", _("on"))

    @admin.display(description=gettext_lazy("only on"), ordering="days")
    def only_on(self, policy: SchedulePolicy) -> SafeString | str:
        """Return the rule of days, or nothing."""
        return named(_("only on"), policy.days)

    @admin.display(description=gettext_lazy("missed slots"), ordering="misfire")
    def missed(self, policy: SchedulePolicy) -> SafeString | str:
        """Return what becomes of slots that were missed."""
        return named(_("missed slots"), policy.get_misfire_display())

    @admin.display(description=gettext_lazy("while the run before lasts"), ordering="overlap")
    def while_running(self, policy: SchedulePolicy) -> SafeString | str:
        """Return what becomes of a slot while the run before it is at work."""
        return named(_("while the run before lasts"), policy.get_overlap_display())

    @admin.display(description=gettext_lazy("jitter"), ordering="jitter_seconds")
    def jitter(self, policy: SchedulePolicy) -> SafeString | str:
        """Return by how much a run may start later, or nothing."""
        return named(_("jitter"), _duration(policy.jitter_seconds))

    @admin.display(description=gettext_lazy("start within"), ordering="deadline_seconds")
    def start_within(self, policy: SchedulePolicy) -> SafeString | str:
        """Return how late a run may start, or nothing."""
        return named(_("start within"), _duration(policy.deadline_seconds))

    @admin.display(description=gettext_lazy("priority"), ordering="priority")
    def of_priority(self, policy: SchedulePolicy) -> SafeString | str:
        """Return the priority, or nothing."""
        return named(_("priority"), "" if policy.priority is None else str(policy.priority))

    def delete_model(self, request: HttpRequest, obj: SchedulePolicy) -> None:
        """Bring the defaults back."""
        self._bring_defaults_back(request, [obj])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[SchedulePolicy]) -> None:
        """Bring the defaults back."""
        self._bring_defaults_back(request, queryset)

    def _bring_defaults_back(
        self, request: HttpRequest, policies: Iterable[SchedulePolicy]
    ) -> None:
        paused = bring_defaults_back(policies)
        if paused:
            names = ", ".join(row.name for row in paused)
            messages.warning(
                request, _("Paused until somebody resumes it: %(names)s.") % {"names": names}
            )

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Tell whether the person may pause and resume: a policy's own permission is not enough."""
        return self.has_change_permission(request) and holds(request.user, CHANGE_SCHEDULE)

    @admin.action(description=gettext_lazy("Pause selected schedules"), permissions=["pause"])
    def pause(
        self, request: HttpRequest, queryset: QuerySet[SchedulePolicy]
    ) -> HttpResponse | None:
        """Ask for the reason, then pause."""
        policies = list(queryset.select_related("row"))
        rows = [policy.row for policy in policies]
        return pause_selected_view(request, self, rows, [row.pk for row in rows])

    @admin.action(description=gettext_lazy("Resume selected schedules"), permissions=["pause"])
    def resume(self, request: HttpRequest, queryset: QuerySet[SchedulePolicy]) -> None:
        """End the pauses."""
        resume_selected(request, self, [policy.row for policy in queryset.select_related("row")])


def _duration(seconds: int | None) -> str:
    return format_seconds(seconds) if seconds else ""


class BlackoutForm(forms.ModelForm):  # type: ignore[type-arg]
    """Offers the configured targets: a name that no target has would black out nothing."""

    target = forms.ChoiceField(
        label=gettext_lazy("target"),
        required=False,
        help_text=gettext_lazy("Empty: all of them, and every schedule of the site's own."),
    )

    class Meta:
        model = Blackout
        fields = "__all__"  # noqa: DJ007 - the admin names them

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "target" not in self.fields:  # for whoever may only look
            return
        parsed = configuration()
        names = {name for kind in TargetKind for name in kind.targets(parsed)}
        names |= {self.instance.target}
        choices = [("", _("all")), *((name, name) for name in sorted(names) if name)]
        self.fields["target"] = forms.ChoiceField(
            choices=choices,
            required=False,
            label=self.fields["target"].label,
            help_text=self.fields["target"].help_text,
        )

    def clean(self) -> dict[str, Any] | None:
        """Say in a sentence that a blackout ends after it begins."""
        given = super().clean()
        start, end = self.cleaned_data.get("starts_at"), self.cleaned_data.get("ends_at")
        if start is not None and end is not None and end <= start:
            self.add_error("ends_at", _("It has to end after it begins."))
        return given


class TimeFilter(CompactFilter):
    """By whether a blackout lies ahead, holds now, or is over."""

    title = gettext_lazy("time")
    parameter_name = "time"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:  # noqa: ARG002
        """Return what is still of interest, and what is not."""
        return [("current", _("now and later")), ("over", _("over"))]

    def queryset(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[Blackout],
    ) -> QuerySet[Blackout]:
        """Keep what has not ended, or what has."""
        if self.value() == "current":
            return queryset.filter(ends_at__gt=timezone.now())
        if self.value() == "over":
            return queryset.filter(ends_at__lte=timezone.now())
        return queryset


@admin.register(Blackout)
class BlackoutAdmin(EditedAdmin):
    """Times in which no schedule starts a run; a person may start one all the same."""

    form = BlackoutForm
    list_display = ("reason", "state", "from_moment", "until_moment", "on_target")
    list_filter = (TimeFilter,)
    search_fields = ("reason",)
    when_empty = gettext_lazy("There is no blackout: schedules start whenever they are due.")
    ordering = ("-starts_at",)

    @admin.display(description=gettext_lazy("state"))
    def state(self, blackout: Blackout) -> SafeString:
        """Return whether it holds now."""
        now = timezone.now()
        if now < blackout.starts_at:
            return badge("queued", _("to come"))
        if now < blackout.ends_at:
            return badge("warning", _("now"))
        return badge("off", _("over"))

    @admin.display(description=gettext_lazy("from"), ordering="starts_at")
    def from_moment(self, blackout: Blackout) -> SafeString | str:
        """Return when it begins."""
        return named(_("from"), moment(blackout.starts_at))

    @admin.display(description=gettext_lazy("until"), ordering="ends_at")
    def until_moment(self, blackout: Blackout) -> SafeString | str:
        """Return when it ends."""
        return named(_("until"), moment(blackout.ends_at))

    @admin.display(description=gettext_lazy("target"), ordering="target")
    def on_target(self, blackout: Blackout) -> SafeString | str:
        """Return the target's name."""
        return named(_("target"), blackout.target or _("all"))
