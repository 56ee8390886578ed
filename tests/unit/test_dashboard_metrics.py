"""The tiles' lines: values, limits, trends and the drawing, without a database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import parse_configuration
from maintenance.core.runs.registry import TargetKind, task_named
from maintenance.key_metrics.metrics import (
    KEY_METRICS,
    Series,
    Stretch,
    reading,
    series_of,
)
from maintenance.key_metrics.sparkline import HEIGHT, MARGIN, WIDTH, sparkline

CONFIGURATION = parse_configuration(
    {
        "brokers": {"site": {"url": "redis://h", "queues": ["high", "low"], "max_pending": 1000}},
        "logs": {"site": {"path": "/var/log/access.log"}},
        "databases": {"site": {"url": "postgres://h/d"}},
    }
)
P95, P99, ERRORS = series_of("site", TargetKind.LOG, CONFIGURATION)
CONNECTIONS, HITS = series_of("site", TargetKind.DATABASE, CONFIGURATION)


def at(*values: float) -> list[Stretch]:
    return [Stretch(place, value, value, value) for place, value in enumerate(values)]


def test_each_queue_of_a_broker_has_a_line_and_the_limit_of_its_broker() -> None:
    lines = list(series_of("site", TargetKind.BROKER, CONFIGURATION))

    assert [(line.subject, line.limit) for line in lines] == [("high", 1000.0), ("low", 1000.0)]
    said = reading(lines[0], at(1203.0))
    assert (said.label, said.value, said.limit, said.kind) == (
        "waiting messages in high",
        "1,203",
        "target: under 1,000",
        "warning",
    )


@pytest.mark.parametrize(
    ("series", "value", "said", "limit", "kind"),
    [
        (P95, 0.32, "320 ms", "target: under 500 ms", "ok"),
        (P95, 0.5, "500 ms", "target: under 500 ms", "warning"),
        (P99, 1.4, "1.4 s", "target: under 1 s", "warning"),
        (ERRORS, 0.002, "0.2 %", "target: under 1.0 %", "ok"),
        (CONNECTIONS, 12.0, "12", "target: under 100", "ok"),
        (HITS, 0.991, "99.1 %", "target: over 95.0 %", "ok"),
        (HITS, 0.91, "91.0 %", "target: over 95.0 %", "warning"),
    ],
)
def test_a_value_is_said_beside_the_guide_s_target(
    series: Series, value: float, said: str, limit: str, kind: str
) -> None:
    found = reading(series, at(value))

    assert (found.value, found.limit, found.kind) == (said, limit, kind)


def test_the_picture_is_said_in_words_with_its_peak() -> None:
    stretches = [Stretch(0, 0.2, 0.9, 0.3), *at(0.3, 0.3, 0.31)[1:]]

    assert reading(P95, stretches).in_words == (
        "response time, p95 in the last 30 days: between 300 ms and 900 ms, now 310 ms"
    )


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((1.0, 2.0, 3.0), ""),
        ((1.0, 1.0, 1.0, 1.0), "steady"),
        ((0.0, 0.0, 0.0, 0.0), "steady"),
        ((1.0, 1.0, 9.0, 1.0, 1.0, 1.0), "steady"),
        ((1.0, 1.1, 1.2, 1.3, 1.4, 1.5), "rising"),
        ((5.0, 5.0, 4.0, 4.0, 3.0, 3.0), "falling"),
    ],
)
def test_a_trend_takes_no_notice_of_a_peak_and_needs_four_values(
    values: tuple[float, ...], kind: str
) -> None:
    assert reading(P95, at(*values)).trend_kind == kind


def test_each_key_metric_is_measured_by_a_task_of_its_kind() -> None:
    for kind, metrics in KEY_METRICS.items():
        for key_metric in metrics:
            assert task_named(key_metric.task).target_kind is kind


@given(
    st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=40),
    st.one_of(st.none(), st.floats(-1e12, 1e12)),
)
def test_nothing_is_drawn_outside_of_the_picture(values: list[float], limit: float | None) -> None:
    drawn = sparkline(list(enumerate(values)), 39, limit)

    for point in drawn.points.split():
        x, y = map(float, point.split(","))
        assert MARGIN - 0.1 <= x <= WIDTH - MARGIN + 0.1
        assert MARGIN - 0.1 <= y <= HEIGHT - MARGIN + 0.1
    if drawn.limit_y is not None:
        assert MARGIN - 0.1 <= drawn.limit_y <= HEIGHT - MARGIN + 0.1


def test_a_limit_far_away_does_not_press_the_line_flat() -> None:
    far = sparkline([(0, 1.0), (1, 2.0)], 1, 1000.0)
    near = sparkline([(0, 1.0), (1, 2.0)], 1, 2.5)

    assert far.limit_y is None
    assert near.limit_y is not None
    assert near.last_y > near.limit_y, "higher values stand higher"
