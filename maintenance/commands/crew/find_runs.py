"""Which run a person means: by id, by the first characters of an id, or the latest of a task."""

import re
from uuid import UUID

from django.db.models import CharField, QuerySet
from django.db.models.functions import Cast

from maintenance.conf import configuration
from maintenance.core.errors import UnknownName
from maintenance.core.reports import ReportDocument
from maintenance.core.runs.ledger import stored_document
from maintenance.core.runs.registry import TargetKind, task_named
from maintenance.core.suggestions import require_known
from maintenance.models import Run, StoredReport

SHORTEST_PREFIX = 4
#: What lists show of an id: a clash within a year's runs of a large site is rare, and refused.
SHOWN_CHARACTERS = 8

_LATEST = "latest:"
_HEXADECIMAL = re.compile(r"[0-9a-f-]+")


def short_id(run: Run) -> str:
    """Return the part of a run's id that lists show."""
    return str(run.id)[:SHOWN_CHARACTERS]


def runs_of(task: str | None, target: str | None) -> QuerySet[Run]:
    """Return runs, newest first, of one task and target where they are given.

    Raises ``UnknownName`` for a task that does not exist. A target that is not configured any
    more still has its history.
    """
    found = Run.objects.order_by("-queued_at")
    if task is not None:
        found = found.filter(task=task_named(task).name)
    if target is not None:
        found = found.filter(target=known_target(target))
    return found


def known_target(target: str) -> str:
    """Return the name of a target that is configured, or has a history. Raises ``UnknownName``."""
    if Run.objects.filter(target=target).exists():
        return target
    config = configuration()
    sections = [kind.targets(config) for kind in TargetKind if kind is not TargetKind.NONE]
    return require_known("target", target, {name for section in sections for name in section})


def run_named(name: str) -> Run:
    """Return the run that ``name`` means: an id, the beginning of one, or ``latest:TASK[:TARGET]``.

    Raises ``UnknownName`` where there is none, where the beginning is too short, and where it
    fits several runs.
    """
    if name.startswith(_LATEST):
        return _latest(name.removeprefix(_LATEST))
    text = name.strip().lower()
    if not _HEXADECIMAL.fullmatch(text):
        raise UnknownName(
            f'"{name}" is no id of a run. Write an id, its first {SHORTEST_PREFIX} characters or'
            " more, or latest:TASK; see: python manage.py maintenance reports list"
        )
    if len(text) < SHORTEST_PREFIX:
        raise UnknownName(
            f'"{name}" is too short to mean one run. Write at least {SHORTEST_PREFIX} characters.'
        )
    return _by_id(name, text)


def _by_id(name: str, text: str) -> Run:
    try:
        found = list(Run.objects.filter(id=UUID(text)))
    except ValueError:
        as_text = Run.objects.annotate(id_text=Cast("id", CharField()))
        found = list(as_text.filter(id_text__startswith=text).order_by("-queued_at")[:4])
    if not found:
        raise UnknownName(
            f'No run has an id that begins with "{name}". See: python manage.py maintenance runs'
        )
    if len(found) > 1:
        fitting = ", ".join(f"{run.id} ({run})" for run in found[:3])
        more = " and others" if len(found) > 3 else ""
        raise UnknownName(f'"{name}" fits several runs: {fitting}{more}. Write more characters.')
    return found[0]


def _latest(wanted: str) -> Run:
    task, _, target = wanted.partition(":")
    found = runs_of(task, target or None).filter(report__isnull=False).first()
    if found is None:
        spec = task_named(task)
        on = f" on {target}" if target else ""
        raise UnknownName(
            f"There is no report of {spec.short_name}{on} yet."
            f" Make one with: python manage.py maintenance run {spec.short_name}"
        )
    return found


def document_of(run: Run) -> ReportDocument:
    """Return the run's report. Raises ``UnknownName`` where it has none yet."""
    try:
        return stored_document(run)
    except StoredReport.DoesNotExist:
        raise UnknownName(
            f"Run {run.id} of {run} is {run.state} and has no report yet."
            f" Wait for it, or see: python manage.py maintenance runs --task {run.short_task}"
        ) from None
