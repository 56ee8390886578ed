"""What a digest asks the ledger: the newest looks, what came and went, and what nobody looked at.

About ten queries, whose cost grows with what is the case now and with the runs since the last digest.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, tzinfo

from django.db.models import Case, Q, When
from django.db.models.expressions import RawSQL
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from maintenance.conf import Configuration
from maintenance.core.attention.alarms import OWN_TASKS
from maintenance.core.attention.mutes import is_silenced, mutes_in_force, without_muted
from maintenance.core.attention.standings import (
    Pair,
    Standing,
    configured_pairs,
    runs_named,
    standings,
)
from maintenance.core.evidence.liveness_look import leader_report
from maintenance.core.finding_life import FixedFinding, Mute
from maintenance.core.findings import Finding, Severity
from maintenance.core.runs.accepted_targets import configuration_in_force
from maintenance.core.runs.end_reports import CODES_OF_ENDS
from maintenance.core.runs.foreign_tasks import is_foreign
from maintenance.core.runs.registry import PREFIX, TargetKind, task_named
from maintenance.models import Alarm, Run, RunState, StoredFinding, StoredReport
from maintenance.notifications.digest import Course, Digest, Entry, Gap, Gone, grouped
from maintenance.notifications.links import link_to_finding, link_to_run
from maintenance.reports.columns import visible
from maintenance.schedules import LOOKS_EVERY_DAYS

#: Findings that are read for one digest, the worst; the rest are counted.
MOST_FINDINGS = 2000
#: A task that has not looked for so many of its periods has missed at least one of them.
PERIODS_UNTIL_STALE = 2
#: Key metrics that a digest draws.
MOST_COURSES = 8
#: Answers that became unavailable and are named one by one.
MOST_UNAVAILABLE = 5
#: A run may be asked for long before it ends; reports since the last digest are of runs asked for since then.
LONGEST_RUN = timedelta(days=2)


def digest(period: str, since: datetime, until: datetime) -> tuple[Digest, dict[str, bytes]]:
    """Return the digest and its pictures by name."""
    configuration = configuration_in_force()
    zone = timezone.get_current_timezone()
    pairs = [pair for pair in configured_pairs(configuration) if _is_looked_after(pair)]
    mutes = mutes_in_force(until)
    found, muted = without_muted(standings(pairs), until, mutes)
    least = Severity(configuration.notifications.digest_severity)
    runs = runs_named(each.run_id for each in found.values() if each.run_id is not None)
    rows, uncounted = _worst(runs, muted, least)
    failed = [row for row in rows if row.run.state == RunState.FAILED]
    entries = [
        _entry(row, since, zone)
        for row in rows
        if row.run.state != RunState.FAILED and row.measured
    ]
    missing = [pair for pair in pairs if pair not in found]
    overdue, not_yet = _never_looked(missing, until)
    gaps = [
        *_scheduler(),
        *(_failure(row) for row in failed if row.code in CODES_OF_ENDS),
        *_without_target(configuration),
        *_stale(found.values(), until),
        *overdue,
        *_unavailable(rows, since),
    ]
    courses, pictures = _courses(configuration, until)
    looked = [
        each
        for each in found.values()
        if each.state == RunState.SUCCEEDED and each.task not in OWN_TASKS
    ]
    newest = max((each.finished_at for each in looked if each.finished_at), default=None)
    written = Digest(
        period=period,
        since=since.astimezone(zone),
        until=until.astimezone(zone),
        entries=grouped(entries),
        gone=_gone(since, until, runs, mutes),
        gaps=gaps,
        looks=len(looked),
        targets=len({each.target for each in looked if each.target}),
        last_look=newest.astimezone(zone) if newest else None,
        muted=len(muted),
        uncounted=uncounted,
        not_yet=not_yet,
        courses=courses,
    )
    return written, pictures


def _is_looked_after(pair: Pair) -> bool:
    """Leave out kinds of which nothing is configured, and what tells people itself."""
    task, target = pair
    spec = task_named(task)
    return bool(target) or spec.target_kind is TargetKind.NONE


def _worst(runs: RawSQL, muted: Iterable[int], least: Severity) -> tuple[list[StoredFinding], int]:
    """Return what a digest says of these runs, the worst first, and how many more there are.

    That are findings of ``least`` or worse, how runs failed, and what could not be measured.
    """
    bad = [each.value for each in Severity if each.rank >= least.rank and each is not Severity.OK]
    has_failed = Q(run__state=RunState.FAILED)
    wanted = (
        Q(measured=False) | Q(has_failed, code__in=CODES_OF_ENDS) | Q(~has_failed, severity__in=bad)
    )
    rank = Case(*(When(severity=each.value, then=each.rank) for each in Severity), default=0)
    rows = StoredFinding.objects.filter(wanted, run__in=runs).exclude(id__in=list(muted))
    ordered = rows.select_related("run").order_by(rank.desc(), "-found_at", "id")
    found = list(ordered[: MOST_FINDINGS + 1])
    uncounted = rows.count() - MOST_FINDINGS if len(found) > MOST_FINDINGS else 0
    return found[:MOST_FINDINGS], uncounted


def _entry(row: StoredFinding, since: datetime, zone: tzinfo) -> Entry:
    first = row.since or row.found_at
    return Entry(
        severity=Severity(row.severity),
        target=row.target,
        code=row.code,
        subject=visible(row.subject),
        sentence=visible(row.sentence),
        advice=visible(row.advice),
        since=first.astimezone(zone),
        is_new=first > since,
        link=link_to_finding(row.run_id, row.fingerprint),
    )


def _gone(
    since: datetime, until: datetime, runs: RawSQL, mutes: Mapping[tuple[str, str], Mute]
) -> list[Gone]:
    """Return what was found to be fixed since then, unless it is muted or the newest of the runs have it again."""
    reports = StoredReport.objects.filter(
        run__queued_at__gt=since - LONGEST_RUN, created_at__gt=since, fixed__isnull=False
    ).exclude(fixed=[])
    found: dict[tuple[str, str], Gone] = {}
    for report in reports.select_related("run").only("fixed", "run__task", "run__target"):
        for body in report.fixed or []:
            fixed = FixedFinding.from_json(body)
            like = Finding(fixed.code, fixed.severity, fixed.subject, fixed.sentence)
            key = (report.run.task, like.fingerprint(report.run.target))
            if not is_silenced(key, fixed.severity, mutes, until):
                found.setdefault(
                    key, Gone(fixed.severity, report.run.target, visible(fixed.sentence))
                )
    # As one list: a statement that grows with the findings is planned anew for each number of them.
    named = RawSQL("SELECT pg_catalog.unnest(%s::text[])", [[name for _task, name in found]])
    back = StoredFinding.objects.filter(run__in=runs, fingerprint__in=named)
    present = set(back.exclude(severity=Severity.OK.value).values_list("run__task", "fingerprint"))
    return [gone for key, gone in found.items() if key not in present]


# --- What nobody can say is well ---


def _scheduler() -> Iterator[Gap]:
    report = leader_report()
    if report.severity.rank >= Severity.WARNING.rank:
        yield Gap(report.summary)


def _failure(row: StoredFinding) -> Gap:
    return Gap(
        f"{_named(row.run.task, row.run.target)} failed: {visible(row.sentence)}",
        link_to_run(row.run_id),
    )


def _without_target(configuration: Configuration) -> Iterator[Gap]:
    """Yield open failures of schedules whose target or task is gone: no standing tells of them."""
    failures = {
        alarm.run_id: alarm
        for alarm in Alarm.objects.filter(resolved_at=None, code__in=CODES_OF_ENDS)
    }
    if not failures:
        return
    configured = set(configured_pairs(configuration))
    enabled = PeriodicTask.objects.filter(enabled=True).values("name")
    runs = Run.objects.filter(id__in=list(failures), schedule__in=enabled)
    for run in runs.only("id", "task", "target").order_by("task", "target"):
        if (run.task, run.target) not in configured and not is_foreign(run.task):
            said = visible(failures[run.id].sentence)
            yield Gap(f"{_named(run.task, run.target)} failed: {said}", link_to_run(run.id))


def _stale(found: Iterable[Standing], now: datetime) -> Iterator[Gap]:
    for each in found:
        days = LOOKS_EVERY_DAYS.get(each.task.removeprefix(PREFIX))
        if days is None or each.finished_at is None or each.state == RunState.FAILED:
            continue
        if each.task in OWN_TASKS:
            continue
        if now - each.finished_at > timedelta(days=days * PERIODS_UNTIL_STALE):
            yield Gap(
                f"{_named(each.task, each.target)} looked last at"
                f" {timezone.localtime(each.finished_at):%Y-%m-%d %H:%M %Z}, which is too long ago.",
                link_to_run(each.run_id),
            )


def _never_looked(pairs: Iterable[Pair], now: datetime) -> tuple[list[Gap], list[str]]:
    """Return checks that never had the turn that was theirs, and those whose first is still to come."""
    first = Run.objects.order_by("queued_at").values_list("queued_at", flat=True).first() or now
    gaps, not_yet = [], []
    for task, target in pairs:
        days = LOOKS_EVERY_DAYS.get(task.removeprefix(PREFIX))
        if days is None or task in OWN_TASKS:
            continue
        if now - first > timedelta(days=days * PERIODS_UNTIL_STALE):
            gaps.append(Gap(f"{_named(task, target)} has never looked."))
        else:
            not_yet.append(_named(task, target))
    return gaps, not_yet


def _unavailable(rows: Iterable[StoredFinding], since: datetime) -> Iterator[Gap]:
    """Yield answers that became unavailable; of those that were before, only how many there are."""
    unmeasured = [row for row in rows if not row.measured]
    new = [row for row in unmeasured if (row.since or row.found_at) > since]
    for row in new[:MOST_UNAVAILABLE]:
        yield Gap(
            f"{_named(row.run.task, row.target)}: {visible(row.sentence)}",
            link_to_finding(row.run_id, row.fingerprint),
        )
    rest = len(unmeasured) - min(len(new), MOST_UNAVAILABLE)
    if rest:
        yield Gap(f"{rest} more answers are unavailable; their reports say what they need.")


def _named(task: str, target: str) -> str:
    return f"{task.removeprefix(PREFIX)}{f' on {target}' if target else ''}"


# --- Key metrics ---


def _courses(configuration: Configuration, now: datetime) -> tuple[list[Course], dict[str, bytes]]:
    """Return the key metrics that miss their target or move, and their pictures."""
    from maintenance.key_metrics.metrics import reading, series_of  # noqa: PLC0415
    from maintenance.key_metrics.pictures import bars_of, png_of  # noqa: PLC0415
    from maintenance.key_metrics.series import stretches  # noqa: PLC0415

    series = [
        each
        for kind in TargetKind
        for name in kind.targets(configuration)
        for each in series_of(name, kind, configuration)
    ]
    read = [
        (each, reading(each, values))
        for each, values in zip(series, stretches(series, now), strict=True)
        if values
    ]
    telling = [
        (each, said)
        for each, said in read
        if said.kind != "ok" or said.trend_kind in {"rising", "falling"}
    ]
    telling.sort(key=lambda pair: pair[1].kind == "ok")
    courses: list[Course] = []
    pictures: dict[str, bytes] = {}
    for number, (each, said) in enumerate(telling[:MOST_COURSES], start=1):
        name = f"course-{number}@maintenance"
        pictures[name] = png_of(said.picture)
        courses.append(
            Course(
                target=each.target,
                label=said.label,
                value=said.value,
                limit=said.limit,
                trend=said.trend,
                in_words=said.in_words,
                bars=bars_of(said.picture),
                picture=name,
                is_met=said.kind == "ok",
            )
        )
    return courses, pictures
