"""The proof as a report: the sums first, then what was not on time, then each schedule. Pure."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

from maintenance.core.evidence.proof import MISSING, Proved, Unread, Verdict
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report, Table
from maintenance.core.wording import counted, listed

#: Of each verdict the newest so many slots stand in the report, and so many schedules: the rest are
#: counted. All of them come as CSV, a line at a time.
MOST_SHOWN = 200

_ORDER = (
    Verdict.LOST,
    Verdict.OVERDUE,
    Verdict.FAILED_TO_START,
    Verdict.UNEXPECTED,
    Verdict.WAITING,
    Verdict.LATE,
    Verdict.SKIPPED,
    Verdict.ON_TIME,
)


def slot_fields(schedule: str, slot: Proved, zone: tzinfo) -> dict[str, Any]:
    """Return one slot as plain values, the same in tables and exports; times in ``zone``."""
    row = slot.row
    return {
        "due_at": slot.due_at.astimezone(zone).isoformat(),
        "schedule": schedule,
        "target": slot.target,
        "verdict": slot.verdict.value,
        "late_seconds": slot.late_seconds,
        "state": row.state if row else None,
        "reason": row.reason if row else None,
        "run_id": str(row.run_id) if row and row.run_id else None,
        "stands_for": row.stands_for if row else None,
    }


class Tally:
    """Counts slots as they come; keeps the newest of each verdict but "on time".

    Times are said in ``zone``. Memory is bounded by :data:`MOST_SHOWN` and the number of schedules.
    """

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self.totals: Counter[Verdict] = Counter()
        self.schedules = 0
        self._unread: dict[str, Sequence[Unread]] = {}
        self._by_schedule: dict[str, Counter[Verdict]] = {}
        self._latest_seconds: dict[str, float] = defaultdict(float)
        self._failed = 0
        self._first_missing: dict[str, Proved] = {}
        self._shown: dict[Verdict, deque[tuple[datetime, str, Proved]]] = {
            verdict: deque(maxlen=MOST_SHOWN) for verdict in _ORDER if verdict != Verdict.ON_TIME
        }

    def begin(self, schedule: str, unread: Sequence[Unread] = ()) -> None:
        """Count a schedule, which may have no slot at all, or times that cannot be computed."""
        self.schedules += 1
        if unread:
            self._unread[schedule] = unread

    def add(self, schedule: str, slot: Proved) -> None:
        """Count one slot."""
        self.totals[slot.verdict] += 1
        self._by_schedule.setdefault(schedule, Counter())[slot.verdict] += 1
        if slot.row is not None and slot.row.state == "failed":
            self._failed += 1
        if slot.late_seconds is not None and slot.late_seconds > self._latest_seconds[schedule]:
            self._latest_seconds[schedule] = slot.late_seconds
        if slot.verdict in MISSING:
            self._first_missing.setdefault(schedule, slot)
        if slot.verdict in self._shown:
            self._shown[slot.verdict].append((slot.due_at, schedule, slot))

    @property
    def missing(self) -> int:
        """How many due slots have no row: lost, or overdue."""
        return sum(self.totals[verdict] for verdict in MISSING)

    @property
    def failed_to_start(self) -> int:
        """How many due slots have a row that says why nothing could be started."""
        return self.totals[Verdict.FAILED_TO_START]

    @property
    def unread(self) -> int:
        """How many schedules have a time in which nobody can compute when they were due."""
        return len(self._unread)

    def report(self, since: datetime, until: datetime, notes: tuple[Finding, ...] = ()) -> Report:
        """Return the report of what was counted; ``notes`` say what it cannot speak of."""
        slots = sum(self.totals.values()) - self.totals[Verdict.UNEXPECTED]
        first, last = since.astimezone(self._zone), until.astimezone(self._zone)
        span = f"from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M %Z}"
        parts = [f"{self.totals[v]:,} {v.value}" for v in reversed(_ORDER) if self._is_said(v)]
        return Report(
            title="Proof of slots",
            summary=(
                f"{counted(slots, 'slot')} of {counted(self.schedules, 'schedule')} {span}:"
                f" {', '.join(parts)}."
            ),
            findings=(*self._findings(), *notes),
            tables=tuple(self._tables()),
            facts={
                "since": first.isoformat(timespec="seconds"),
                "until": last.isoformat(timespec="seconds"),
                "schedules": self.schedules,
                "slots": slots,
                "failed_runs": self._failed,
                **{v.name.lower(): self.totals[v] for v in reversed(_ORDER)},
            },
        )

    def _is_said(self, verdict: Verdict) -> bool:
        always = (Verdict.ON_TIME, Verdict.LATE, Verdict.SKIPPED, Verdict.LOST)
        return verdict in always or bool(self.totals[verdict])

    def _findings(self) -> Iterator[Finding]:
        worst = sorted(self._first_missing, key=lambda name: (-self._missing_of(name), name))
        for schedule in worst[:MOST_SHOWN]:
            yield self._missing_finding(schedule)
        if len(worst) > MOST_SHOWN:
            others = len(worst) - MOST_SHOWN
            yield Finding(
                code="slots-missing",
                severity=Severity.CRITICAL,
                subject="schedules",
                sentence=f"{counted(others, 'more schedule has', 'more schedules have')} slots without a row.",
                evidence={"schedules": others},
                advice="Their slots stand in the export: --slots FILE.",
            )
        if self.failed_to_start:
            yield self._failed_finding()
        if self.totals[Verdict.UNEXPECTED]:
            yield self._unexpected_finding()
        for schedule in sorted(self._unread)[:MOST_SHOWN]:
            yield self._unread_finding(schedule)

    def _missing_of(self, schedule: str) -> int:
        return sum(self._by_schedule[schedule][verdict] for verdict in MISSING)

    def _missing_finding(self, schedule: str) -> Finding:
        counts, first = self._by_schedule[schedule], self._first_missing[schedule]
        lost, overdue = counts[Verdict.LOST], counts[Verdict.OVERDUE]
        at = f"{first.due_at.astimezone(self._zone):%Y-%m-%d %H:%M %Z}"
        if lost:
            sentence = f"{schedule} lost {counted(lost, 'slot')}: no row says that it ran or why not, first at {at}."
            advice = (
                "A scheduler has passed it, so nothing will make up for it: run the task by hand,"
                " and look for a second scheduler, or rows that were deleted by hand."
            )
        else:
            sentence = f"{schedule} has {counted(overdue, 'slot')} that no scheduler has come to, first at {at}."
            advice = "Start beat, or read its log. Once it is back, each gets its row."
        return Finding(
            code="slots-lost" if lost else "slots-overdue",
            severity=Severity.CRITICAL,
            subject=schedule,
            sentence=sentence,
            evidence={"lost": lost, "overdue": overdue, "first_at": first.due_at.isoformat()},
            advice=advice,
        )

    def _names_with(self, verdict: Verdict) -> list[str]:
        return sorted(name for name, counts in self._by_schedule.items() if counts[verdict])

    def _failed_finding(self) -> Finding:
        names = self._names_with(Verdict.FAILED_TO_START)
        return Finding(
            code="slots-failed-to-start",
            severity=Severity.WARNING,  # each of them is critical by itself, in its own report
            subject="schedules",
            sentence=(
                f"{counted(self.failed_to_start, 'slot')} failed before anything was started:"
                f" {listed(names)}."
            ),
            evidence={"slots": self.failed_to_start, "schedules": len(names)},
            advice=(
                "Read their reasons. A target or a task that was renamed or removed is corrected in"
                " the configuration, or by sync_schedules."
            ),
        )

    def _unread_finding(self, schedule: str) -> Finding:
        unread = self._unread[schedule]
        times = [
            f"from {each.since.astimezone(self._zone):%Y-%m-%d %H:%M} to"
            f" {each.until.astimezone(self._zone):%Y-%m-%d %H:%M %Z}"
            for each in unread
        ]
        return Finding(
            code="schedule-unreadable",
            severity=Severity.WARNING,
            subject=schedule,
            sentence=(
                f"When {schedule} is due cannot be computed: {unread[-1].reason.rstrip('.')}."
                f" Nothing is said of it {listed(times, 3)}."
            ),
            advice="Correct its crontab, time zone or days, if that is not done yet.",
        )

    def _unexpected_finding(self) -> Finding:
        names = self._names_with(Verdict.UNEXPECTED)
        count = self.totals[Verdict.UNEXPECTED]
        return Finding(
            code="slots-unexpected",
            severity=Severity.WARNING,
            subject="schedules",
            sentence=(
                f"{counted(count, 'run stands', 'runs stand')} at times at which their schedules were"
                f" not due: {listed(names)}."
            ),
            evidence={"runs": count, "schedules": len(names)},
            advice="Look whether another scheduler, or a program, writes runs of these schedules.",
        )

    def _tables(self) -> Iterator[Table]:
        notable = [
            slot_fields(schedule, slot, self._zone)
            for verdict in _ORDER[:-1]
            for _at, schedule, slot in sorted(self._shown[verdict], key=_newest_first)
        ]
        if notable:
            hidden = sum(self.totals[v] for v in _ORDER[:-1]) - len(notable)
            more = f" ({hidden:,} more in the export)" if hidden else ""
            yield Table.of(f"Slots that were not on time{more}", notable)
        worst = sorted(self._by_schedule, key=lambda name: (self._rank(name), name))
        if worst:
            hidden = len(worst) - MOST_SHOWN
            more = f" (the {MOST_SHOWN} worst of {len(worst):,})" if hidden > 0 else ""
            rows = [self._schedule_row(name) for name in worst[:MOST_SHOWN]]
            yield Table.of(f"Schedules{more}", rows)

    def _rank(self, schedule: str) -> tuple[int, ...]:
        return tuple(-self._by_schedule[schedule][verdict] for verdict in _ORDER[:-1])

    def _schedule_row(self, schedule: str) -> Mapping[str, Any]:
        counts = self._by_schedule[schedule]
        return {
            "schedule": schedule,
            "slots": sum(counts.values()) - counts[Verdict.UNEXPECTED],
            **{verdict.name.lower(): counts[verdict] for verdict in reversed(_ORDER)},
            "latest_seconds": self._latest_seconds.get(schedule),
        }


def _newest_first(entry: tuple[datetime, str, Proved]) -> tuple[float, str]:
    at, schedule, _slot = entry
    return -at.timestamp(), schedule
