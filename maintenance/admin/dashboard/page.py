"""The dashboard as its template needs it: what a person may see, of all targets or of one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils.html import escape, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from maintenance.admin import live
from maintenance.admin.dashboard.coming import Coming, Outlook, outlook
from maintenance.admin.dashboard.ledger_look import (
    Active,
    active,
    decisions,
    ended_in_last_day,
    scheduler,
)
from maintenance.admin.dashboard.targets import (
    MOST_TILES,
    lines_of,
    targets_by_name,
    tile_heads,
    tiles,
)
from maintenance.admin.dashboard.verdicts import (
    WORRYING,
    Verdict,
    headline,
    kind_of,
    standings_of,
    verdicts,
)
from maintenance.admin.findings import place_in_report
from maintenance.admin.rights import VIEW_RUN, VIEW_SCHEDULE, may_cancel
from maintenance.admin.signs import sign
from maintenance.admin.wording import relative, task_words
from maintenance.conf import Configuration
from maintenance.core.attention.alarms import OWN_TASKS
from maintenance.core.attention.mutes import now_and_mutes, without_muted
from maintenance.core.attention.standings import Standing, standings
from maintenance.core.findings import Severity
from maintenance.core.reports import Report
from maintenance.core.runs.accepted_targets import configuration_in_force
from maintenance.core.runs.registry import TargetKind, TaskSpec, all_tasks
from maintenance.key_metrics.series import stretches
from maintenance.models import Run, RunState, SeverityChoice
from maintenance.people import User, holds

#: Newest runs of the list "What ran", one for each task and target.
MOST_RAN = 8

#: Kinds of targets whose names are written otherwise in a sentence.
_SPELLINGS = {TargetKind.REDIS: "Redis", TargetKind.LOG: "access log"}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that has to be there before anything runs."""

    is_done: bool
    sentence: str
    command: str = ""


def dashboard(request: HttpRequest) -> dict[str, Any]:
    """Return the context of the page; little of it for a person who may not look at runs."""
    if not holds(request.user, VIEW_RUN):
        return {"may_look": False}
    parsed = configuration_in_force()
    now, mutes = now_and_mutes()
    targets = targets_by_name(parsed)
    asked = request.GET.get("target", "")
    target = asked if asked in targets else ""
    pairs = list(_pairs(parsed, target))
    found, muted = without_muted(standings((spec.name, name) for spec, name in pairs), now, mutes)
    standing = list(standings_of(pairs, found))
    coming = outlook(now, target)
    busy = active(target)
    crew = scheduler(now, coming.enabled or int(bool(target)))
    context = {
        "may_look": True,
        "may_see_schedules": holds(request.user, VIEW_SCHEDULE),
        "now": now,
        "target": target,
        "unknown_target": asked if asked and not target else "",
        "choices": _choices(targets, target),
        "scheduler": crew,
        "scheduler_kind": crew.severity.value,
        "active": _active(busy, now, request.user),
        "coming": [_coming(each, now) for each in coming.coming],
        "paused": coming.paused,
    }
    if not found and not busy.at_work and not busy.waiting:
        return {**context, "is_empty": True, "steps": _first_steps(parsed, coming, crew)}
    return {
        **context,
        **_verdicts(standing, {spec.name: spec for spec, _name in pairs}, crew, now),
        **_tiles(targets, target, standing, parsed, now),
        **_decisions(standing, muted),
        "ran": _ran(found.values(), now),
        "last_day": _last_day(ended_in_last_day(now, target)),
    }


def _pairs(parsed: Configuration, target: str) -> Iterable[tuple[TaskSpec, str]]:
    for spec in all_tasks():
        if spec.name in OWN_TASKS and not parsed.notifications.channels:
            continue  # nobody wants to be told, so that nothing is missing
        for name in spec.target_names(parsed):
            if not target or name == target:
                yield spec, name


def _choices(targets: dict[str, tuple[TargetKind, ...]], chosen: str) -> SafeString:
    """Return the targets by kind as options, without a template: hundreds would be most of its work.

    One of several kinds stands where it is found first.
    """
    found: dict[str, list[str]] = {}
    for name, kinds in sorted(targets.items()):
        found.setdefault(_kind_words(kinds[0]), []).append(name)
    return format_html_join(
        "\n",
        '<optgroup label="{}">{}</optgroup>',
        ((kind, _options(names, chosen)) for kind, names in sorted(found.items())),
    )


def _options(names: Iterable[str], chosen: str) -> SafeString:
    options = (f"<option{' selected' * (name == chosen)}>{escape(name)}</option>" for name in names)
    return mark_safe("".join(options))  # noqa: S308 - escaped above


def _verdicts(
    standing: Sequence[Standing], specs: dict[str, TaskSpec], crew: Report, now: datetime
) -> dict[str, Any]:
    found = verdicts(standing, specs, now)
    if crew.severity is not Severity.OK:
        found = sorted(
            [Verdict(crew.severity.value, crew.summary), *found], key=lambda verdict: verdict.rank
        )
    kind, words = headline(found)
    return {
        "headline_kind": kind,
        "headline": words,
        "troubles": [each for each in found if each.kind in WORRYING],
        "unseen": [each for each in found if each.kind == "unavailable"],
        "well": [each for each in found if each.kind in {"info", "ok"}],
        "unconfigured": [each for each in found if each.kind == "skipped"],
    }


def _tiles(
    targets: dict[str, tuple[TargetKind, ...]],
    target: str,
    standing: Sequence[Standing],
    parsed: Configuration,
    now: datetime,
) -> dict[str, Any]:
    shown = {target: targets[target]} if target else targets
    heads = tile_heads(shown, standing, now)
    listed = heads[:MOST_TILES]
    lines = lines_of(listed, parsed)
    made = tiles(listed, lines, stretches(lines, now), standing)
    return {
        "tiles": [
            {
                "tile": tile,
                "kinds": ", ".join(_kind_words(kind) for kind in tile.head.kinds),
                "word": _word(tile.head.kind),
            }
            for tile in made
        ],
        "tiles_hidden": len(heads) - len(listed),
    }


def _kind_words(kind: TargetKind) -> str:
    return _SPELLINGS.get(kind, kind.value)


def _word(kind: str) -> str:
    if kind == "unavailable":
        return _("not looked at")
    if kind == "failed":
        return str(RunState.FAILED.label)
    return str(SeverityChoice(kind).label)


def _decisions(standing: Iterable[Standing], muted: Sequence[int]) -> dict[str, Any]:
    worrying = [
        each.run_id
        for each in standing
        if each.run_id is not None
        and (each.state == RunState.FAILED or each.severity in {"warning", "critical"})
    ]
    listed, total = decisions(worrying, muted)
    return {
        "decisions": [
            {
                "finding": each.finding,
                "word": SeverityChoice(each.finding.severity).label,
                "address": place_in_report(each.finding),
                "others": each.alike - 1,
            }
            for each in listed
        ],
        "muted": len(muted),
        "decisions_hidden": total - sum(each.alike for each in listed),
    }


def _ran(found: Iterable[Standing], now: datetime) -> list[dict[str, Any]]:
    newest = sorted(found, key=lambda each: each.finished_at or now, reverse=True)[:MOST_RAN]
    return [
        {
            "standing": each,
            "kind": kind_of(each, now),
            "word": _word(kind_of(each, now)),
            "task": task_words(each.task),
            "when": relative(each.finished_at or now, now),
        }
        for each in newest
    ]


def _active(busy: Active, now: datetime, user: User) -> dict[str, Any]:
    return {
        "runs": [_unended(run, now, user) for run in (*busy.at_work, *busy.waiting)],
        "at_work_hidden": busy.at_work_count - len(busy.at_work),
        "waiting_hidden": busy.waiting_count - len(busy.waiting),
    }


def _unended(run: Run, now: datetime, user: User) -> dict[str, Any]:
    return {
        "task": task_words(run.task),
        "run": run,
        "since": relative(run.queued_at, now),
        "sign": live.part(run, "sign", sign(run.state)),
        "summary": live.part(run, "summary", live.summary(run)),
        "cancel": live.part(run, "cancel", live.cancel_link(run, may=may_cancel(user, run))),
    }


def _coming(each: Coming, now: datetime) -> dict[str, Any]:
    return {"coming": each, "distance": relative(each.due_at, now)}


def _last_day(counts: dict[str, int]) -> list[tuple[str, str, int]]:
    """Return states with their words and counts, in the order of the states."""
    return [
        (state, str(RunState(state).label), counts[state]) for state in RunState if state in counts
    ]


def _first_steps(parsed: Configuration, coming: Outlook, crew: Report) -> list[Step]:
    configured = [name for name in targets_by_name(parsed) if name not in parsed.hosts]
    leads = crew.severity is Severity.OK
    return [
        Step(
            bool(configured),
            _("Name what is to be looked after: databases, Redis servers, brokers, logs.")
            if not configured
            else ngettext(
                "%(n)s target is configured.", "%(n)s targets are configured.", len(configured)
            )
            % {"n": len(configured)},
            "" if configured else "maintenance.toml",
        ),
        Step(
            bool(coming.enabled),
            _("Write the schedules of the checklists.")
            if not coming.enabled
            else ngettext("%(n)s schedule is on.", "%(n)s schedules are on.", coming.enabled)
            % {"n": coming.enabled},
            "" if coming.enabled else "python manage.py sync_schedules",
        ),
        Step(
            leads,
            crew.summary if leads else _("Start beat and the workers: nothing is sent yet."),
            "" if leads else "celery -A <application> beat",
        ),
        Step(
            False, _("Run a task by hand to see its first report, or wait for the first schedule.")
        ),
    ]
