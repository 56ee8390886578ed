"""Plots: laid out in numbers, drawn as SVG, escaped, and read back from JSON."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.job import Point
from maintenance.core.plots import Foretold, Line, Plot, over_time
from maintenance.core.reports import Report
from maintenance.reports.formats import render_report
from maintenance.reports.html import render_publication
from maintenance.reports.plots import HEIGHT, MARGIN, WIDTH, PlotContent, plot_content
from maintenance.reports.publication import of_report

DAY = 86_400.0
P95 = Plot("p95 site", "response_p95_seconds", ((0.0, 0.2), (DAY, 0.4), (2 * DAY, 0.3)), 0.5)


def corners_of(text: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (corner.split(",") for corner in text.split(" "))]


def content_of(plot: Plot) -> PlotContent:
    content = plot_content(plot)
    assert content is not None
    return content


def test_a_plot_says_in_words_what_it_shows() -> None:
    content = content_of(P95)

    assert content.words == (
        "p95 site, 1970-01-01 to 1970-01-03: newest 300 ms, lowest 200 ms, highest 400 ms;"
        " limit 500 ms"
    )
    assert content.note == "newest 300 ms, lowest 200 ms, highest 400 ms; limit 500 ms"
    assert [tick.label for tick in content.ticks] == ["500 ms", "250 ms", "0 s"]
    (left, low), (_, high), (right, newest) = corners_of(content.lines[0].corners)
    assert low > newest > high > float(content.limit_y)
    assert left > 6 * len("500 ms")
    assert right == WIDTH - MARGIN


def test_a_limit_far_away_does_not_flatten_the_line() -> None:
    far = content_of(Plot("size", "size_bytes", ((0.0, 1.0), (DAY, 2.0)), 1000.0))

    assert (far.limit_y, far.limit) == ("", "1000 bytes")


def test_a_limit_below_a_ratio_that_is_met_is_in_sight() -> None:
    met = content_of(Plot("hits", "hit_ratio", ((0.0, 0.97), (DAY, 0.99)), 0.95))

    assert float(met.limit_y) > max(y for _, y in corners_of(met.lines[0].corners))


def test_hours_are_told_where_days_would_not_differ() -> None:
    content = content_of(Plot("t", "x_bytes", ((0.0, 1.0), (3600.0, 2.0))))

    assert (content.begins, content.ends) == ("1970-01-01 00:00 UTC", "1970-01-01 01:00 UTC")


@pytest.mark.parametrize("points", [(), ((0.0, 1.0),)])
def test_fewer_than_two_points_are_no_line(points: tuple[tuple[float, float], ...]) -> None:
    assert plot_content(Plot("t", "x_bytes", points)) is None


def test_two_lines_are_told_apart_by_name_and_dashes() -> None:
    content = content_of(replace(P95, name="p95", others=(Line("p99", ((0.0, 0.9), (DAY, 1.0))),)))

    assert [(line.name, line.place) for line in content.lines] == [("p95", "0"), ("p99", "1")]
    assert "p99 newest 1 s" in content.words


def test_a_forecast_goes_on_where_the_measurements_end() -> None:
    foretold = (Foretold(12 * DAY, 0.2, 0.4, 0.5), Foretold(22 * DAY, 0.2, 0.5, 9.0))
    content = content_of(replace(P95, foretold=foretold))

    assert content.foretold is not None
    line, ahead = content.lines[0], content.foretold
    assert ahead.corners.split(" ")[0] == line.corners.split(" ")[-1]
    assert ahead.band.split(" ")[0] == line.corners.split(" ")[-1]
    assert content.ends == "1970-01-03"
    assert content.reaches == "1970-01-23"
    assert "forecast for 1970-01-23: 500 ms, between 200 ms and 9 s" in content.words
    # What nobody can know does not flatten what was measured.
    assert min(y for _, y in corners_of(line.corners)) < HEIGHT / 2


VALUES = st.floats(-1e15, 1e15)
FORETOLD = st.builds(Foretold, st.floats(0, 2e9), VALUES, VALUES, VALUES)


@given(
    st.lists(st.tuples(st.floats(0, 2e9), VALUES), min_size=2),
    st.none() | VALUES,
    st.lists(FORETOLD, max_size=3),
)
def test_every_line_lies_within_its_box(
    points: list[tuple[float, float]], limit: float | None, foretold: list[Foretold]
) -> None:
    content = content_of(
        Plot("t", "x_bytes", tuple(sorted(points)), limit, foretold=tuple(foretold))
    )

    drawn = corners_of(content.lines[0].corners)
    if content.foretold:
        drawn += corners_of(content.foretold.band) + corners_of(content.foretold.corners)
    for x, y in drawn:
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    if content.limit_y:
        assert 0 <= float(content.limit_y) <= HEIGHT


def test_a_page_draws_it_without_script_and_escapes_its_title() -> None:
    hostile = Plot('<script>alert("1")</script>', "x_bytes", P95.points)

    page = render_publication(of_report(Report("Audit", "Well.", plots=(P95, hostile))))

    assert page.count("<polyline") == 2
    assert f'points="{content_of(P95).lines[0].corners}"' in page
    assert "<script" not in page
    assert not re.search(r"<(?:svg|line|polyline|rect|text)[^>]* style=", page)
    assert "@page" in page


def test_text_has_a_sparkline_with_its_numbers() -> None:
    body = render_report(Report("Audit", "Well.", plots=(P95,)), "text")

    assert "p95 site, 1970-01-01 to 1970-01-03" in body
    assert "  ▁█▄  newest 300 ms, lowest 200 ms, highest 400 ms" in body
    assert "  limit 500 ms" in body


def test_a_measurement_that_is_no_number_is_left_out() -> None:
    holed = Plot("t", "x_bytes", ((0.0, 1.0), (DAY, float("nan")), (2 * DAY, 3.0)))

    (clean,) = of_report(Report("T", "S", plots=(holed,))).reports[0].plots

    assert content_of(clean).lines[0].values == (1.0, 3.0)


def test_stored_and_measured_points_make_a_course_from_two_on() -> None:
    now = Point(2 * DAY, 2.0)

    assert over_time("t", "x_bytes", (), now) == ()
    (plot,) = over_time("t", "x_bytes", (Point(DAY, 1.0),), now, limit=5.0)
    assert (plot.points, plot.limit) == (((DAY, 1.0), (2 * DAY, 2.0)), 5.0)


def test_plots_survive_json_and_are_no_key_where_there_are_none() -> None:
    rich = replace(
        P95,
        name="p95",
        others=(Line("p99", P95.points),),
        foretold=(Foretold(3 * DAY, 0.1, 0.2, 0.3),),
    )
    report = Report("t", "s", plots=(P95, rich))

    assert Report.from_json(report.to_json()) == report
    assert "plots" not in Report("t", "s").to_json()
