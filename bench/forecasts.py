"""Forecasts of 1,000 series of a year of days: their time, their error, and how honest the interval is.

The peer is the Holt-Winters method with additive trend and weekly season of statsmodels, the usual
library for this, where it can be installed for the moment. Both see the same 365 days and are asked
for the weekly means of the 13 weeks that follow, which neither has seen. The series are what sites
have: sums that grow, with steps; peaks of visitors with weekends; walks without any trend; outliers.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maintenance.capacity.forecast import Prospect, foretell
from maintenance.core.job import Point
from maintenance.core.trend import DAY_SECONDS

SERIES = int(os.environ.get("FORECASTS_SERIES", "1000"))
#: Each takes the peer some tenth of a second.
PEER_SERIES = int(os.environ.get("FORECASTS_PEER_SERIES", "100"))
KNOWN_DAYS, AHEAD_WEEKS = 365, 13
FIRST_DAY = 20_000

TIME_LIMIT_SECONDS = 10.0
#: Of statsmodels' error.
ERROR_LIMIT = 1.0
COVERED_LIMIT = 0.85

PEER = "statsmodels>=0.14"

_PEER_PROGRAM = """
import json, sys, time, warnings
from statsmodels.tsa.holtwinters import ExponentialSmoothing
warnings.simplefilter("ignore")
found = []
started = time.process_time()
for values in json.load(sys.stdin):
    model = ExponentialSmoothing(values, trend="add", seasonal="add", seasonal_periods=7,
                                 initialization_method="estimated")
    found.append([float(v) for v in model.fit().forecast(91)])
print(json.dumps([time.process_time() - started, found]))
"""


def series(number: int) -> tuple[bool, list[float]]:
    """Return whether a series accumulates, and its days, known ones and those ahead."""
    choose = random.Random(number)
    kind = number % 4
    level = choose.uniform(50, 200)
    daily = choose.choice((0.0, 0.02, 0.1, 0.3)) if kind != 2 else 0.0
    weekend = choose.uniform(5, 20) if kind in {1, 3} else 0.0
    walk, values = 0.0, []
    for day in range(KNOWN_DAYS + AHEAD_WEEKS * 7):
        walk += choose.gauss(0, 0.4)
        if kind == 0 and choose.random() < 0.004:
            walk += choose.uniform(5, 20)
        value = level + daily * day + walk + choose.gauss(0, 2 if kind else 0.2)
        if (FIRST_DAY + day + 3) % 7 >= 5:
            value -= weekend
        if kind == 3 and choose.random() < 0.02:
            value += choose.uniform(50, 200)
        values.append(value)
    return kind == 0, values


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, peer, limit, met."""
    known = [series(number) for number in range(SERIES)]
    points = [_points(values[:KNOWN_DAYS]) for _, values in known]
    started = time.process_time()
    found = [
        foretell(given, accumulates=accumulates)
        for given, (accumulates, _) in zip(points, known, strict=True)
    ]
    seconds = time.process_time() - started
    ours = [_errors(prospect, values) for prospect, (_, values) in zip(found, known, strict=True)]
    covered = [
        _covered(prospect, values) for prospect, (_, values) in zip(found, known, strict=True)
    ]
    flat = [_flat_errors(values) for _, values in known]
    return [
        {
            "name": f"forecasts of {SERIES:,} series x {KNOWN_DAYS} days, with backtests",
            "value": seconds,
            "unit": "s",
            "peer": f"{seconds / SERIES * 1000:.1f} ms a series, no library",
            "limit": f"under {TIME_LIMIT_SECONDS:g}",
            "met": seconds < TIME_LIMIT_SECONDS,
        },
        {
            "name": f"weekly means of the {AHEAD_WEEKS} weeks ahead that lie within the interval",
            "value": 100 * statistics.fmean(covered),
            "unit": "%",
            "peer": "",
            "limit": f"at least {100 * COVERED_LIMIT:g}",
            "met": statistics.fmean(covered) >= COVERED_LIMIT,
        },
        {
            "name": "mean error against that of standing still",
            "value": statistics.fmean(ours) / statistics.fmean(flat),
            "unit": "times",
            "peer": f"ours {statistics.fmean(ours):.2f}, standing still {statistics.fmean(flat):.2f}",
            "limit": "at most 1",
            "met": statistics.fmean(ours) <= statistics.fmean(flat),
        },
        *_beside_peer([values for _, values in known[:PEER_SERIES]], ours, seconds),
    ]


def _beside_peer(
    known: Sequence[Sequence[float]], ours: Sequence[float], seconds: float
) -> list[dict[str, Any]]:
    answer = _ask_peer(known)
    if answer is None:
        return [
            {
                "name": "mean error against Holt-Winters of statsmodels",
                "value": float("nan"),
                "unit": "times",
                "peer": f"not measured: {PEER} cannot be installed here",
                "limit": "none",
                "met": True,
            }
        ]
    peer_seconds, forecasts = answer
    peer = statistics.fmean(
        statistics.fmean(
            abs(statistics.fmean(ahead[7 * w : 7 * w + 7]) - truth)
            for w, truth in enumerate(_weeks_ahead(values))
        )
        for ahead, values in zip(forecasts, known, strict=True)
    )
    own = statistics.fmean(ours[: len(known)])
    each, peer_each = seconds / SERIES, peer_seconds / len(known)
    return [
        {
            "name": f"mean error against Holt-Winters of statsmodels, {len(known)} series",
            "value": own / peer,
            "unit": "times",
            "peer": f"ours {own:.2f}, statsmodels {peer:.2f}",
            "limit": f"at most {ERROR_LIMIT:g}",
            "met": own <= ERROR_LIMIT * peer,
        },
        {
            "name": "time a series against Holt-Winters of statsmodels, which makes no backtest",
            "value": each / peer_each,
            "unit": "times",
            "peer": f"ours {each * 1000:.1f} ms, statsmodels {peer_each * 1000:.1f} ms",
            "limit": "at most 1",
            "met": each <= peer_each,
        },
    ]


def _ask_peer(known: Sequence[Sequence[float]]) -> tuple[float, list[list[float]]] | None:
    with tempfile.TemporaryDirectory(prefix="bench-forecasts-") as folder:
        home = Path(folder)
        installed = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(home), PEER],
            capture_output=True,
            check=False,
        )
        if installed.returncode:
            return None
        answer = subprocess.run(
            [sys.executable, "-c", _PEER_PROGRAM],
            input=json.dumps([list(values[:KNOWN_DAYS]) for values in known]),
            env={**os.environ, "PYTHONPATH": str(home), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
    peer_seconds, forecasts = json.loads(answer.stdout)
    return peer_seconds, forecasts


def _points(values: Sequence[float]) -> list[Point]:
    return [Point((FIRST_DAY + d + 0.5) * DAY_SECONDS, value) for d, value in enumerate(values)]


def _weeks_ahead(values: Sequence[float]) -> list[float]:
    ahead = values[KNOWN_DAYS:]
    return [statistics.fmean(ahead[7 * w : 7 * w + 7]) for w in range(AHEAD_WEEKS)]


def _errors(prospect: Any, values: Sequence[float]) -> float:
    if not isinstance(prospect, Prospect):
        raise TypeError(f"a forecast was withheld: {prospect}")
    return statistics.fmean(
        abs(prospect.value_in(7 * w + 4) - truth) for w, truth in enumerate(_weeks_ahead(values))
    )


def _covered(prospect: Any, values: Sequence[float]) -> float:
    inside = 0
    for w, truth in enumerate(_weeks_ahead(values)):
        lowest, highest = prospect.band_in(7 * w + 4)
        inside += lowest <= truth <= highest
    return inside / AHEAD_WEEKS


def _flat_errors(values: Sequence[float]) -> float:
    last = statistics.fmean(values[KNOWN_DAYS - 7 : KNOWN_DAYS])
    return statistics.fmean(abs(last - truth) for truth in _weeks_ahead(values))
