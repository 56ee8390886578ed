"""The form that starts a task by hand, made of the task's own target kind and options."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from django import forms
from django.utils.translation import gettext as _

from maintenance.admin.option_fields import option_fields
from maintenance.conf import Configuration
from maintenance.core.errors import InvalidOptions
from maintenance.core.options import parse_options
from maintenance.core.runs.registry import TargetKind, TaskSpec

_PREFIX = "option-"


class TaskForm(forms.Form):
    """Target and options of one task. A task that writes starts as a dry run unless unticked."""

    def __init__(
        self,
        spec: TaskSpec,
        configuration: Configuration,
        data: Mapping[str, Any] | None = None,
        *,
        target: str = "",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data, label_suffix="")
        self.spec = spec
        if spec.target_kind is not TargetKind.NONE:
            names = spec.target_names(configuration)
            self.fields["target"] = forms.ChoiceField(
                label=_("Target"),
                choices=[(name, name) for name in names],
                initial=target if target in names else names[0],
            )
        for name, field in option_fields(spec.options_type, dict(options or {})).items():
            self.fields[_PREFIX + name] = field
        if spec.has_dry_run:
            dry_run = self.fields[_PREFIX + "dry_run"]
            dry_run.initial = spec.writes or dry_run.initial
            dry_run.help_text = _("Stop after the plan: show what would be done, change nothing.")

    def clean(self) -> dict[str, Any]:
        """Check the options as the task itself will, so that a fault shows here."""
        cleaned = super().clean() or {}
        if not self.errors:
            try:
                parse_options(self.spec.options_type, self.options)
            except InvalidOptions as fault:
                self.add_error(None, str(fault))
        return cleaned

    @property
    def target(self) -> str:
        """The chosen target; empty for a task on the site itself."""
        return str(self.cleaned_data.get("target", ""))

    @property
    def options(self) -> dict[str, Any]:
        """The options that differ from their defaults, and ``dry_run`` always: plain JSON values."""
        given = {
            name.removeprefix(_PREFIX): value
            for name, value in self.cleaned_data.items()
            if name.startswith(_PREFIX)
        }
        defaults = option_fields(self.spec.options_type, {})
        return {
            name: value
            for name, value in given.items()
            if name == "dry_run"
            or (value not in (None, "") and _plain(value) != _plain(defaults[name].initial))
        }

    @property
    def changes_something(self) -> bool:
        """Whether the run would write to its target: then a person must confirm it."""
        return self.spec.writes and not self.options.get("dry_run", False)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value
