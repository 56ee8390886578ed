"""The ledger: what ran, what it said, and what was measured."""

import uuid
from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from maintenance.core.findings import Severity
from maintenance.core.pace import Pace, pace

#: A subject longer than this is cut: three quoted identifiers of 63 bytes each always fit.
SUBJECT_LENGTH = 500

#: Commands that wait for a run's end wait no longer than this for one that was postponed.
LONG_WAIT = timedelta(minutes=1)


class RunState(models.TextChoices):
    """The life of a run. All but the first two are terminal.

    ``sent`` is the end of a run of somebody else's task, whose worker does not report to the ledger.
    """

    QUEUED = "queued", _("queued")
    RUNNING = "running", _("running")
    SUCCEEDED = "succeeded", _("succeeded")
    FAILED = "failed", _("failed")
    SKIPPED = "skipped", _("skipped")
    CANCELLED = "cancelled", _("cancelled")
    SENT = "sent", _("sent")


TERMINAL_STATES = (
    RunState.SUCCEEDED,
    RunState.FAILED,
    RunState.SKIPPED,
    RunState.CANCELLED,
    RunState.SENT,
)


class Trigger(models.TextChoices):
    """Who asked for a run."""

    BEAT = "beat", _("schedule")
    ADMIN = "admin", _("admin")
    CLI = "cli", _("command line")
    API = "api", _("application code")
    FOLLOW_UP = "follow-up", _("follow-up of a run")


class SeverityChoice(models.TextChoices):
    """:class:`maintenance.core.findings.Severity` for the database."""

    OK = Severity.OK.value, _("ok")
    INFO = Severity.INFO.value, _("info")
    WARNING = Severity.WARNING.value, _("warning")
    CRITICAL = Severity.CRITICAL.value, _("critical")


class Run(models.Model):
    """One execution of one task on one target. Its id is the Celery task id.

    The row, not the broker, decides: it is written before the message is sent, a worker claims it
    before it works, and a message that finds it finished or held stops there.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    task = models.CharField(_("task"), max_length=200, db_index=True)
    target = models.CharField(_("target"), max_length=100, blank=True, db_index=True)
    options = models.JSONField(_("options"), default=dict, blank=True)
    # Defaults of the server, here and below, are for processes of an older release, which do not write these.
    resource = models.CharField(
        _("resource"),
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text=_("What of its target it has to itself while it runs; empty where it shares."),
    )
    queue = models.CharField(_("queue"), max_length=200)
    priority = models.PositiveSmallIntegerField(_("priority"), null=True, blank=True)
    checklist = models.CharField(_("checklist"), max_length=20, blank=True)
    schedule = models.CharField(_("schedule"), max_length=200, blank=True)
    scheduled_for = models.DateTimeField(_("scheduled for"), null=True, blank=True)
    stands_for = models.PositiveIntegerField(
        _("stands for"),
        default=1,
        db_default=1,
        help_text=_("How many slots of its schedule: missed ones, too."),
    )
    trigger = models.CharField(_("trigger"), max_length=10, choices=Trigger.choices)
    actor = models.CharField(_("actor"), max_length=150, blank=True)

    state = models.CharField(
        _("state"), max_length=10, choices=RunState.choices, default=RunState.QUEUED, db_index=True
    )
    reason = models.TextField(_("reason"), blank=True)
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=0)
    failures = models.JSONField(_("failed attempts"), default=list, blank=True)

    queued_at = models.DateTimeField(_("queued at"), db_index=True)
    published_at = models.DateTimeField(_("published at"), null=True, blank=True)
    available_at = models.DateTimeField(_("not before"), null=True, blank=True)
    deadline_at = models.DateTimeField(_("not after"), null=True, blank=True)
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)

    worker = models.CharField(_("worker"), max_length=200, blank=True)
    heartbeat_at = models.DateTimeField(_("last heartbeat"), null=True, blank=True)
    deaths = models.PositiveSmallIntegerField(
        _("deaths"),
        default=0,
        db_default=0,
        help_text=_("How many workers were lost while they held it."),
    )
    cancel_requested = models.BooleanField(_("cancel requested"), default=False)
    cancel_actor = models.CharField(
        _("cancel requested by"), max_length=150, blank=True, default="", db_default=""
    )

    phase = models.CharField(_("phase"), max_length=200, blank=True)
    progress_done = models.BigIntegerField(_("done"), default=0)
    progress_total = models.BigIntegerField(_("of"), null=True, blank=True)
    progress_unit = models.CharField(_("unit"), max_length=50, blank=True)
    progress_since = models.DateTimeField(
        _("counted since"),
        null=True,
        blank=True,
        help_text=_("Where the count of what is done began: its rate is told from there."),
    )
    progress_from = models.BigIntegerField(
        _("counted from"),
        null=True,
        blank=True,
        help_text=_("What was done already when the count began."),
    )

    severity = models.CharField(
        _("worst finding"), max_length=10, choices=SeverityChoice.choices, blank=True
    )
    summary = models.TextField(_("summary"), blank=True)

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        ordering: ClassVar = ["-queued_at"]
        get_latest_by = "queued_at"
        indexes: ClassVar = [
            models.Index(fields=["task", "target", "-queued_at"], name="maintenance_run_history"),
            # What the next run starts from: the last success, without reading all before it.
            models.Index(
                fields=["task", "target", "-finished_at"],
                condition=Q(state="succeeded"),
                name="maintenance_run_last_success",
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["schedule", "target", "scheduled_for"],
                condition=Q(scheduled_for__isnull=False),
                name="maintenance_run_one_per_slot",
            ),
            # The lock: a second run of the same work on the same target cannot become "running".
            models.UniqueConstraint(
                fields=["resource", "target"],
                condition=Q(state="running") & ~Q(resource=""),
                name="maintenance_run_one_at_a_time",
            ),
        ]
        permissions: ClassVar = [
            ("run_reading_task", _("Can run tasks that only read")),
            ("run_writing_task", _("Can run tasks that write to a target")),
            ("run_dangerous_task", _("Can run tasks that can harm a site")),
            ("cancel_run", _("Can cancel runs")),
        ]

    def __str__(self) -> str:
        return f"{self.short_task}{f' on {self.target}' if self.target else ''}"

    @property
    def short_task(self) -> str:
        """The task's name without the package: ``vacuum_analyze``."""
        return self.task.removeprefix("maintenance.")

    @property
    def title(self) -> str:
        """The task's name as the head of a report begins: ``Vacuum analyze``."""
        return self.short_task.replace("_", " ").capitalize()

    @property
    def is_finished(self) -> bool:
        """Whether the state will not change any more."""
        return self.state in TERMINAL_STATES

    @property
    def is_by_hand(self) -> bool:
        """Whether a person asked for it."""
        return self.trigger in (Trigger.ADMIN, Trigger.CLI)

    @property
    def is_postponed(self) -> bool:
        """Whether it waits for a better time; ``reason`` says why, ``available_at`` until when."""
        return self.state == RunState.QUEUED and bool(self.reason)

    @property
    def waits_for_long(self) -> bool:
        """Whether it is postponed for longer than somebody at a terminal wants to look on."""
        if not self.is_postponed or self.available_at is None:
            return False
        return self.available_at - timezone.now() > LONG_WAIT

    @property
    def duration(self) -> timedelta | None:
        """Time from start to finish; ``None`` while either is missing."""
        if self.started_at is None or self.finished_at is None:
            return None
        return self.finished_at - self.started_at

    @property
    def pace(self) -> Pace | None:
        """How quickly it gets on; ``None`` while that cannot be told.

        Both moments are the ledger's. The heartbeat goes on while a long statement lasts, so that the
        rate falls meanwhile, and stands still when the worker does.
        """
        if self.state != RunState.RUNNING or self.progress_since is None or not self.heartbeat_at:
            return None
        elapsed = (self.heartbeat_at - self.progress_since).total_seconds()
        return pace(self.progress_done, self.progress_total, self.progress_from or 0, elapsed)


class RunStep(models.Model):
    """What a run has done so far, while it lasts: another attempt goes on from there.

    Of steps and samples the server does not check that their run is there: the ledger writes and deletes
    them in one transaction with it, and a look at each for every run deleted is a quarter of the retention.
    """

    run = models.ForeignKey(  # the constraint below begins with it
        Run,
        on_delete=models.CASCADE,
        related_name="steps",
        db_index=False,
        db_constraint=False,
    )
    key = models.CharField(_("step"), max_length=SUBJECT_LENGTH)
    outcome = models.JSONField(_("outcome"))
    recorded_at = models.DateTimeField(_("recorded at"))

    class Meta:
        verbose_name = _("step of a run")
        verbose_name_plural = _("steps of runs")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "key"], name="maintenance_run_step"),
        ]

    def __str__(self) -> str:
        return self.key


class StoredReport(models.Model):
    """The report of one run as data, and the names of its files in the log store."""

    run = models.OneToOneField(Run, on_delete=models.CASCADE, related_name="report")
    schema_version = models.PositiveSmallIntegerField(_("schema version"))
    body = models.JSONField(_("body"))
    state = models.JSONField(_("state for the next run"), default=dict)
    files = models.JSONField(_("files"), default=list)
    fixed = models.JSONField(
        _("fixed"),
        default=list,
        null=True,  # from a worker of the release before
        blank=True,
        help_text=_("Findings that the runs before had, and it has not."),
    )
    created_at = models.DateTimeField(_("created at"))
    record_due_at = models.DateTimeField(
        _("record due"),
        null=True,
        blank=True,
        help_text=_("From when on any worker writes its files; empty where nothing is missing."),
    )
    told_at = models.DateTimeField(
        _("told at"),
        null=True,
        blank=True,
        help_text=_("Its JSON line is written, pings are sent."),
    )

    class Meta:
        verbose_name = _("report")
        verbose_name_plural = _("reports")
        indexes = (
            models.Index(
                fields=("record_due_at",),
                condition=models.Q(record_due_at__isnull=False),
                name="maintenance_reports_unrecorded",
            ),
        )

    def __str__(self) -> str:
        return f"Report of {self.run}"


class StoredFinding(models.Model):
    """One finding of one run, for queries and lists; the report holds the same in full."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="findings")
    fingerprint = models.CharField(_("fingerprint"), max_length=16, db_index=True)
    code = models.CharField(_("code"), max_length=100, db_index=True)
    severity = models.CharField(
        _("severity"), max_length=10, choices=SeverityChoice.choices, db_index=True
    )
    target = models.CharField(_("target"), max_length=100, blank=True)
    subject = models.CharField(_("subject"), max_length=SUBJECT_LENGTH, blank=True)
    sentence = models.TextField(_("finding"))
    advice = models.TextField(_("advice"), blank=True)
    evidence = models.JSONField(_("evidence"), default=dict)
    measured = models.BooleanField(_("measured"), default=True)
    found_at = models.DateTimeField(_("found at"), db_index=True)
    since = models.DateTimeField(
        _("since"),
        null=True,
        blank=True,
        help_text=_("From when on every run that could has found it."),
    )

    class Meta:
        verbose_name = _("finding")
        verbose_name_plural = _("findings")
        ordering: ClassVar = ["-found_at", "id"]

    def __str__(self) -> str:
        return self.sentence


class StoredSample(models.Model):
    """One measured number, kept over time."""

    run = models.ForeignKey(
        Run,
        on_delete=models.CASCADE,
        related_name="samples",
        db_constraint=False,
    )
    target = models.CharField(_("target"), max_length=100, blank=True)
    metric = models.CharField(_("metric"), max_length=100)
    subject = models.CharField(_("subject"), max_length=SUBJECT_LENGTH, blank=True)
    value = models.FloatField(_("value"))
    measured_at = models.DateTimeField(_("measured at"))

    class Meta:
        verbose_name = _("sample")
        verbose_name_plural = _("samples")
        indexes: ClassVar = [
            models.Index(
                fields=["target", "metric", "subject", "measured_at"],
                name="maintenance_sample_series",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.target} {self.metric} {self.subject}: {self.value}"


class RateLimitState(models.Model):
    """The theoretical arrival time of a rate limit's next start, shared by every worker."""

    key = models.CharField(_("key"), max_length=200, primary_key=True)
    next_start_at = models.DateTimeField(_("next start"))

    class Meta:
        verbose_name = _("rate limit")
        verbose_name_plural = _("rate limits")

    def __str__(self) -> str:
        return self.key
