"""The list of messages: what was told to whom, what waits, and a test."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from maintenance.admin.base import HistoryAdmin
from maintenance.admin.filters import ChoiceFilter
from maintenance.admin.rights import SEND_TEST, explains_refusals, require
from maintenance.admin.signs import badge
from maintenance.admin.wording import above, moment, named
from maintenance.conf import configuration
from maintenance.core.attention.delivering import start_delivery
from maintenance.models import Notification, NotificationKind, NotificationState
from maintenance.notifications.delivery import write_test
from maintenance.people import holds, noted_name

LIST_PAGE = "admin:maintenance_notification_changelist"

_SIGNS = {
    NotificationState.PENDING: "queued",
    NotificationState.SENDING: "running",
    NotificationState.SENT: "ok",
    NotificationState.SUMMED_UP: "ok",
    NotificationState.DROPPED: "skipped",
    NotificationState.FAILED: "failed",
}


class MessageStateFilter(ChoiceFilter):
    """By state of the message."""

    title = gettext_lazy("state")
    parameter_name = "state"
    field = "state"
    choices_of = NotificationState


class MessageKindFilter(ChoiceFilter):
    """By what a message is about."""

    title = gettext_lazy("kind")
    parameter_name = "kind"
    field = "kind"
    choices_of = NotificationKind


@admin.register(Notification)
class NotificationAdmin(HistoryAdmin):
    """Messages are written by the crew; a person sends a test."""

    list_display = ("state_with_sign", "kind", "said", "channel", "written", "sent")
    list_display_links = None
    list_filter = (MessageStateFilter, MessageKindFilter)
    list_per_page = 50
    ordering = ("-created_at",)
    search_fields = ("title", "channel")
    change_list_template = "admin/maintenance/notification/change_list.html"
    when_empty = gettext_lazy("No message was written yet.")

    def get_urls(self) -> list[URLPattern]:
        """Add the button's address."""
        view = self.admin_site.admin_view(self.test_view)
        return [path("test/", view, name="maintenance_notification_test"), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the messages, and above them who is told."""
        settings = configuration().notifications
        context = {
            "channels": settings.channels,
            "recipients": settings.recipients,
            "may_test": holds(request.user, SEND_TEST),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    @explains_refusals
    def test_view(self, request: HttpRequest) -> HttpResponse:
        """Write a test message for each channel, and have it sent."""
        require(request.user, SEND_TEST)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not configuration().notifications.channels:
            messages.error(request, _("Nobody is to be told of anything: nothing was sent."))
            return redirect(LIST_PAGE)
        for row in write_test(noted_name(request.user)):
            self.log_addition(request, row, f"Test message to {row.channel}.")
        start_delivery()
        messages.success(
            request, _("A test message is on its way. This list says whether it was sent.")
        )
        return redirect(LIST_PAGE)

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def state_with_sign(self, row: Notification) -> SafeString:
        """Return the state as a word with its sign."""
        state = NotificationState(row.state)
        return badge(_SIGNS[state], state.label)

    @admin.display(description=gettext_lazy("title"), ordering="title")
    def said(self, row: Notification) -> SafeString | str:
        """Return its title, above why it is in this state."""
        return above(row.title, row.reason) if row.reason else row.title

    @admin.display(description=gettext_lazy("written"), ordering="created_at")
    def written(self, row: Notification) -> SafeString | str:
        """Return when it was written."""
        return named(_("written"), moment(row.created_at))

    @admin.display(description=gettext_lazy("sent"), ordering="sent_at")
    def sent(self, row: Notification) -> SafeString | str:
        """Return when it was sent, or when the next attempt is; the state says why it was not."""
        if row.sent_at is None and row.state == NotificationState.PENDING:
            words = _("not before %(when)s") % {"when": "{}"}
            return named(_("sent"), format_html(words, moment(row.due_at)))
        return named(_("sent"), moment(row.sent_at) if row.sent_at else "")
