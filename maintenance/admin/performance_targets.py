"""Performance targets: what the quarterly review proposes, accepted by one click, and what is in force."""

from collections.abc import Mapping
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from maintenance.admin.base import AnyModelAdmin, MaintenanceAdmin
from maintenance.admin.rights import ACCEPT_TARGET, explains_refusals, require
from maintenance.admin.signs import badge
from maintenance.admin.wording import moment
from maintenance.conf import Configuration, configuration
from maintenance.core.errors import UnknownName
from maintenance.core.runs import ledger
from maintenance.core.runs.accepted_targets import (
    accept,
    configuration_in_force,
    configured_value,
    is_in_force,
)
from maintenance.core.runs.registry import task_named
from maintenance.models import AcceptedTarget
from maintenance.people import holds, noted_name

LIST_PAGE = "admin:maintenance_acceptedtarget_changelist"


@admin.register(AcceptedTarget)
class PerformanceTargetAdmin(MaintenanceAdmin):
    """Rows come from proposals alone; deleting one brings the configuration's target back."""

    list_display = ("setting", "target", "value", "replaces", "state", "accepted", "accepted_by")
    list_display_links = None
    when_empty = gettext_lazy("The targets of the configuration are in force.")
    change_list_template = "admin/maintenance/acceptedtarget/change_list.html"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """A target is proposed by what was measured, and not typed."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever holds the permission may go back to the configuration."""
        return AnyModelAdmin.has_delete_permission(self, request, obj)

    def get_urls(self) -> list[URLPattern]:
        """Add the button's address."""
        view = self.admin_site.admin_view(self.accept_view)
        return [
            path("accept/", view, name="maintenance_acceptedtarget_accept"),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show what is in force, and above it what is proposed."""
        context = {
            "proposals": open_proposals(),
            "may_accept": holds(request.user, ACCEPT_TARGET),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    @explains_refusals
    def accept_view(self, request: HttpRequest) -> HttpResponse:
        """Put one proposal in force, if it is still the one that the page showed."""
        require(request.user, ACCEPT_TARGET)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        wanted = {name: request.POST.get(name, "") for name in ("setting", "target", "value")}
        proposal = next((p for p in open_proposals() if _names(p) == wanted), None)
        if proposal is None:
            messages.warning(request, _("This proposal is not open any more; nothing was changed."))
            return redirect(LIST_PAGE)
        try:
            row, is_new = accept(proposal, noted_name(request.user))
        except UnknownName as error:
            messages.error(request, str(error))
            return redirect(LIST_PAGE)
        said = (
            f"Accepted {proposal['value_in_words']} in the place of {proposal['current_in_words']}."
        )
        if is_new:
            self.log_addition(request, row, said)
        else:
            self.log_change(request, row, said)
        messages.success(
            request,
            _("The target for %(name)s is %(value)s from now on.")
            % {"name": proposal["name"], "value": proposal["value_in_words"]},
        )
        return redirect(LIST_PAGE)

    @admin.display(description=gettext_lazy("state"))
    def state(self, row: AcceptedTarget) -> SafeString:
        """Return whether it is in force: a file that was edited since knows better."""
        if is_in_force(row, configuration()):
            return badge("on", _("in force"))
        return badge("off", _("the configuration was edited since"))

    @admin.display(description=gettext_lazy("accepted"), ordering="accepted_at")
    def accepted(self, row: AcceptedTarget) -> SafeString | str:
        """Return when it was accepted."""
        return moment(row.accepted_at)


def open_proposals() -> list[Mapping[str, Any]]:
    """Return the proposals of the newest review whose targets have not changed since."""
    state = ledger.previous_state(task_named("review_performance_targets"), "")
    in_force = configuration_in_force()
    return [
        {**proposal, "value_as_text": str(proposal["value"])}
        for proposal in state.get("proposals", [])
        if _still_holds(proposal, in_force)
    ]


def _still_holds(proposal: Mapping[str, Any], in_force: Configuration) -> bool:
    """Tell whether the target is still the one that the proposal was made for."""
    try:
        value = configured_value(in_force, proposal["setting"], proposal["target"])
    except UnknownName:
        return False
    return float(value) == float(proposal["current"])


def _names(proposal: Mapping[str, Any]) -> dict[str, str]:
    return {
        "setting": str(proposal["setting"]),
        "target": str(proposal["target"]),
        "value": str(proposal["value_as_text"]),
    }
