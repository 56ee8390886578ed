"""How commands print: lists in words, colours on a terminal, files."""

import io
from pathlib import Path

import pytest
from django.core.management.base import OutputWrapper
from django.core.management.color import color_style

from maintenance.commands.arguments import OutputChoice
from maintenance.commands.listing import Item, Listing, sign
from maintenance.commands.output import PLAIN_WIDTH, coloured, emit, emit_text
from maintenance.core.errors import InvalidOptions
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report
from maintenance.reports.columns import display_width
from maintenance.reports.publication import of_report

REPORT = Report(
    "Title",
    "A verdict.",
    findings=(Finding("c", Severity.CRITICAL, "public.status", "It is full."),),
)


def listing(*verdicts: str) -> Listing:
    rows = [{"name": f"run {number}", "verdict": text} for number, text in enumerate(verdicts)]
    return Listing(
        "Runs", "All of them.", rows, lambda row: Item(f"[ok] {row['name']}", (row["verdict"],))
    )


def test_a_list_says_its_verdict_first_and_then_every_entry() -> None:
    assert listing("went well", "also well").text(100) == (
        "All of them.\n\n[ok] run 0\n     went well\n\n[ok] run 1\n     also well\n"
    )


def test_a_long_verdict_is_wrapped_below_its_entry() -> None:
    text = listing("word " * 60).text(60)

    assert all(display_width(line) <= 60 for line in text.splitlines())
    assert text.count("     word") > 3


def test_an_entry_cannot_command_the_terminal() -> None:
    text = listing("evil\x1b[2Jname\nsecond line").text(100)

    assert "\x1b" not in text
    assert "evil\\x1b[2Jname second line" in text


def test_a_list_is_a_table_for_every_other_format() -> None:
    (report,) = listing("went well").publication().reports

    assert report.tables[0].columns == ("name", "verdict")
    assert report.tables[0].rows == (("run 0", "went well"),)
    assert listing().publication().reports[0].tables == ()


def test_the_sign_of_a_run_is_its_worst_finding_where_it_did_its_work() -> None:
    assert sign("succeeded", "warning") == "[!]"
    assert sign("failed", "critical") == "[!!]"
    assert sign("skipped", "ok") == "[--]"
    assert sign("", "") == "[..]"


def test_colour_is_for_signs_and_words_at_the_start_of_a_line() -> None:
    style = color_style(force_color=True)
    plain = "[!!] CRITICAL public.STATUS\n    not [!!] CRITICAL here\n[ok] fine\n[x] none\n"

    painted = coloured(plain, style)

    assert painted.startswith(f"{style.ERROR('[!!] CRITICAL')} public.STATUS\n")
    assert f"\n{style.SUCCESS('[ok]')} fine\n" in painted
    assert painted.endswith("    not [!!] CRITICAL here\n" + painted.partition("here\n")[2])
    assert "\n[x] none\n" in painted


def test_a_pipe_gets_no_colour_and_a_fixed_width() -> None:
    out = io.StringIO()
    widths: list[int] = []

    def render(width: int) -> str:
        widths.append(width)
        return "[ok] OK"

    emit_text(render, OutputChoice("text", None), OutputWrapper(out), None)

    assert out.getvalue() == "[ok] OK\n"
    assert widths == [PLAIN_WIDTH]


@pytest.mark.parametrize("format_name", ["text", "markdown", "html", "json", "csv"])
def test_a_file_gets_what_the_terminal_would_in_each_format(
    format_name: str, tmp_path: Path
) -> None:
    out, file = io.StringIO(), tmp_path / "report"

    emit(of_report(REPORT), OutputChoice(format_name, None), OutputWrapper(out), None)
    emit(of_report(REPORT), OutputChoice(format_name, file), OutputWrapper(out), None)

    assert file.read_bytes().decode() == out.getvalue()
    assert "public.status" in file.read_text()


def test_a_file_that_cannot_be_written_is_one_sentence() -> None:
    with pytest.raises(InvalidOptions, match="cannot be written to /dev/full: No space left"):
        emit(
            of_report(REPORT),
            OutputChoice("text", Path("/dev/full")),
            OutputWrapper(io.StringIO()),
            None,
        )
