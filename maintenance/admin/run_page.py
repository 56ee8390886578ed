"""What the page of one run shows: its progress while it lasts, its report afterwards."""

from datetime import datetime
from typing import Any
from urllib.parse import quote

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from maintenance.admin.option_fields import label_of
from maintenance.admin.plan_offer import plan_offer
from maintenance.admin.rights import may_cancel, permission_to_run
from maintenance.admin.wording import moment, task_words
from maintenance.conf import configuration
from maintenance.core.errors import UnknownName
from maintenance.core.runs import ledger
from maintenance.core.runs.registry import task_named
from maintenance.models import Run, RunState, StoredReport
from maintenance.people import User, holds
from maintenance.reports import html
from maintenance.reports.formats import FORMATS
from maintenance.reports.formatting import format_ratio, format_seconds, format_value
from maintenance.reports.progress import amount_in_words, pace_in_words, share_done
from maintenance.reports.publication import in_timezone, of_document

_FORMAT_WORDS = {
    "html": "HTML",
    "markdown": "Markdown",
    "json": "JSON",
    "csv": "CSV",
    "text": "Text",
}


def page_context(request: HttpRequest, run: Run) -> dict[str, Any]:
    """Return what the template of the run's page needs."""
    previous, following = neighbours(run)
    return {
        "run": run,
        "task_words": task_words(run.task),
        "may_cancel": may_cancel(request.user, run),
        "may_run_again": _may_run(request.user, run),
        "previous_run": previous,
        "next_run": following,
        "has_log": _has_log(run),
        "plan_offer": plan_offer(run, following, request.user),
        "flower_task_url": flower_task_url(run),
        "formats": [(name, _FORMAT_WORDS[name]) for name in FORMATS],
        "facts": facts(run),
        "failures": [_failure(item) for item in run.failures],
        **(_report_context(run) if run.is_finished else progress_context(run)),
    }


def facts(run: Run) -> list[tuple[str, SafeString | str]]:
    """Return what is known of a run before it has a report, as names and values; no empty ones."""
    actor = _("%(trigger)s by %(actor)s") % {
        "trigger": run.get_trigger_display(),
        "actor": run.actor,
    }
    options = "; ".join(
        f"{label_of(name).lower()}: {format_value(name, value)}"
        for name, value in run.options.items()
    )
    named = [
        (_("task"), run.task),
        (_("target"), run.target),
        (_("triggered"), actor if run.actor else run.get_trigger_display()),
        (_("schedule"), run.schedule),
        (_("options"), options),
        (_("queue"), run.queue),
        (_("queued"), moment(run.queued_at)),
        (_("not before"), moment(run.available_at) if run.available_at else ""),
        (_("started"), moment(run.started_at) if run.started_at else ""),
        (_("worker"), run.worker),
        (_("attempt"), str(run.attempt) if run.attempt > 1 else ""),
        (_("run"), str(run.id)),
    ]
    return [(name, value) for name, value in named if value]


def neighbours(run: Run) -> tuple[Run | None, Run | None]:
    """Return the runs of the same task on the same target just before and just after."""
    same = Run.objects.filter(task=run.task, target=run.target).only("id", "queued_at")
    before = same.filter(queued_at__lt=run.queued_at).order_by("-queued_at").first()
    after = same.filter(queued_at__gt=run.queued_at).order_by("queued_at").first()
    return before, after


def _has_log(run: Run) -> bool:
    """Tell whether a person did something to the run: Django's page of it says nothing else."""
    kind = ContentType.objects.get_for_model(Run)
    return LogEntry.objects.filter(content_type=kind, object_id=str(run.id)).exists()


def flower_task_url(run: Run) -> str:
    """Return the run's page in Flower, empty where no Flower is configured."""
    base = configuration().flower_url.rstrip("/")
    return f"{base}/task/{quote(str(run.id))}" if base else ""


def _may_run(user: User, run: Run) -> bool:
    try:
        return holds(user, permission_to_run(task_named(run.task)))
    except UnknownName:  # the task was renamed or removed since
        return False


def _failure(item: dict[str, Any]) -> dict[str, Any]:
    at = parse_datetime(item.get("at", ""))
    return {**item, "at": moment(at) if at else item.get("at", "")}


def _report_context(run: Run) -> dict[str, Any]:
    try:
        document = ledger.stored_document(run)
    except StoredReport.DoesNotExist:
        return {"no_report": _no_report(run)}
    except ValueError as error:  # written by another release
        return {"no_report": str(error)}
    local = in_timezone(document, timezone.get_current_timezone())
    publication = of_document(local, ledger.previous_document(run))
    return {"has_report": True, **html.body_context(publication, heading_level=2)}


def _no_report(run: Run) -> str:
    if run.state == RunState.SENT:
        return _(
            "The broker took its message. It is a task of the site's own, which nobody watches:"
            " how it ended is not known here."
        )
    return _("This run left no report.")


def progress_context(run: Run) -> dict[str, Any]:
    """Return how far a run is, in words and as numbers for a progress bar."""
    now = timezone.now()
    done, total, is_queued = run.progress_done, run.progress_total, run.state == RunState.QUEUED
    ratio = None if is_queued else share_done(done, total)
    return {
        "run": run,
        "task": task_words(run.task),
        "phase": run.phase or phase_of_state(run),
        "known_total": ratio is not None,
        "percent": "" if ratio is None else format_ratio(ratio),
        "amount": "" if is_queued else amount_in_words(done, total, run.progress_unit),
        "pace": pace_in_words(run.pace, run.progress_unit),
        "lasted": _lasted(run, now),
        "stale": _is_stale(run, now),
    }


def phase_of_state(run: Run) -> SafeString | str:
    """Return what a run that has not ended is at, or waits for."""
    if run.state == RunState.RUNNING:
        return _("at work")
    if run.is_postponed:
        return format_html(_("waits until {}: {}"), moment(run.available_at), run.reason)
    if run.attempt:
        return _("waiting for its next attempt")
    return _("waiting for a worker")


def _lasted(run: Run, now: datetime) -> str:
    since = run.started_at if run.state == RunState.RUNNING else run.queued_at
    return format_seconds(max(round((now - (since or now)).total_seconds()), 0))


def _is_stale(run: Run, now: datetime) -> bool:
    """Tell whether the worker has been silent for longer than its lease."""
    if run.state != RunState.RUNNING or run.heartbeat_at is None:
        return False
    return (now - run.heartbeat_at).total_seconds() > ledger.LEASE_SECONDS
