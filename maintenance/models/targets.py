"""Performance targets that a person accepted in the place of those in the configuration."""

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _


class AcceptedTarget(models.Model):
    """A target in force instead of the configuration's.

    It holds as long as the configuration still says what it ``replaces``: whoever edits the file
    afterwards knows better. ``target`` is empty for a field of ``thresholds``, else the broker whose
    ``setting`` it is.
    """

    setting = models.CharField(_("setting"), max_length=100)
    target = models.CharField(_("target"), max_length=100, blank=True)
    value = models.FloatField(_("value"))
    replaces = models.FloatField(_("replaces"))
    reason = models.TextField(_("reason"), blank=True)
    accepted_by = models.CharField(_("accepted by"), max_length=150)
    accepted_at = models.DateTimeField(_("accepted at"))

    class Meta:
        verbose_name = _("performance target")
        verbose_name_plural = _("performance targets")
        ordering: ClassVar = ["setting", "target"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["setting", "target"], name="maintenance_accepted_target"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.setting}{f' of {self.target}' if self.target else ''}"
