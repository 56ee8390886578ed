"""Pause, which asks for a reason, and resume, of schedules that were selected in a list."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django_celery_beat.models import PeriodicTask

from maintenance.admin.base import MaintenanceAdmin
from maintenance.admin.rights import permission_to_switch_on
from maintenance.core.scheduling.pausing import pause, resume
from maintenance.models import SchedulePolicy
from maintenance.people import holds, noted_name


class PauseForm(forms.Form):
    """Why schedules pause: it stands in the report of every slot that they skip."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=200,
        help_text=gettext_lazy("Every slot that is skipped meanwhile names it, and you."),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )


def pause_selected_view(
    request: HttpRequest,
    model_admin: MaintenanceAdmin,
    rows: Sequence[PeriodicTask],
    keys: Sequence[Any],
) -> HttpResponse | None:
    """Ask for a reason, then pause. ``keys`` are of what was selected; ``None`` ends at the list."""
    form = PauseForm(request.POST if "confirmed" in request.POST else None, label_suffix="")
    if form.is_valid():
        actor, reason = noted_name(request.user), form.cleaned_data["reason"]
        paused = [row for row in rows if pause(row, actor, reason)]
        for row in paused:
            model_admin.log_change(request, row, f"Paused: {reason}")
        sentence = ngettext(
            "%(count)d schedule is paused.", "%(count)d schedules are paused.", len(paused)
        )
        messages.success(request, sentence % {"count": len(paused)})
        return None
    context = {
        **model_admin.page_context(request),
        "title": ngettext("Pause this schedule?", "Pause these schedules?", len(rows)),
        "rows": rows,
        "keys": keys,
        "form": form,
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "admin/maintenance/schedulerow/confirm_pause.html", context)


def resume_page(
    request: HttpRequest, model_admin: MaintenanceAdmin, row: PeriodicTask
) -> HttpResponse:
    """Ask whether a schedule is to run again, with who paused it, when and why."""
    context = {
        **model_admin.page_context(request),
        "title": _("Resume “%(schedule)s”?") % {"schedule": row.name},
        "row": row,
        "policy": SchedulePolicy.objects.filter(row_id=row.pk).first(),
    }
    return TemplateResponse(request, "admin/maintenance/schedulerow/confirm_resume.html", context)


def resume_selected(
    request: HttpRequest, model_admin: MaintenanceAdmin, rows: Sequence[PeriodicTask]
) -> None:
    """End pauses, and switch on what is off; the slots that passed meanwhile are not made up for.

    What is off stays so where the person may not start its task either, and is named.
    """
    count = 0
    for row in rows:
        was_paused, was_off = resume(row), not row.enabled
        may_switch_on = holds(request.user, permission_to_switch_on(str(row.task)))
        if was_off and may_switch_on:
            row.enabled = True
            row.save()
        elif was_off:
            sentence = _("“%(schedule)s” stays off: you may not run its task, or not edit its row.")
            messages.warning(request, sentence % {"schedule": row.name})
        if was_paused or (was_off and may_switch_on):
            count += 1
            model_admin.log_change(request, row, "Resumed.")
    sentence = ngettext("%(count)d schedule is resumed.", "%(count)d schedules are resumed.", count)
    messages.success(request, sentence % {"count": count})
