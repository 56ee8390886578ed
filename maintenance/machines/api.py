"""A small JSON API: runs, their reports, current findings, and starting a run. See :mod:`.openapi`."""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import BadRequest
from django.db.models import Case, Q, When
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from maintenance.conf import configuration
from maintenance.core.attention.standings import configured_pairs, runs_named, standings
from maintenance.core.errors import InvalidOptions, Skipped, UnknownName
from maintenance.core.findings import Severity
from maintenance.core.runs import ledger
from maintenance.core.runs.dispatch import start_run
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.messages import LONGEST_TARGET, fault_of_target
from maintenance.core.runs.registry import TaskSpec, task_named
from maintenance.machines.openapi import document
from maintenance.machines.tokens import refused, with_token
from maintenance.models import Run, RunState, StoredFinding, StoredReport, Trigger
from maintenance.reports.plain import plain, plain_document

#: Rows of one answer, by default and at most; ``next_before`` leads to the others.
USUAL_ROWS, MOST_ROWS = 50, 500
#: A request to start a run is a name, a target and a few options.
MOST_BODY_BYTES = 64 * 1024

_RANK = Case(*(When(severity=each.value, then=each.rank) for each in Severity), default=0)
#: Digits of a number that PostgreSQL takes for a bigint, whatever they are.
_MOST_DIGITS = 18


@csrf_exempt  # these two as with_token says
@login_not_required
def runs_view(request: HttpRequest) -> HttpResponseBase:
    """List runs (GET), or start one (POST): each needs a token of its own."""
    return _start(request) if request.method == "POST" else _list(request)


@with_token("read", "run")
@require_safe
def run_view(_request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """Show one run."""
    run = Run.objects.filter(id=run_id).first()
    return refused(404, f"No run has the id {run_id}.") if run is None else JsonResponse(_run(run))


@with_token("read")
@require_safe
def report_view(_request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """Show the report of one run, as its file has it."""
    run = Run.objects.filter(id=run_id).first()
    if run is None:
        return refused(404, f"No run has the id {run_id}.")
    try:
        stored = ledger.stored_document(run)
    except StoredReport.DoesNotExist:
        return refused(404, f"The run {run_id} is {run.state} and has no report.")
    except ValueError as error:  # written by another release
        return refused(410, str(error))
    return JsonResponse(plain_document(stored).to_json())


@with_token("read")
@require_safe
def findings_view(request: HttpRequest) -> HttpResponse:
    """List what is the case now, the worst first: the findings of the newest run of each task and target."""
    try:
        limit, before = _limit(request), _before_finding(request)
        severity = _one_of(request, "severity", list(Severity))
    except BadRequest as error:
        return refused(400, str(error))
    target = request.GET.get("target", "")
    pairs = [pair for pair in configured_pairs(configuration()) if target in {"", pair[1]}]
    looked = runs_named(standing.run_id for standing in standings(pairs).values())
    found = StoredFinding.objects.filter(before, run__in=looked).select_related("run")
    if severity:
        found = found.filter(severity=severity)
    rows = list(found.order_by(_RANK.desc(), "-id")[: limit + 1])
    kept, is_complete = rows[:limit], len(rows) <= limit
    following = None if is_complete else f"{kept[-1].severity},{kept[-1].pk}"
    return JsonResponse(
        {
            "findings": [_finding(row) for row in kept],
            "is_complete": is_complete,
            "next_before": following,
        }
    )


@with_token("read", "run")
@require_safe
def openapi_view(request: HttpRequest) -> HttpResponse:
    """Describe the API."""
    root = reverse("maintenance:api-runs").removesuffix("runs/")
    return JsonResponse(document(request.build_absolute_uri(root)))


@with_token("read")
@require_safe
def _list(request: HttpRequest) -> HttpResponse:
    try:
        limit, before = _limit(request), _before(request)
        state = _one_of(request, "state", RunState.values)
        task, target = _task_name(request.GET.get("task", "")), _target_name(request)
    except (BadRequest, UnknownName) as error:
        return refused(400, str(error))
    wanted = {"task": task, "target": target, "state": state}
    runs = Run.objects.filter(**{name: value for name, value in wanted.items() if value})
    if before is not None:
        runs = runs.filter(before)
    rows = list(runs.order_by("-queued_at", "-id")[: limit + 1])
    kept = rows[:limit]
    following = _cursor(kept[-1]) if len(rows) > limit else None
    return JsonResponse({"runs": [_run(run) for run in kept], "next_before": following})


@with_token("run")
def _start(request: HttpRequest) -> HttpResponse:
    try:
        task, target, options = _asked(request)
        spec = task_named(task)
        fault = _fault(spec, options)
        if fault is not None:
            return fault
        spec.resolve_target(configuration(), target)
        run = start_run(spec, target, options, Origin(trigger=Trigger.API, actor="api"))
    except (BadRequest, UnknownName, InvalidOptions, Skipped) as error:
        return refused(400, str(plain(str(error))))
    answer = JsonResponse(_run(run), status=202)
    answer.headers["Location"] = reverse("maintenance:api-run", args=[run.id])
    return answer


def _fault(spec: TaskSpec, options: Mapping[str, Any]) -> HttpResponse | None:
    """Return what a program is refused that a person may do: it has nobody to confirm."""
    if spec.dangerous is not None:
        return refused(
            403,
            f"{spec.short_name} can harm a site: a person runs it, in the admin or by command.",
        )
    if spec.writes and spec.has_dry_run and not isinstance(options.get("dry_run"), bool):
        return refused(
            400, f'{spec.short_name} writes to its target: say "dry_run": true or false in options.'
        )
    return None


def _asked(request: HttpRequest) -> tuple[str, str, dict[str, Any]]:
    if int(request.headers.get("Content-Length") or 0) > MOST_BODY_BYTES:
        raise BadRequest(f"A request has at most {MOST_BODY_BYTES} bytes.")
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise BadRequest('Send a JSON object: {"task": "check_disk_space", "target": "local"}.')
    unknown = body.keys() - {"task", "target", "options"}
    if unknown:
        raise BadRequest(f"Unknown: {', '.join(sorted(unknown))}. Known: task, target, options.")
    task, target, options = body.get("task"), body.get("target", ""), body.get("options", {})
    if not (isinstance(task, str) and isinstance(target, str) and isinstance(options, dict)):
        raise BadRequest("task and target are text, options is an object; task has to be there.")
    return task, target, options


def _task_name(given: str) -> str:
    return task_named(given).name if given else ""


def _target_name(request: HttpRequest) -> str:
    given = request.GET.get("target", "")
    if fault_of_target(given):
        raise BadRequest(f"target is a name of at most {LONGEST_TARGET} printable characters.")
    return given


def _one_of(request: HttpRequest, name: str, known: Sequence[str]) -> str:
    given = request.GET.get(name, "")
    if given and given not in known:
        raise BadRequest(f"{name} is one of {', '.join(known)}.")
    return given


def _limit(request: HttpRequest) -> int:
    given = request.GET.get("limit", str(USUAL_ROWS))
    is_number = given.isascii() and given.isdecimal() and len(given) <= len(str(MOST_ROWS))
    limit = int(given) if is_number else 0
    if not 0 < limit <= MOST_ROWS:
        raise BadRequest(f"limit is a number from 1 to {MOST_ROWS}.")
    return limit


def _cursor(run: Run) -> str:
    """Return the ``before`` that leads on from a run: slots of one tick were all queued at one time."""
    # With "Z", since the "+" of an offset is a blank in an address that nobody quoted.
    moment = run.queued_at.astimezone(UTC).replace(tzinfo=None)
    return f"{moment.isoformat()}Z,{run.id}"


def _before(request: HttpRequest) -> Q | None:
    """Return what is behind a cursor, or earlier than a time alone; ``None`` where neither is given."""
    given = request.GET.get("before", "")
    if not given:
        return None
    time, comma, key = given.partition(",")
    try:
        moment, run_id = _in_utc(parse_datetime(time)), uuid.UUID(key) if comma else None
    except (ValueError, OverflowError):
        moment = run_id = None
    if moment is None:
        raise BadRequest(
            "before is the next_before of another answer, or a time with its offset:"
            " 2026-11-23T14:05:00Z."
        )
    if run_id is None:
        return Q(queued_at__lt=moment)
    # The first condition is the one that the index of the times serves.
    return Q(queued_at__lte=moment) & (Q(queued_at__lt=moment) | Q(id__lt=run_id))


def _in_utc(moment: datetime | None) -> datetime | None:
    """Return a time that has an offset in UTC: PostgreSQL refuses offsets that Python takes."""
    return moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else None


def _before_finding(request: HttpRequest) -> Q:
    """Return what is behind a finding in the order of the list, everything where none is given."""
    given = request.GET.get("before", "")
    if not given:
        return Q()
    severity, _comma, key = given.partition(",")
    is_number = key.isascii() and key.isdecimal() and len(key) <= _MOST_DIGITS
    if severity not in list(Severity) or not is_number:
        raise BadRequest("before is the next_before of another answer.")
    milder = [each.value for each in Severity if each.rank < Severity(severity).rank]
    return Q(severity__in=milder) | Q(severity=severity, id__lt=int(key))


def _run(run: Run) -> dict[str, Any]:
    pace = run.pace
    body: dict[str, Any] = plain(
        {
            **ledger.run_facts(run).to_json(),
            "task": run.short_task,
            "queue": run.queue,
            "severity": run.severity,
            "summary": run.summary,
            "phase": run.phase,
            "progress_done": run.progress_done,
            "progress_total": run.progress_total,
            "progress_unit": run.progress_unit,
            "progress_per_second": pace and pace.per_second,
            "seconds_left": pace and pace.seconds_left,
            "available_at": run.available_at,
        }
    )
    return body


def _finding(finding: StoredFinding) -> dict[str, Any]:
    body: dict[str, Any] = plain(
        {
            "fingerprint": finding.fingerprint,
            "code": finding.code,
            "severity": finding.severity,
            "target": finding.target,
            "subject": finding.subject,
            "sentence": finding.sentence,
            "advice": finding.advice,
            "evidence": finding.evidence,
            "measured": finding.measured,
            "found_at": finding.found_at,
            "run_id": finding.run_id,
            "task": finding.run.short_task,
        }
    )
    return body
