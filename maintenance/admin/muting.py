"""Muting a finding, which asks why and until when, and the list of what is muted."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from maintenance.admin.base import AnyModelAdmin, MaintenanceAdmin
from maintenance.admin.rights import MUTE_FINDING, VIEW_FINDING, require
from maintenance.admin.signs import badge, severity_badge
from maintenance.admin.wording import above, moment, task_words
from maintenance.core.attention.mutes import mute
from maintenance.core.errors import InvalidOptions
from maintenance.core.findings import Severity
from maintenance.models import MutedFinding, StoredFinding
from maintenance.people import noted_name

_FOR_GOOD = "endless"


class MuteForm(forms.Form):
    """Why and until when. Nothing is muted for good by an oversight: it is the last choice."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=500,
        help_text=gettext_lazy("Reports and lists name it, and you."),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    lasts = forms.ChoiceField(
        label=gettext_lazy("For how long"),
        choices=[
            ("1", gettext_lazy("1 day")),
            ("7", gettext_lazy("1 week")),
            ("30", gettext_lazy("30 days")),
            ("90", gettext_lazy("90 days")),
            (_FOR_GOOD, gettext_lazy("For good, until somebody unmutes it")),
        ],
        initial="7",
    )

    def until(self) -> datetime | None:
        """Return the end, ``None`` for good."""
        lasts = self.cleaned_data["lasts"]
        return None if lasts == _FOR_GOOD else timezone.now() + timedelta(days=int(lasts))


def mute_view(request: HttpRequest, model_admin: MaintenanceAdmin, key: int) -> HttpResponse:
    """Show what is about to be muted; once confirmed, mute it. Raises ``Http404`` and ``Refused``."""
    require(request.user, MUTE_FINDING)
    require(request.user, VIEW_FINDING)
    finding = StoredFinding.objects.select_related("run").filter(pk=key).first()
    if finding is None or finding.severity == Severity.OK:
        raise Http404(_("There is no such finding."))
    form = MuteForm(request.POST if request.method == "POST" else None, label_suffix="")
    if form.is_valid():
        until = form.until()
        try:
            row, is_new = mute(
                finding,
                reason=form.cleaned_data["reason"],
                by=noted_name(request.user),
                until=until,
                endless=until is None,
            )
        except InvalidOptions as error:
            form.add_error("reason", str(error))
        else:
            end = f"until {until:%Y-%m-%d %H:%M %Z}" if until else "for good"
            said = f"Muted {end}: {row.reason}"
            (model_admin.log_addition if is_new else model_admin.log_change)(request, row, said)
            messages.success(
                request, _("The finding is muted: it is shown and counts for nothing.")
            )
            return redirect("admin:maintenance_storedfinding_changelist")
    context = {
        **model_admin.page_context(request),
        "title": _("Mute this finding?"),
        "finding": finding,
        "badge": severity_badge(finding.severity, measured=finding.measured),
        "task": task_words(finding.run.task),
        "form": form,
    }
    return TemplateResponse(request, "admin/maintenance/storedfinding/confirm_mute.html", context)


class MutedList(ChangeList):
    """Tells each row whether the person may unmute it."""

    def get_results(self, request: HttpRequest) -> None:
        """Note it on every row of the page."""
        super().get_results(request)
        rows: list[MutedFinding] = list(self.result_list)
        may = self.model_admin.has_delete_permission(request)
        for row in rows:
            row.__dict__["may_be_unmuted"] = may
        self.result_list = rows


@admin.register(MutedFinding)
class MutedFindingAdmin(MaintenanceAdmin):
    """What is muted and was. Deleting a row unmutes its finding; Django asks before, and logs it."""

    list_display = ("finding", "severity_with_sign", "state", "reason", "muted", "by_hand")
    list_display_links = None
    search_fields = ("code", "subject", "target", "reason", "muted_by")
    ordering = ("-muted_at",)
    change_list_template = "admin/maintenance/mutedfinding/change_list.html"
    when_empty = gettext_lazy("Nothing is muted.")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ARG002
        """Use the list that knows what the person may unmute."""
        return MutedList

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """A finding is muted anew from the list of findings."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever holds the permission may unmute."""
        return AnyModelAdmin.has_delete_permission(self, request, obj)

    @admin.display(description=gettext_lazy("finding"), ordering="code")
    def finding(self, row: MutedFinding) -> SafeString:
        """Return what is muted, above the task that finds it and its target."""
        subject = row.subject if row.subject != row.target else ""
        where = " · ".join(filter(None, (task_words(row.task), row.target)))
        return above(f"{row.code}: {subject}" if subject else row.code, where)

    @admin.display(description=gettext_lazy("up to"), ordering="severity")
    def severity_with_sign(self, row: MutedFinding) -> SafeString:
        """Return what it was: above that it speaks again."""
        return severity_badge(row.severity)

    @admin.display(description=gettext_lazy("muted"), ordering="until")
    def state(self, row: MutedFinding) -> SafeString:
        """Return until when it is muted, or that this is over."""
        if row.until is None:
            return badge("paused", _("for good"))
        if row.until <= timezone.now():
            return badge("off", _("over"))
        local = timezone.localtime(row.until)
        return badge("paused", _("until %(when)s") % {"when": f"{local:%Y-%m-%d %H:%M}"})

    @admin.display(description=gettext_lazy("since"), ordering="muted_at")
    def muted(self, row: MutedFinding) -> SafeString:
        """Return when it was muted, above by whom."""
        return above(moment(row.muted_at), row.muted_by)

    @admin.display(description=gettext_lazy("by hand"))
    def by_hand(self, row: MutedFinding) -> SafeString | str:
        """Return the way to unmute it, for whoever may."""
        if not row.__dict__.get("may_be_unmuted", False):
            return ""
        return format_html(
            '<a href="{}" aria-label="{}">{}</a>',
            reverse("admin:maintenance_mutedfinding_delete", args=[row.pk]),
            _("Unmute: %(finding)s") % {"finding": row},
            _("Unmute"),
        )
