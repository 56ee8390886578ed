"""Schedules beside django-celery-beat's rows: what we wrote there, their policies, their history."""

from typing import ClassVar

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _
from django_celery_beat.models import PeriodicTask

from maintenance.core.errors import InvalidOptions
from maintenance.core.scheduling import policies
from maintenance.core.scheduling.day_rules import parse_days


class SyncedSchedule(models.Model):
    """What ``sync_schedules`` last wrote into a django-celery-beat row.

    A row that differs from this was edited by an operator, and is left as the operator wants it.
    """

    name = models.CharField(_("name"), max_length=200, unique=True)
    definition = models.JSONField(_("definition"))
    synced_at = models.DateTimeField(_("synced at"))

    class Meta:
        verbose_name = _("synced schedule")
        verbose_name_plural = _("synced schedules")

    def __str__(self) -> str:
        return self.name


class ScheduleRow(PeriodicTask):  # type: ignore[misc]  # the library has no types
    """django-celery-beat's row of a maintenance task, under permissions and an admin of our own."""

    class Meta:
        proxy = True
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")

    def __str__(self) -> str:
        return str(self.name)


class Misfire(models.TextChoices):
    """What becomes of slots that passed while nobody could send them."""

    ONCE = policies.Misfire.ONCE.value, _("run once, late")
    SKIP = policies.Misfire.SKIP.value, _("skip")
    EACH = policies.Misfire.EACH.value, _("run each")


class OverlapPolicy(models.TextChoices):
    """What becomes of a slot whose schedule's run before has not ended."""

    SKIP = policies.Overlap.SKIP.value, _("skip")
    QUEUE_ONE = policies.Overlap.QUEUE_ONE.value, _("queue one")
    ALLOW = policies.Overlap.ALLOW.value, _("allow")


class SchedulePolicy(models.Model):
    """How one schedule deals with what goes wrong. A schedule without a row has the defaults."""

    row = models.OneToOneField(
        PeriodicTask,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="maintenance_policy",
        verbose_name=_("schedule"),
    )
    days = models.CharField(
        _("only on"),
        max_length=30,
        blank=True,
        help_text=_('Of the days of the crontab only these: "last", "2nd tuesday", "last friday".'),
    )
    misfire = models.CharField(
        _("missed slots"), max_length=10, choices=Misfire.choices, default=Misfire.ONCE
    )
    catch_up_seconds = models.PositiveIntegerField(
        _("catch up within (seconds)"),
        null=True,
        blank=True,
        help_text=_("A slot missed by longer is skipped. Empty: it is never too late."),
    )
    overlap = models.CharField(
        _("while the run before lasts"),
        max_length=10,
        choices=OverlapPolicy.choices,
        default=OverlapPolicy.SKIP,
    )
    jitter_seconds = models.PositiveIntegerField(
        _("jitter (seconds)"),
        default=0,
        help_text=_("Runs start up to so much later, each schedule by a time of its own."),
    )
    deadline_seconds = models.PositiveIntegerField(
        _("start within (seconds)"),
        null=True,
        blank=True,
        help_text=_("A run that has not started so long after its slot is skipped."),
    )
    priority = models.PositiveSmallIntegerField(
        _("priority (0 is the highest)"), null=True, blank=True
    )
    pause_after_failures = models.PositiveSmallIntegerField(
        _("pause after failures in a row"), default=0, help_text=_("0: never.")
    )
    paused_at = models.DateTimeField(_("paused at"), null=True, blank=True)
    paused_by = models.CharField(_("paused by"), max_length=150, blank=True)
    pause_reason = models.TextField(_("reason of the pause"), blank=True)
    changed_at = models.DateTimeField(_("changed at"), auto_now=True, db_index=True)

    class Meta:
        verbose_name = _("policy of a schedule")
        verbose_name_plural = _("policies of schedules")

    def __str__(self) -> str:
        return str(self.row)

    def clean(self) -> None:
        """Raise ``ValidationError`` for days that name none."""
        try:
            parse_days(self.days)
        except InvalidOptions as error:
            raise ValidationError({"days": str(error)}) from None

    @property
    def policy(self) -> policies.Policy:
        """What the scheduler decides by."""
        by = f"by {self.paused_by}" if self.paused_by else ""
        return policies.Policy(
            misfire=policies.Misfire(self.misfire),
            catch_up_seconds=self.catch_up_seconds,
            overlap=policies.Overlap(self.overlap),
            jitter_seconds=self.jitter_seconds,
            deadline_seconds=self.deadline_seconds,
            priority=self.priority,
            pause_after_failures=self.pause_after_failures,
            pause=": ".join(filter(None, (by, self.pause_reason))) or "without a reason given"
            if self.paused_at is not None
            else "",
        )


class Blackout(models.Model):
    """A time in which no schedule starts a run: its slots are skipped, with ``reason``."""

    reason = models.CharField(_("reason"), max_length=200)
    starts_at = models.DateTimeField(_("from"))
    ends_at = models.DateTimeField(_("until"), db_index=True)
    target = models.CharField(
        _("target"), max_length=100, blank=True, help_text=_("Empty: all of them.")
    )

    class Meta:
        verbose_name = _("blackout")
        verbose_name_plural = _("blackouts")
        ordering: ClassVar = ["starts_at"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(ends_at__gt=models.F("starts_at")),
                name="maintenance_blackout_ends_later",
            ),
        ]

    def __str__(self) -> str:
        return str(self.reason)


class ScheduleVersion(models.Model):
    """What a schedule was, from ``since`` to its next version: which slots it had, for the proof.

    The leading scheduler writes it when it takes the schedule over. ``definition`` is empty from when
    the schedule was off, or gone.
    """

    schedule = models.CharField(_("schedule"), max_length=200)
    since = models.DateTimeField(_("since"))
    definition = models.JSONField(_("definition"), default=dict)

    class Meta:
        verbose_name = _("version of a schedule")
        verbose_name_plural = _("versions of schedules")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["schedule", "since"], name="maintenance_schedule_version"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.schedule} since {self.since:%Y-%m-%d %H:%M:%S}"


class Leader(models.Model):
    """Which scheduler sends: the one whose ``token`` stands here, until ``expires_at``.

    Every write of the leader names its token in the same transaction, so that one that was stopped
    and goes on later can write nothing.
    """

    name = models.CharField(_("name"), max_length=50, primary_key=True)
    holder = models.CharField(_("holder"), max_length=200)
    token = models.BigIntegerField(_("token"), default=0)
    since = models.DateTimeField(_("leads since"))
    expires_at = models.DateTimeField(_("until"))
    ticked_at = models.DateTimeField(_("last tick"), null=True, blank=True)

    class Meta:
        verbose_name = _("leader")
        verbose_name_plural = _("leaders")

    def __str__(self) -> str:
        return str(self.holder)
