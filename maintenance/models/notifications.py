"""What people are told, and what they do not want to be told."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q, Value
from django.utils.translation import gettext_lazy as _

from maintenance.core.finding_life import Mute
from maintenance.core.findings import Severity
from maintenance.models.runs import SUBJECT_LENGTH, SeverityChoice


class MutedFinding(models.Model):
    """A finding that somebody knows of: it is shown, and counts for nothing while this lasts.

    Without ``until`` it is for good, which ``endless`` has to say as well.
    """

    task = models.CharField(_("task"), max_length=200)
    target = models.CharField(_("target"), max_length=100, blank=True)
    code = models.CharField(_("code"), max_length=100)
    subject = models.CharField(_("subject"), max_length=SUBJECT_LENGTH, blank=True)
    fingerprint = models.CharField(_("fingerprint"), max_length=16)
    severity = models.CharField(
        _("severity"),
        max_length=10,
        choices=SeverityChoice.choices,
        help_text=_("What it was when it was muted: one that gets worse speaks again."),
    )
    reason = models.CharField(_("reason"), max_length=500)
    muted_by = models.CharField(_("muted by"), max_length=150)
    muted_at = models.DateTimeField(_("muted at"))
    until = models.DateTimeField(_("until"), null=True, blank=True)
    endless = models.BooleanField(_("for good"), default=False)

    class Meta:
        verbose_name = _("muted finding")
        verbose_name_plural = _("muted findings")
        ordering: ClassVar = ["until", "task", "target", "code", "subject"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["task", "fingerprint"], name="maintenance_muted_once"),
            models.CheckConstraint(
                condition=Q(until__isnull=False, endless=False)
                | Q(until__isnull=True, endless=True),
                name="maintenance_muted_until_or_for_good",
            ),
        ]

    def __str__(self) -> str:
        return " ".join(filter(None, (self.code, self.subject, self.target)))

    @property
    def mute(self) -> Mute:
        """The same as plain data."""
        return Mute(Severity(self.severity), self.reason, self.muted_by, self.until)


class Alarm(models.Model):
    """Something that somebody has to be told of at once; open until it is resolved.

    ``task`` is empty for what no run can find: a scheduler that is silent.
    """

    task = models.CharField(_("task"), max_length=200, blank=True)
    target = models.CharField(_("target"), max_length=100, blank=True)
    code = models.CharField(_("code"), max_length=100)
    subject = models.CharField(_("subject"), max_length=SUBJECT_LENGTH, blank=True)
    fingerprint = models.CharField(_("fingerprint"), max_length=16)
    severity = models.CharField(_("severity"), max_length=10, choices=SeverityChoice.choices)
    sentence = models.TextField(_("finding"))
    advice = models.TextField(_("advice"), blank=True)
    run_id = models.UUIDField(_("run"), null=True, blank=True)  # the retention may forget the run
    raised_at = models.DateTimeField(_("raised at"))
    resolved_at = models.DateTimeField(_("resolved at"), null=True, blank=True)
    resolution = models.TextField(_("how it ended"), blank=True)

    class Meta:
        verbose_name = _("alarm")
        verbose_name_plural = _("alarms")
        ordering: ClassVar = ["-raised_at"]
        indexes: ClassVar = [
            models.Index(fields=["task", "fingerprint", "-raised_at"], name="maintenance_alarms_of")
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["task", "fingerprint"],
                condition=Q(resolved_at__isnull=True),
                name="maintenance_alarm_open_once",
            ),
        ]

    def __str__(self) -> str:
        return self.sentence


class NotificationKind(models.TextChoices):
    """What a message is about."""

    ALARM = "alarm", _("alarm")
    RESOLVED = "resolved", _("resolved")
    SUMMARY = "summary", _("held back")
    DIGEST = "digest", _("digest")
    TEST = "test", _("test")


class NotificationState(models.TextChoices):
    """The life of a message. The first two are not its end."""

    PENDING = "pending", _("waiting")
    SENDING = "sending", _("being sent")
    SENT = "sent", _("sent")
    SUMMED_UP = "summed-up", _("in a summary")
    DROPPED = "dropped", _("not needed any more")
    FAILED = "failed", _("given up")


class Notification(models.Model):
    """One message to one channel: written with what it tells of, sent afterwards.

    ``key`` and ``channel`` are unique, so that nothing is written twice. ``state`` says how far it is;
    ``claimed_until`` is the end of the time in which whoever sends it is believed to be at work. Whoever is in
    ``taken_by`` is sent no second copy; ``sent_at`` is when the first of them took it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(_("kind"), max_length=10, choices=NotificationKind.choices)
    key = models.CharField(_("key"), max_length=200)
    channel = models.CharField(_("channel"), max_length=100)
    alarm = models.ForeignKey(
        Alarm, on_delete=models.CASCADE, null=True, blank=True, related_name="notifications"
    )
    content = models.JSONField(_("content"), default=dict, blank=True)
    title = models.CharField(_("title"), max_length=300)
    state = models.CharField(
        _("state"),
        max_length=10,
        choices=NotificationState.choices,
        default=NotificationState.PENDING,
    )
    created_at = models.DateTimeField(_("written at"), db_index=True)
    due_at = models.DateTimeField(_("not before"))
    claimed_until = models.DateTimeField(_("claimed until"), null=True, blank=True)
    first_attempt_at = models.DateTimeField(_("first attempt"), null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    sent_at = models.DateTimeField(_("sent at"), null=True, blank=True)
    reason = models.TextField(_("reason"), blank=True)
    taken_by = models.JSONField(
        _("taken by"), default=list, db_default=Value([], models.JSONField()), blank=True
    )

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering: ClassVar = ["-created_at"]
        indexes: ClassVar = [
            models.Index(
                fields=["due_at"],
                condition=Q(state__in=["pending", "sending"]),
                name="maintenance_messages_waiting",
            ),
            models.Index(fields=["channel", "sent_at"], name="maintenance_messages_sent"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["key", "channel"], name="maintenance_message_once"),
        ]

    def __str__(self) -> str:
        return self.title
