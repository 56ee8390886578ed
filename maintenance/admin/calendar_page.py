"""The calendar: a month, or a day, of what will run when, and what to look at in it."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate
from operator import itemgetter
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django.utils import formats, timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from maintenance.admin.base import MaintenanceAdmin
from maintenance.conf import configuration
from maintenance.core.scheduling.calendar import (
    Appointment,
    Planned,
    Span,
    appointments,
    horizon,
    meetings,
)
from maintenance.core.scheduling.planned import (
    MOST_SLOTS_A_DAY,
    coming_closures,
    planned_schedules,
    slots_a_day,
)
from maintenance.core.wording import listed
from maintenance.reports.formatting import format_count, format_seconds
from maintenance.reports.ics import render_ics
from maintenance.schedules import CHECKLISTS

#: Schedules of a day that stand in its field of the month; the page of the day has all.
SHOWN_A_DAY = 5
#: Schedules, and slots of them, that one page works out, which takes about a second: rare schedules come
#: first, and a search finds the others.
MOST_SCHEDULES = 1000
MOST_SLOTS = 50_000
#: Remarks and meetings that are listed; the rest are counted.
MOST_LISTED = 25
#: How far ahead one can turn the pages, and how far the file for other calendars reaches.
MONTHS_AHEAD = 24
FILE_DAYS = 365
#: Runs of the file: its days are fewer where the schedules have more, and it says so.
MOST_IN_FILE = 20_000

_INSTANT = timedelta(microseconds=1)
_FIGURES = re.compile(r"\d[\d.:-]*")


class CalendarForm(forms.Form):
    """What is looked at: a month or a day, some schedules or all, with an outage of beat or without."""

    month = forms.DateField(required=False, input_formats=["%Y-%m"], widget=forms.HiddenInput)
    day = forms.DateField(required=False, input_formats=["%Y-%m-%d"], widget=forms.HiddenInput)
    q = forms.CharField(
        required=False, label=gettext_lazy("Schedules"), widget=forms.TextInput({"size": 16})
    )
    down_from = forms.DateTimeField(
        required=False,
        label=gettext_lazy("beat is down from"),
        widget=forms.DateTimeInput({"type": "datetime-local"}, "%Y-%m-%dT%H:%M"),
    )
    down_to = forms.DateTimeField(
        required=False,
        label=gettext_lazy("to"),
        widget=forms.DateTimeInput({"type": "datetime-local"}, "%Y-%m-%dT%H:%M"),
    )

    def clean(self) -> dict[str, Any]:
        """Refuse an outage without an end, or with one before its beginning or too far ahead."""
        given: dict[str, Any] = super().clean() or {}
        start, end = given.get("down_from"), given.get("down_to")
        if (start is None) != (end is None) and not self.errors:
            raise forms.ValidationError(_("Give both times of the outage, or none."))
        if start is not None and end is not None and end <= start:
            raise forms.ValidationError(_("The outage has to end after it begins."))
        if end is not None and end.date() > _farthest(timezone.localdate()):
            sentence = _("The outage has to end within the %(months)s months that can be shown.")
            raise forms.ValidationError(sentence % {"months": MONTHS_AHEAD})
        return given

    @property
    def outage(self) -> Span | None:
        """The outage that is played through, if one is."""
        start, end = self.cleaned_data.get("down_from"), self.cleaned_data.get("down_to")
        return None if self.errors or start is None or end is None else (start, end)


@dataclass(frozen=True, slots=True)
class Entry:
    """One slot as a page shows it. ``kind`` is that of a badge, empty where nothing is unusual.

    In a month it stands for all slots of its schedule on its day: ``times``.
    """

    at: datetime
    name: str
    target: str
    takes: str
    remark: str
    kind: str
    due_at: datetime
    times: int = 1

    @property
    def narrow_name(self) -> SafeString:
        """The name without its checklist, which may be broken after each word of the task."""
        first, _space, rest = self.name.partition(" ")
        parts = ((part,) for part in (rest if first in CHECKLISTS else self.name).split("_"))
        return format_html_join(mark_safe("_<wbr>"), "{}", parts)


@dataclass(frozen=True, slots=True)
class Day:
    """One field of the month."""

    date: date
    is_in_month: bool
    is_past: bool
    is_today: bool
    shown: Sequence[Entry]
    more: int


@dataclass(frozen=True, slots=True)
class Remark:
    """What is unusual about slots of one schedule, first when, and how often."""

    name: str
    words: str
    kind: str
    first_at: datetime
    times: int


def calendar_view(request: HttpRequest, model_admin: MaintenanceAdmin) -> HttpResponse:
    """Show the month that is asked for, or one day of it."""
    form = CalendarForm(request.GET)
    form.is_valid()
    given = form.cleaned_data
    today = timezone.localdate()
    farthest = _farthest(today)
    day: date | None = given.get("day")
    if day is not None:
        day = min(max(day, today), farthest)
    month = min(max(_first_of(day or given.get("month") or today), _first_of(today)), farthest)
    first, last = (day, day + timedelta(days=1)) if day else (month, _month_after(month, 1))
    since, until = _midnight(max(first, today)) - _INSTANT, _midnight(last) - _INSTANT
    plans, frequent, left_out = _plans(given.get("q", ""), since, until)
    found = appointments(
        plans, since, until, closures=coming_closures(since, until), outage=form.outage
    )
    runs = sum(a.begins_at is not None and not a.plan.idle for a in found)
    met, remarks = meetings(found), _remarks(found)
    context = {
        **model_admin.page_context(request),
        "title": formats.date_format(day, "l, Y-m-d") if day else formats.date_format(month, "F Y"),
        "form": form,
        "is_played_through": form.outage is not None,
        "month": month,
        "day": day,
        "weeks": [] if day else _weeks(found, month, today),
        "weekdays": _weekdays(),
        "entries": [_entry(a) for a in found if not a.plan.idle] if day else [],
        "runs": runs,
        "runs_in_words": format_count(runs),
        "schedules": len(plans),
        "left_out": left_out,
        "frequent": [plan.name for plan in frequent],
        "remarks": remarks[:MOST_LISTED],
        "remarks_hidden": max(len(remarks) - MOST_LISTED, 0),
        "meetings": met[:MOST_LISTED],
        "meetings_hidden": max(len(met) - MOST_LISTED, 0),
        "before": _month_before(month) if month > _first_of(today) else None,
        "after": _month_after(month, 1) if month < farthest else None,
        "this_month": _first_of(today),
        "kept": _kept(request.GET),
        "timezone": timezone.get_current_timezone_name(),
    }
    return TemplateResponse(request, "admin/maintenance/schedulerow/calendar.html", context)


def calendar_file(request: HttpRequest) -> HttpResponse:
    """Hand out the coming year for another calendar, or as much of it as one file may have."""
    now = timezone.now()
    year = now + timedelta(days=FILE_DAYS)
    plans, frequent, left_out = _plans(request.GET.get("q", ""), now, None)
    plans = [plan for plan in plans if not plan.idle]
    until = horizon(plans, now, year, MOST_IN_FILE)
    found = appointments(plans, now, until, closures=coming_closures(now, until))
    missing = _missing_in_file(frequent, left_out, until if until < year else None)
    body = render_ics(found, now, missing)
    answer = HttpResponse(body, content_type="text/calendar; charset=utf-8")
    answer.headers["Content-Disposition"] = 'attachment; filename="maintenance.ics"'
    return answer


def _missing_in_file(frequent: Sequence[Planned], left_out: int, until: datetime | None) -> str:
    """Say what the file does not have, in English as all of it is; empty where it has everything."""
    sentences = []
    if until is not None:
        sentences.append(
            f"Ends at {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC: a file has {MOST_IN_FILE:,} runs at most."
        )
    if frequent:
        names = listed([plan.name for plan in frequent], MOST_LISTED)
        sentences.append(f"Due more often than each hour, and left out: {names}.")
    if left_out:
        sentences.append(f"Left out: {left_out:,} more schedules. A search has them in its file.")
    return " ".join(sentences)


def _plans(
    wanted: str, since: datetime, until: datetime | None
) -> tuple[list[Planned], list[Planned], int]:
    """Return the schedules to show, those that are due too often for it, and how many more there are.

    Up to ``until`` they have about :data:`MOST_SLOTS`; any number where it is ``None``.
    """
    words = wanted.lower().split()
    fitting = [
        plan
        for plan in planned_schedules(configuration())
        if all(word in f"{plan.name} {plan.target}".lower() for word in words)
    ]
    counts = [(plan, slots_a_day(plan, since)) for plan in fitting[:MOST_SCHEDULES]]
    frequent = [plan for plan, count in counts if count > MOST_SLOTS_A_DAY]
    rare = [(plan, count) for plan, count in counts if count <= MOST_SLOTS_A_DAY]
    shown = [plan for plan, _count in rare] if until is None else _affordable(rare, until - since)
    return shown, frequent, len(fitting) - len(frequent) - len(shown)


def _affordable(counts: Sequence[tuple[Planned, int]], span: timedelta) -> list[Planned]:
    """Return the schedules, those of the fewest slots a day first, that a page has the time for."""
    ranked = sorted(counts, key=itemgetter(1))
    slots_so_far = accumulate(count * (span / timedelta(days=1)) for _plan, count in ranked)
    return [
        plan
        for (plan, _count), slots in zip(ranked, slots_so_far, strict=True)
        if slots <= MOST_SLOTS
    ]


def _weeks(found: Iterable[Appointment], month: date, today: date) -> list[list[Day]]:
    """Return the fields of a month. Schedules that will do nothing are named below, as of a day."""
    by_day = _together(appointment for appointment in found if not appointment.plan.idle)
    start = month - timedelta(days=(month.weekday() - _first_weekday()) % 7)
    weeks = []
    while start < _month_after(month, 1):
        days = [start + timedelta(days=number) for number in range(7)]
        weeks.append([_day(each, month, today, by_day[each]) for each in days])
        start += timedelta(days=7)
    return weeks


def _day(day: date, month: date, today: date, together: Sequence[Entry]) -> Day:
    # What is unusual, and what is rare, is shown first where not all have room.
    ranked = sorted(together, key=lambda entry: (not entry.kind, entry.times))[:SHOWN_A_DAY]
    return Day(
        date=day,
        is_in_month=day.month == month.month,
        is_past=day < today,
        is_today=day == today,
        shown=sorted(ranked, key=lambda entry: entry.at),
        more=len(together) - len(ranked),
    )


def _together(found: Iterable[Appointment]) -> defaultdict[date, list[Entry]]:
    """Return for each day one entry for the slots of a schedule that fare alike, at the first of them."""
    zone = timezone.get_current_timezone()
    times: Counter[tuple[date, str, str]] = Counter()
    first: dict[tuple[date, str, str], Appointment] = {}
    for each in found:
        day = (each.begins_at or each.due_at).astimezone(zone).date()
        key = day, each.plan.name, _kind(each)
        times[key] += 1
        first.setdefault(key, each)
    by_day: defaultdict[date, list[Entry]] = defaultdict(list)
    for key, each in first.items():
        by_day[key[0]].append(replace(_entry(each), times=times[key]))
    return by_day


def _entry(appointment: Appointment) -> Entry:
    plan = appointment.plan
    return Entry(
        at=timezone.localtime(appointment.begins_at or appointment.due_at),
        name=plan.name,
        target=plan.target,
        takes=format_seconds(plan.seconds) if plan.seconds is not None else "",
        remark=appointment.remark,
        kind=_kind(appointment),
        due_at=timezone.localtime(appointment.due_at),
    )


def _kind(appointment: Appointment) -> str:
    if appointment.begins_at is None or appointment.plan.idle:
        return "skipped"
    return "warning" if appointment.remark else ""


def _remarks(found: Iterable[Appointment]) -> list[Remark]:
    """Return what is unusual, once for each schedule and remark, in the order of time.

    Remarks that differ in their figures alone are one.
    """
    times: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], Appointment] = {}
    for appointment in found:
        if appointment.remark:
            key = appointment.plan.name, _FIGURES.sub("", appointment.remark)
            times[key] += 1
            first.setdefault(key, appointment)
    return [
        Remark(
            name=each.plan.name,
            words=each.remark,
            kind=_kind(each),
            first_at=timezone.localtime(each.begins_at or each.due_at),
            times=times[key],
        )
        for key, each in first.items()
    ]


def _kept(given: QueryDict) -> str:
    """Return the part of the address that stays when one turns the pages."""
    kept = QueryDict(mutable=True)
    for name in ("q", "down_from", "down_to"):
        value = given.get(name)
        if value:
            kept[name] = str(value)
    return f"&{kept.urlencode()}" if kept else ""


def _first_weekday() -> int:
    """Return the day that begins a week, 0 for Monday, as the language has it (0 is Sunday there)."""
    return (int(formats.get_format("FIRST_DAY_OF_WEEK")) - 1) % 7


def _weekdays() -> list[str]:
    monday = date(2024, 1, 1)
    return [
        formats.date_format(monday + timedelta(days=_first_weekday() + number), "D")
        for number in range(7)
    ]


def _first_of(day: date) -> date:
    return day.replace(day=1)


def _month_after(month: date, count: int) -> date:
    number = month.year * 12 + month.month - 1 + count
    return date(number // 12, number % 12 + 1, 1)


def _farthest(today: date) -> date:
    """Return the last month that can be shown."""
    return _month_after(_first_of(today), MONTHS_AHEAD)


def _month_before(month: date) -> date:
    return _month_after(month, -1)


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time())).astimezone(UTC)
