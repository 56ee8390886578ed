"""Bars: in proportion, in words beside them, and readable where nothing can be drawn."""

from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.plots import MOST_BARS, Bar, BarChart
from maintenance.core.reports import Report
from maintenance.reports.bars import BarsContent, bars_content
from maintenance.reports.blocks import BAR_CELLS, sparkline, stacked
from maintenance.reports.formats import render_report

MIB = 1024**2
BLOAT = BarChart(
    "Tables by size",
    "size_bytes",
    ("live", "bloat"),
    (Bar("public.a", (30.0 * MIB, 90.0 * MIB)), Bar("public.b", (60.0 * MIB, 0.0))),
    stacked=True,
    left_out=2,
)
SLOWER = BarChart(
    "Statements whose time changed",
    "mean_ms",
    ("before", "now"),
    (Bar("query 1", (10.0, 40.0)), Bar("query 2", (None, 20.0))),
)


def content_of(chart: BarChart) -> BarsContent:
    content = bars_content(chart)
    assert content is not None
    return content


def test_shares_of_a_whole_follow_one_another() -> None:
    content = content_of(BLOAT)

    first, second = content.bars
    assert [(p.x, p.length) for p in first.pieces] == [("0.00", "25.00"), ("25.00", "75.00")]
    assert [(p.x, p.length) for p in second.pieces] == [("0.00", "50.00"), ("50.00", "0.00")]
    assert [p.value for p in first.pieces] == ["30 MB", "90 MB"]
    assert content.left_out == "2 shorter bars are left out here."


def test_the_same_number_twice_stands_below_itself() -> None:
    content = content_of(SLOWER)

    first, second = content.bars
    assert [(p.x, p.y, p.length) for p in first.pieces] == [
        ("0.00", "0", "25.00"),
        ("0.00", "10", "100.00"),
    ]
    assert [(p.part, p.value) for p in second.pieces] == [("now", "20 ms")]
    assert content.height == 18


def test_a_chart_without_any_length_is_none() -> None:
    assert bars_content(BarChart("t", "x_bytes", ("a",), ())) is None
    assert bars_content(BarChart("t", "x_bytes", ("a",), (Bar("b", (0.0,)),))) is None


def test_only_the_first_bars_stand_there_and_the_rest_is_counted() -> None:
    bars = [Bar(f"t{number}", (1.0,)) for number in range(MOST_BARS + 3)]

    chart = BarChart.largest("t", "x_bytes", ["size"], bars)

    assert (len(chart.bars), chart.left_out) == (MOST_BARS, 3)


def test_text_and_markdown_tell_parts_apart_by_their_fill() -> None:
    report = Report("Bloat", "Well.", bars=(BLOAT, SLOWER))

    body = render_report(report, "text")
    assert "█ live, ░ bloat" in body
    assert f"public.a  {'█' * 6}{'░' * 18}  live 30 MB, bloat 90 MB" in body
    assert f"query 1  {'█' * 6}{' ' * 18}  before 10 ms" in body
    assert f"         {'░' * 24}  now 40 ms" in body
    markdown = render_report(report, "markdown")
    assert f"| public.a | 30 MB | 90 MB | {'█' * 6}{'░' * 18} |" in markdown


def test_a_page_says_every_value_in_words() -> None:
    page = render_report(Report("Bloat", "Well.", bars=(BLOAT,)), "html")

    assert '<rect class="report-bar report-bar-1" x="25.00" y="0" width="75.00"' in page
    assert '<span class="report-note">bloat</span> 90 MB' in page


def test_charts_survive_json_and_are_no_key_where_there_are_none() -> None:
    report = Report("t", "s", bars=(BLOAT, SLOWER))

    assert Report.from_json(report.to_json()) == report
    assert "bars" not in Report("t", "s").to_json()


LENGTHS = st.lists(st.none() | st.floats(0, 1e12), min_size=1, max_size=4).map(tuple)


@given(st.lists(st.builds(Bar, st.just("b"), LENGTHS), min_size=1, max_size=5), st.booleans())
def test_no_bar_leaves_its_box(bars: list[Bar], is_stacked: bool) -> None:
    chart = BarChart("t", "x_bytes", ("a", "b", "c", "d"), tuple(bars), is_stacked)
    content = bars_content(chart)

    for bar in content.bars if content else ():
        for piece in bar.pieces:
            assert float(piece.x) + float(piece.length) <= 100.02
            assert float(piece.y) + 8 <= chart_height(content)
        if is_stacked:
            assert len(stacked(bar)) <= BAR_CELLS


def chart_height(content: BarsContent | None) -> int:
    return content.height if content else 0


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=100), st.integers(1, 50))
def test_a_sparkline_keeps_within_its_cells(values: list[float], cells: int) -> None:
    assert len(sparkline(values, cells)) == min(len(values), cells)


def test_a_sparkline_ends_at_the_newest_value_and_a_flat_one_is_flat() -> None:
    assert sparkline([0.0] * 99 + [1.0], 4) == "▁▁▁█"
    assert sparkline([5.0, 5.0]) == "▄▄"
    assert sparkline([]) == ""
