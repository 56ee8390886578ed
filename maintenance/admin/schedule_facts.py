"""What a line of the list of schedules shows and its row does not hold, gathered for a page at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.urls import reverse
from django_celery_beat.models import PeriodicTask

from maintenance.admin.history_marks import MOST_MARKS, Marks, marks
from maintenance.admin.latest_runs import PastRun, recent_runs
from maintenance.admin.rights import runnable_tasks
from maintenance.admin.schedule_row import Timing, arguments_of, timing_of
from maintenance.admin.signs import outcome, outcome_word
from maintenance.conf import configuration
from maintenance.core.scheduling.calendar import Appointment, next_appointments
from maintenance.core.scheduling.crontab_rows import with_crontabs
from maintenance.core.scheduling.planned import coming_closures, planned_rows
from maintenance.core.scheduling.schedule_sync import Difference, differences
from maintenance.core.scheduling.schedule_versions import now_and_recorded_since
from maintenance.models import SchedulePolicy, ScheduleRow

#: The page of django-celery-beat's own admin, which a project may have unregistered.
EDIT_PAGE = "admin:django_celery_beat_periodictask_change"
#: Coming runs that a line has, and how far ahead they are looked for: five quarterly ones have room.
COMING = 5
FORESIGHT = timedelta(days=2 * 366)


@dataclass(frozen=True, slots=True)
class RowFacts:
    """All that a line of the list shows and the row itself does not hold."""

    target: str
    timing: Timing
    coming: Sequence[Appointment]
    last_run: PastRun | None
    history: Marks | None
    edits: tuple[Difference, ...]
    policy: SchedulePolicy | None
    may_run: bool
    may_pause: bool
    edit_url: str
    policy_url: str
    now: datetime

    @property
    def is_paused(self) -> bool:
        """Whether its slots are skipped until somebody resumes it."""
        return self.policy is not None and self.policy.paused_at is not None


class ScheduleList(ChangeList):
    """Gathers the facts of all rows of a page at once: one query each, however many rows."""

    def get_results(self, request: HttpRequest) -> None:
        """Attach :class:`RowFacts` to every row of the page."""
        super().get_results(request)
        rows: list[ScheduleRow] = with_crontabs(self.result_list)
        pairs = {row.pk: (str(row.task), arguments_of(row)[0]) for row in rows}
        history = recent_runs(pairs.values(), MOST_MARKS)
        now, recorded = now_and_recorded_since()
        coming = _coming(rows, now)
        edits = _edits()
        runnable = {spec.name for spec in runnable_tasks(request.user)}
        may_edit = may_edit_periodic_tasks(self.model_admin.admin_site, request)
        may_pause = self.model_admin.has_change_permission(request)
        policies = PolicyPages(self.model_admin.admin_site, request)
        for row in rows:
            past = history.get(pairs[row.pk], [])
            row.__dict__["facts"] = RowFacts(
                target=pairs[row.pk][1],
                timing=timing_of(row, now, recorded),
                coming=coming.get(row.pk, ()),
                last_run=past[0] if past else None,
                history=_marks(past) if past else None,
                edits=tuple(edits.get(str(row.name), ())),
                policy=policy_of(row),
                may_run=row.task in runnable,
                may_pause=may_pause,
                edit_url=reverse(EDIT_PAGE, args=[row.pk]) if may_edit else "",
                policy_url=policies.of(row),
                now=now,
            )
        self.result_list = rows


def _marks(past: Sequence[PastRun]) -> Marks:
    return marks([outcome(run.state, run.severity) for run in past], outcome_word)


def _coming(rows: Sequence[ScheduleRow], now: datetime) -> dict[int, Sequence[Appointment]]:
    """Return the next runs of each row, by the scheduler's own arithmetic. Costs a query."""
    until = now + FORESIGHT
    closures = coming_closures(now, until)
    return {
        row.pk: next_appointments(plan, now, until, COMING, closures)
        for row, plan in planned_rows(rows, configuration())
    }


def policy_of(row: PeriodicTask) -> SchedulePolicy | None:
    """Return the policy of a row that has one of its own."""
    policy: SchedulePolicy | None = getattr(row, "maintenance_policy", None)
    return policy


class PolicyPages:
    """Where a person of this request looks at the policy of a row, or gives it one."""

    def __init__(self, site: admin.AdminSite, request: HttpRequest) -> None:
        self._may_view = self._may_add = False
        if site.is_registered(SchedulePolicy):
            pages = site.get_model_admin(SchedulePolicy)
            self._may_view = pages.has_view_or_change_permission(request)
            self._may_add = pages.has_add_permission(request)

    def of(self, row: ScheduleRow) -> str:
        """Return the address, empty where there is nothing to see or do."""
        if policy_of(row) is not None:
            if not self._may_view:
                return ""
            return reverse("admin:maintenance_schedulepolicy_change", args=[row.pk])
        if not self._may_add:
            return ""
        return f"{reverse('admin:maintenance_schedulepolicy_add')}?row={row.pk}"


def may_edit_periodic_tasks(site: admin.AdminSite, request: HttpRequest) -> bool:
    """Tell whether django-celery-beat's own page is there and open to the person."""
    if not site.is_registered(PeriodicTask):
        return False
    return site.get_model_admin(PeriodicTask).has_change_permission(request)


def _edits() -> dict[str, list[Difference]]:
    """Return what operators changed, by row. Whether a row is paused has its own column."""
    found: dict[str, list[Difference]] = {}
    for difference in differences(configuration()):
        if difference.field not in {"enabled", "row"}:
            found.setdefault(difference.schedule, []).append(difference)
    return found
