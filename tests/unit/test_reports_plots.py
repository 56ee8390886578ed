"""Plots: laid out in numbers, drawn as SVG, escaped, and read back from JSON."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.reports import Plot, Report
from maintenance.reports.html import render_publication
from maintenance.reports.plots import HEIGHT, MARGIN, WIDTH, plot_content
from maintenance.reports.publication import of_report

DAY = 86_400.0
P95 = Plot("p95 site", "response_p95_seconds", ((0.0, 0.2), (DAY, 0.4), (2 * DAY, 0.3)), 0.5)


def test_a_plot_says_in_words_what_it_shows() -> None:
    content = plot_content(P95)

    assert content is not None
    assert content.words == (
        "p95 site: 300 ms on 1970-01-03, between 200 ms and 400 ms since 1970-01-01, limit 500 ms"
    )
    assert content.line == "6.0,56.4 160.0,22.8 314.0,39.6"
    assert content.limit_y == f"{MARGIN:.1f}"


def test_a_limit_far_away_does_not_flatten_the_line() -> None:
    far = plot_content(Plot("size", "size_bytes", ((0.0, 1.0), (DAY, 2.0)), 1000.0))

    assert far is not None
    assert (far.limit_y, far.limit) == ("", "1000 bytes")


@pytest.mark.parametrize("points", [(), ((0.0, 1.0),)])
def test_fewer_than_two_points_are_no_line(points: tuple[tuple[float, float], ...]) -> None:
    assert plot_content(Plot("t", "x_bytes", points)) is None


VALUES = st.floats(-1e15, 1e15)


@given(st.lists(st.tuples(st.floats(0, 2e9), VALUES), min_size=2), st.none() | VALUES)
def test_every_line_lies_within_its_box(
    points: list[tuple[float, float]], limit: float | None
) -> None:
    content = plot_content(Plot("t", "x_bytes", tuple(sorted(points)), limit))

    assert content is not None
    for corner in content.line.split(" "):
        x, y = map(float, corner.split(","))
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    if content.limit_y:
        assert 0 <= float(content.limit_y) <= HEIGHT


def test_a_page_draws_it_without_script_and_escapes_its_title() -> None:
    hostile = Plot('<script>alert("1")</script>', "x_bytes", P95.points)

    page = render_publication(of_report(Report("Audit", "Well.", plots=(P95, hostile))))

    assert page.count("<polyline") == 2
    assert 'points="6.0,56.4 160.0,22.8 314.0,39.6"' in page
    assert "<script" not in page
    assert not re.search(r"<(?:svg|line|polyline)[^>]* style=", page)
    assert "@page" in page


def test_plots_survive_json_and_are_no_key_where_there_are_none() -> None:
    report = Report("t", "s", plots=(P95,))

    assert Report.from_json(report.to_json()) == report
    assert "plots" not in Report("t", "s").to_json()
