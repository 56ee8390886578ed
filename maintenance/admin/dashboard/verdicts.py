"""One sentence for each thing that is looked after, the worst first. Pure: newest runs in, words out."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from maintenance.admin.dashboard.areas import LOOKS_EVERY_DAYS, Area, area_of
from maintenance.admin.wording import relative, shortened, task_words
from maintenance.core.attention.standings import Pair, Standing
from maintenance.core.findings import Severity
from maintenance.core.runs.registry import TargetKind, TaskSpec

#: Targets that a verdict names with what their reports say; the rest are counted.
MOST_NAMED = 3
#: A task that has not looked for so many of its periods has missed at least one of them.
PERIODS_UNTIL_STALE = 2

#: From worst to best. ``unavailable`` is what nobody has looked at, or not for long: it is not known to be
#: well, so it stands above what is.
KINDS = ("critical", "failed", "warning", "unavailable", "info", "ok", "skipped")

#: Those that need somebody.
WORRYING = frozenset({"critical", "failed", "warning"})

#: Severities that need somebody, however long ago they were found.
_NEEDING_SOMEBODY = frozenset({Severity.CRITICAL.value, Severity.WARNING.value})

_STALE_AFTER: Mapping[str, timedelta] = {
    task: timedelta(days=days * PERIODS_UNTIL_STALE) for task, days in LOOKS_EVERY_DAYS.items()
}

_SUMMARY_CHARACTERS = 220


def kind_of(standing: Standing, now: datetime) -> str:
    """Return which of :data:`KINDS` a standing is."""
    if standing.run_id is None:
        return "unavailable"
    if standing.state == "failed":
        return "unavailable" if standing.is_failure_muted else "failed"
    if standing.severity in _NEEDING_SOMEBODY:
        return standing.severity
    if _is_stale(standing, now):
        return "unavailable"
    return standing.severity or "ok"


def _is_stale(standing: Standing, now: datetime) -> bool:
    """Tell whether a task of a checklist has not looked for longer than two of its periods."""
    longest = _STALE_AFTER.get(standing.task)
    if longest is None or standing.finished_at is None:
        return False
    return now - standing.finished_at > longest


@dataclass(frozen=True, slots=True)
class Detail:
    """What one run says, below a verdict; without ``run_id`` there is nothing to open."""

    kind: str
    what: str
    sentence: str
    run_id: Any = None
    when: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence with the runs that it rests on. ``more`` runs of its kind are not named.

    It speaks of so many ``areas``.
    """

    kind: str
    sentence: str
    details: tuple[Detail, ...] = ()
    more: int = 0
    areas: int = 1

    @property
    def rank(self) -> int:
        """The place among others: 0 is the worst."""
        return KINDS.index(self.kind)


def standings_of(
    pairs: Iterable[tuple[TaskSpec, str]], newest: Mapping[Pair, Standing]
) -> Iterator[Standing]:
    """Yield what stands of each task and target: also of what the checklists have and never looked.

    A task that no checklist has, and that nobody ran, is nothing that anybody waits for.
    """
    for spec, target in pairs:
        found = newest.get((spec.name, target))
        if found is not None:
            yield found
        elif spec.name in LOOKS_EVERY_DAYS:
            yield Standing(spec.name, target)


def _is_unconfigured(standing: Standing, specs: Mapping[str, TaskSpec]) -> bool:
    """Tell whether a task has no target to look at: its runs say "not configured"."""
    spec = specs.get(standing.task)
    return (
        standing.run_id is None
        and not standing.target
        and spec is not None
        and spec.target_kind is not TargetKind.NONE
    )


def verdicts(
    standings: Iterable[Standing], specs: Mapping[str, TaskSpec], now: datetime
) -> list[Verdict]:
    """Return a verdict for each area, worst first; those of one kind stay in the order of ``standings``.

    What nobody has looked at yet is one sentence, and so is what has nothing to look at, at the end.
    """
    by_area: defaultdict[Area, list[Standing]] = defaultdict(list)
    for standing in standings:
        by_area[area_of(standing.task)].append(standing)
    unconfigured: list[str] = []
    unseen: list[str] = []
    found: list[Verdict] = []
    for area, group in by_area.items():
        configured = [each for each in group if not _is_unconfigured(each, specs)]
        if not configured:
            unconfigured.append(str(area.name))
        elif all(each.run_id is None for each in configured):
            unseen.append(str(area.name))
        else:
            found.append(_verdict(area, _without_first_times(configured), now))
    if unseen:
        words = _("Nobody has looked at these yet: %(names)s.") % {"names": _listed(unseen)}
        found.append(Verdict("unavailable", words, areas=len(unseen)))
    found.sort(key=lambda verdict: verdict.rank)
    if unconfigured:
        words = _("No target of their kind is configured: %(names)s.")
        found.append(Verdict("skipped", words % {"names": _listed(unconfigured)}))
    return found


def _without_first_times(group: Sequence[Standing]) -> list[Standing]:
    """Leave out what has never looked at a target at which others of its area have.

    The monthly work of an area is no reason to call it unknown for the first month.
    """
    seen = {"", *(each.target for each in group if each.run_id is not None)}
    return [each for each in group if each.run_id is not None or each.target not in seen]


def _verdict(area: Area, group: Sequence[Standing], now: datetime) -> Verdict:
    by_kind: defaultdict[str, list[Standing]] = defaultdict(list)
    for each in group:
        by_kind[kind_of(each, now)].append(each)
    worst = min(by_kind, key=KINDS.index)
    sentence = _sentence(area, worst, by_kind[worst], now)
    targets = {each.target for each in group if each.target}
    concerned = {each.target for each in by_kind[worst] if each.target}
    if len(targets) > 1:
        sentence += _on_targets(len(concerned), len(targets)) if concerned else ""
        if worst == "ok":
            return Verdict(worst, f"{sentence}.")
    # What is less bad is said, too, where it needs somebody: no warning hides behind a failure.
    told = [kind for kind in KINDS if kind == worst or (kind in WORRYING and kind in by_kind)]
    named = [
        (kind, each)
        for kind in told
        if KINDS.index(kind) >= KINDS.index(worst)
        for each in _newest_first(by_kind[kind])
    ]
    details = tuple(_detail(each, kind, now) for kind, each in named[:MOST_NAMED])
    return Verdict(worst, f"{sentence}.", details, max(len(named) - MOST_NAMED, 0))


def _on_targets(some: int, all_of_them: int) -> str:
    if some == all_of_them:
        return _(" on %(all)s targets") % {"all": f"{all_of_them:,}"}
    return _(" on %(some)s of %(all)s targets") % {"some": f"{some:,}", "all": f"{all_of_them:,}"}


def _sentence(area: Area, kind: str, concerned: Sequence[Standing], now: datetime) -> str:
    count = 2 if area.is_plural else 1
    words = {"area": area.name}
    if kind == "critical":
        return ngettext("%(area)s needs somebody now", "%(area)s need somebody now", count) % words
    if kind == "failed":
        return _("%(area)s could not be looked at: the last run failed") % words
    if kind == "warning":
        return ngettext("%(area)s needs attention", "%(area)s need attention", count) % words
    if kind == "info":
        return (
            ngettext("%(area)s is well, with a note", "%(area)s are well, with a note", count)
            % words
        )
    if kind == "ok":
        return ngettext("%(area)s is healthy", "%(area)s are healthy", count) % words
    return _unseen(area, count, concerned, now)


def _unseen(area: Area, count: int, concerned: Sequence[Standing], now: datetime) -> str:
    seen = [each.finished_at for each in concerned if each.finished_at is not None]
    if not seen:
        words = {"area": area.name}
        return (
            ngettext(
                "%(area)s has not been looked at yet", "%(area)s have not been looked at yet", count
            )
            % words
        )
    words = {"area": area.name, "when": relative(min(seen), now)}
    return (
        ngettext(
            "%(area)s was looked at last %(when)s, which is too long ago",
            "%(area)s were looked at last %(when)s, which is too long ago",
            count,
        )
        % words
    )


def _newest_first(concerned: Iterable[Standing]) -> list[Standing]:
    """Put what looked last first, and leave out what never did."""
    seen = [(each.finished_at, each) for each in concerned if each.finished_at is not None]
    return [each for _at, each in sorted(seen, key=lambda pair: pair[0], reverse=True)]


def _detail(standing: Standing, kind: str, now: datetime) -> Detail:
    what = task_words(standing.task)
    if standing.target:
        what = _("%(task)s on %(target)s") % {"task": what, "target": standing.target}
    return Detail(
        kind=kind,
        what=what,
        sentence=shortened(standing.summary, _SUMMARY_CHARACTERS),
        run_id=standing.run_id,
        when=relative(standing.finished_at, now) if standing.finished_at else "",
    )


def headline(found: Sequence[Verdict]) -> tuple[str, str]:
    """Return the kind of the worst verdict, and all of them in a sentence."""
    known = [verdict for verdict in found if verdict.kind != "skipped"]
    areas = sum(verdict.areas for verdict in known)
    if not known:
        return "unavailable", _("Nothing has been looked at yet.")
    urgent = sum(verdict.kind in {"critical", "failed"} for verdict in known)
    warned = sum(verdict.kind == "warning" for verdict in known)
    unseen = sum(verdict.areas for verdict in known if verdict.kind == "unavailable")
    well = areas - urgent - warned - unseen
    parts = []
    if urgent:
        parts.append(
            ngettext("%(n)s thing needs somebody now", "%(n)s things need somebody now", urgent)
            % {"n": urgent}
        )
    if warned:
        parts.append(
            ngettext("%(n)s needs attention", "%(n)s need attention", warned) % {"n": warned}
        )
    if unseen:
        parts.append(ngettext("%(n)s is not known", "%(n)s are not known", unseen) % {"n": unseen})
    if not parts:
        return min(known, key=lambda verdict: verdict.rank).kind, _("All is well.")
    if well:
        parts.append(ngettext("%(n)s is well", "%(n)s are well", well) % {"n": well})
    worst = min(known, key=lambda verdict: verdict.rank).kind
    return worst, f"{', '.join(parts)}."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(_lower_first(name) for name in names)


def _lower_first(name: str) -> str:
    """Write a name in the middle of a sentence; one that is a name everywhere (Redis), or a noun in German, stays."""
    is_kept = name.startswith("Redis") or (get_language() or "").startswith("de")
    return name if is_kept else name[:1].lower() + name[1:]
