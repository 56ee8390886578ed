"""Filters of the lists. Their choices come from code and configuration, never from a scan of rows."""

from datetime import timedelta
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet, TextChoices
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from maintenance.admin.base import AnyModelAdmin
from maintenance.admin.wording import task_words
from maintenance.conf import configuration
from maintenance.core.runs.registry import TargetKind, all_tasks
from maintenance.models import RunState, SeverityChoice, Trigger
from maintenance.schedules import CHECKLISTS

Choices = list[tuple[str, str]]


class CompactFilter(SimpleListFilter):
    """A filter that says what is chosen and opens for a change, so that the list keeps its width."""

    template = "admin/maintenance/filter.html"

    def value(self) -> str | None:
        """Return what is chosen, ``None`` for what is no choice: an address may hold anything."""
        chosen = super().value()
        return chosen if chosen in dict(self.lookup_choices) else None


class FieldFilter(CompactFilter):
    """Rows whose ``field`` equals the value, be it a choice or not: there are rows of targets that are gone."""

    field = ""

    def value(self) -> str | None:
        """Return what the address says."""
        return SimpleListFilter.value(self)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        """Narrow the rows down, if something is asked for: to none, where it is what no row can hold."""
        value = self.value()
        if value is None:
            return queryset
        return queryset.none() if "\0" in value else queryset.filter(**{self.field: value})


class AskedForFilter(CompactFilter):
    """By how long ago the run was asked for.

    Django's own navigation by date reads the whole history to know its months.
    """

    title = _("asked for")
    parameter_name = "days"

    def lookups(self, request: HttpRequest, model_admin: AnyModelAdmin) -> Choices:  # noqa: ARG002
        """Return spans of days."""
        spans = {1: _("last 24 hours"), 7: _("last 7 days"), 30: _("last 30 days")}
        return [(str(days), str(words)) for days, words in spans.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        """Narrow the rows down, if a span is chosen."""
        value = self.value()
        if value not in {"1", "7", "30"}:
            return queryset
        return queryset.filter(queued_at__gte=timezone.now() - timedelta(days=int(value)))


class ChoiceFilter(FieldFilter):
    """By the value of a field that has one of ``choices_of``."""

    choices_of: type[TextChoices]

    def lookups(self, request: HttpRequest, model_admin: AnyModelAdmin) -> Choices:  # noqa: ARG002
        """Return every value with its label."""
        return [(value, str(label)) for value, label in self.choices_of.choices]


class RunStateFilter(ChoiceFilter):
    """By state of the run."""

    title = _("state")
    parameter_name = "state"
    field = "state"
    choices_of = RunState


class TriggerFilter(ChoiceFilter):
    """By what asked for the run."""

    title = _("trigger")
    parameter_name = "trigger"
    field = "trigger"
    choices_of = Trigger


class TaskFilter(FieldFilter):
    """By registered task."""

    title = _("task")
    parameter_name = "task"
    field = "task"

    def lookups(self, request: HttpRequest, model_admin: AnyModelAdmin) -> Choices:  # noqa: ARG002
        """Return every registered task."""
        return [(spec.name, task_words(spec.name)) for spec in all_tasks()]


class TargetFilter(FieldFilter):
    """By configured target."""

    title = _("target")
    parameter_name = "target"
    field = "target"

    def lookups(self, request: HttpRequest, model_admin: AnyModelAdmin) -> Choices:  # noqa: ARG002
        """Return every configured target once: a database and a cache may share a name."""
        parsed = configuration()
        names = {name for kind in TargetKind for name in kind.targets(parsed)}
        return [(name, name) for name in sorted(names) if name]


class ChecklistFilter(FieldFilter):
    """By checklist of the schedule that a run comes from."""

    title = _("checklist")
    parameter_name = "checklist"
    field = "checklist"

    def lookups(self, request: HttpRequest, model_admin: AnyModelAdmin) -> Choices:  # noqa: ARG002
        """Return the checklists in the order of their periods."""
        return [(name, name.capitalize()) for name in CHECKLISTS]


class SeverityFilter(FieldFilter):
    """By severity, worst first."""

    title = _("worst finding")
    parameter_name = "severity"
    field = "severity"

    def lookups(self, request: HttpRequest, model_admin: AnyModelAdmin) -> Choices:  # noqa: ARG002
        """Return the severities, worst first."""
        return [(value, str(label)) for value, label in reversed(SeverityChoice.choices)]
