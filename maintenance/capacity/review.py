"""When disks, memory, connections and IDs run out, by what was measured, and how sure that is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from maintenance.capacity.charts import plots_of
from maintenance.capacity.forecast import Prospect, Withheld, foretell, foretell_peaks
from maintenance.capacity.metrics import METRICS, LimitedMetric, subject_of, value_in_words
from maintenance.conf import Configuration
from maintenance.core.daily import DailySeries
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.job import Job, Point
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Table
from maintenance.core.trend import DAY_SECONDS, Forecast
from maintenance.core.wording import counted, day_in_words, listed

#: The guide reviews capacity every quarter: what runs out before the next review is said now.
WARNING_DAYS = 90
#: A larger disk or plan takes a fortnight to be decided, ordered and moved to.
CRITICAL_DAYS = 14
#: A number that nobody has measured for so long says nothing of today.
STALE_DAYS = 21
ROWS_SHOWN = 60

#: Reads the series of one metric on some targets: see ``core.daily_history``.
ReadSeries = Callable[[Sequence[str], str], Iterable[DailySeries]]


@dataclass(frozen=True, slots=True)
class Line:
    """One number, its limit, and what is foretold of it; ``forecast`` is when it meets the limit.

    ``points`` are what that rests on, one a day at the most.
    """

    metric: LimitedMetric
    target: str
    subject: str
    value: float
    limit: float | None
    measured_at: float
    prospect: Prospect | Withheld
    forecast: Forecast | None
    points: Sequence[Point] = ()

    @property
    def name(self) -> str:
        """What it is called: ``/srv of local``."""
        return subject_of(self.target, self.subject)

    @property
    def days_left(self) -> float | None:
        """Days from the last measurement until the limit is met; ``None`` where none is foretold."""
        return None if self.forecast is None else self.forecast.seconds_left / DAY_SECONDS


def review_capacity(
    job: Job[None, NoOptions], configuration: Configuration, read: ReadSeries, now: float
) -> Report:
    """Foretell each stored number that has a limit. ``now`` is in seconds since the epoch.

    Asks no server. Takes about five milliseconds a series.
    """
    lines: list[Line] = []
    unmeasured: list[tuple[LimitedMetric, str]] = []
    for number, metric in enumerate(METRICS):
        job.progress.update(number, len(METRICS), phase=metric.name, unit="metrics")
        targets = list(metric.targets(configuration))
        found = [line_of(series, metric, configuration) for series in read(targets, metric.name)]
        lines += found
        missing = set(targets) - {line.target for line in found}
        if metric.is_core:
            unmeasured += [
                (metric, target)
                for target in targets
                if target in missing and metric.limit(configuration, target) is not None
            ]
    findings = [finding for line in lines for finding in diagnose(line, now)]
    return Report(
        title="Capacity",
        summary=_summary(lines),
        findings=tuple(by_seriousness([*findings, *_withheld(lines, unmeasured)])),
        tables=tuple(table for table in _tables(lines) if table.rows),
        facts={
            "series": len(lines),
            "foretold": sum(isinstance(line.prospect, Prospect) for line in lines),
            "warning_days": WARNING_DAYS,
            "critical_days": CRITICAL_DAYS,
        },
        plots=plots_of(lines),
    )


def line_of(series: DailySeries, metric: LimitedMetric, configuration: Configuration) -> Line:
    """Foretell one series. Pure."""
    points = series.last_values() if metric.accumulates else series.highest_values()
    prospect = (
        foretell_peaks(points)
        if metric.falls_by_itself
        else foretell(points, accumulates=metric.accumulates)
    )
    limit = metric.limit(configuration, series.target)
    forecast = None
    if isinstance(prospect, Prospect) and limit is not None:
        forecast = prospect.reaches(limit)
    return Line(
        metric,
        series.target,
        series.subject,
        points[-1].value,
        limit,
        points[-1].at_epoch_seconds,
        prospect,
        forecast,
        points,
    )


def diagnose(line: Line, now: float) -> Iterator[Finding]:
    """Name a limit that is met before the next review, and what is not measured any more."""
    stale_days = (now - line.measured_at) / DAY_SECONDS
    if stale_days > STALE_DAYS:
        if line.metric.is_core:
            yield _stale(line, stale_days)
        return
    prospect, forecast = line.prospect, line.forecast
    if forecast is None or line.limit is None or isinstance(prospect, Withheld):
        return
    days = forecast.seconds_left / DAY_SECONDS
    if days > WARNING_DAYS:
        return
    now_in_words = value_in_words(line.metric.name, line.value)
    yield Finding(
        code="capacity-limit",
        severity=Severity.CRITICAL if days <= CRITICAL_DAYS else Severity.WARNING,
        subject=line.name,
        sentence=(
            f"The {line.metric.what} {line.name} {line.metric.event}"
            f" {'at its peaks already' if days <= 0 else forecast.in_words}: now at"
            f" {now_in_words}, {growth_in_words(line)}. {error_in_words(line)}"
        ),
        evidence={
            "metric": line.metric.name,
            "target": line.target,
            "subject": line.subject,
            "value": line.value,
            "limit": line.limit,
            "weekly_growth": prospect.per_day * 7,
            **forecast.to_json("limit"),
            **_backtest_json(prospect),
        },
        advice=line.metric.advice,
    )


def growth_in_words(line: Line) -> str:
    """Say how it grows, as part of a sentence."""
    prospect = line.prospect
    if isinstance(prospect, Withheld):
        return ""
    weekly = prospect.per_day * 7
    if weekly == 0:
        text = "not growing"
    else:
        verb = "growing" if weekly > 0 else "falling"
        text = f"{verb} by {_precise(line.metric.name, abs(weekly))} a week"
    if prospect.has_season:
        best = max(range(7), key=prospect.offsets.__getitem__)
        text += f", highest on {_WEEKDAYS[best]}"
    return text


def error_in_words(line: Line) -> str:
    """Say how far forecasts of the known past were off."""
    prospect = line.prospect
    if isinstance(prospect, Withheld):
        return ""
    backtest = prospect.backtest
    if backtest is None:
        return "How good such forecasts are is withheld: that needs 8 weeks of measurements."
    name = line.metric.name
    return (
        f"Foretold {backtest.days_ahead} days ahead, its past was off by"
        f" {_precise(name, backtest.error)} (had it stood still, by"
        f" {_precise(name, backtest.still_error)})."
    )


_WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


def _precise(metric: str, value: float) -> str:
    """Say a difference: of a ratio in percentage points."""
    return (
        f"{round(value * 100, 3):.2g} points"
        if metric.endswith("_ratio")
        else value_in_words(metric, value)
    )


def _stale(line: Line, days: float) -> Finding:
    return unavailable(
        "capacity-stale",
        line.name,
        f"the forecast of the {line.metric.what} {line.name}",
        f"a measurement by {line.metric.task}: the last one is {days:.0f} days old",
    )


def _withheld(
    lines: Sequence[Line], unmeasured: Sequence[tuple[LimitedMetric, str]]
) -> Iterator[Finding]:
    for task in dict.fromkeys(metric.task for metric, _ in unmeasured):
        names = [f"{m.what} {target}" for m, target in unmeasured if m.task == task]
        finding = unavailable(
            "capacity-unmeasured", task, f"the forecast of {listed(names)}", f"samples by {task}"
        )
        yield replace(finding, advice=f"Leave {task} on its schedule: each run adds a measurement.")
    short = [line for line in lines if isinstance(line.prospect, Withheld) and line.metric.is_core]
    if short:
        finding = unavailable(
            "capacity-too-short",
            "forecasts",
            f"the forecast of {listed([f'{x.metric.what} {x.name}' for x in short])}",
            "a longer history; the table says of which length",
        )
        tasks = sorted({line.metric.task for line in short})
        yield replace(finding, advice=f"Leave {', '.join(tasks)} on their schedules.")


def _summary(lines: Sequence[Line]) -> str:
    dated = sorted(
        (line for line in lines if line.forecast is not None),
        key=lambda line: line.days_left or 0.0,
    )
    foretold = sum(isinstance(line.prospect, Prospect) for line in lines)
    if not lines:
        return "Nothing was measured yet that a forecast could rest on."
    if not dated:
        return f"No limit is met as far as {counted(foretold, 'forecast')} reach."
    first = dated[0]
    assert first.forecast is not None
    soon = sum((line.days_left or 0.0) <= WARNING_DAYS for line in dated)
    text = (
        f"The first limit is met by the {first.metric.what} {first.name}: {first.forecast.in_words}"
    )
    return f"{text}; {soon} of {counted(foretold, 'forecast')} meet one within {WARNING_DAYS} days."


def _tables(lines: Sequence[Line]) -> Iterator[Table]:
    ordered = sorted(
        lines,
        key=lambda x: (x.days_left is None, x.days_left or 0.0, x.metric.name, x.name),
    )
    yield Table.of("Limits and when they are met", [_row(line) for line in ordered[:ROWS_SHOWN]])


def _row(line: Line) -> dict[str, Any]:
    prospect, name = line.prospect, line.metric.name
    row: dict[str, Any] = {
        "what": f"{line.metric.what} {line.name}",
        "now": value_in_words(name, line.value),
        "limit": None if line.limit is None else value_in_words(name, line.limit),
        "measured": day_in_words(line.measured_at),
    }
    if isinstance(prospect, Withheld):
        nothing = dict.fromkeys(("in_90_days", "interval", "limit_about", "limit_earliest"))
        return {
            **row,
            **nothing,
            "limit_latest": None,
            "backtest_error": None,
            "withheld": prospect.needs,
        }
    low, high = prospect.band_in(90)
    backtest, forecast = prospect.backtest, line.forecast
    return {
        **row,
        "in_90_days": value_in_words(name, prospect.value_in(90)),
        "interval": f"{value_in_words(name, max(0.0, low))} to {value_in_words(name, high)}",
        "limit_about": day_in_words(forecast.about_at) if forecast else None,
        "limit_earliest": day_in_words(forecast.earliest_at) if forecast else None,
        "limit_latest": day_in_words(forecast.latest_at)
        if forecast and forecast.latest_at
        else None,
        "backtest_error": (
            f"{_precise(name, backtest.error)} in {backtest.days_ahead} days" if backtest else None
        ),
        "withheld": "" if forecast or line.limit is None else _no_date(line, line.limit, prospect),
    }


def _no_date(line: Line, limit: float, prospect: Prospect) -> str:
    if line.value >= limit:
        return "beyond it today, and not on most days"
    if prospect.per_day <= 0:
        return "no growth that holds"
    return f"not within {prospect.horizon_days} days, which is as far as its history reaches"


def _backtest_json(prospect: Prospect) -> dict[str, Any]:
    backtest = prospect.backtest
    if backtest is None:
        return {"backtest_error": None}
    return {
        "backtest_error": backtest.error,
        "backtest_days_ahead": backtest.days_ahead,
        "backtest_standing_still_error": backtest.still_error,
        "backtest_forecasts": backtest.tried,
        "measured_weeks": prospect.weeks,
    }
