"""``maintenance reports``: what runs had to say, and what changed between two of them."""

import argparse
from typing import Any

from django.utils import timezone

from maintenance.commands import arguments
from maintenance.commands.arguments import OutputChoice
from maintenance.commands.base import HelpFormatter, MaintenanceCommand
from maintenance.commands.crew.find_runs import document_of, run_named, runs_of
from maintenance.commands.crew.runs import add_filters, run_item, run_row
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.exit_codes import EXPLANATION, ExitCode, of_reports, of_run
from maintenance.commands.listing import Listing
from maintenance.core.errors import UnknownName
from maintenance.core.reports import Report, Table
from maintenance.core.runs.ledger import previous_document
from maintenance.models import Run
from maintenance.reports.diff import Fate, ReportDiff, compare
from maintenance.reports.diff_text import render_diff
from maintenance.reports.diff_words import verdict
from maintenance.reports.formatting import counted
from maintenance.reports.publication import in_timezone, of_document, of_report

_NAMING = "An id, its first characters (4 or more), or latest:TASK[:TARGET]."


def list_reports(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print runs that left a report, newest first."""
    choice = OutputChoice.of(options)
    found = runs_of(options["task"], options["target"]).filter(report__isnull=False)
    runs = list(found.order_by("-finished_at", "id")[: options["limit"]])
    summary = f"{counted(len(runs), 'report')}, newest first." if runs else "No report fits."
    command.publish_listing(
        Listing("Reports", summary, [run_row(run) for run in runs], run_item), choice
    )
    return ExitCode.HEALTHY


def show_report(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print one report; the exit code is its verdict."""
    choice = OutputChoice.of(options)
    fail_on = arguments.fail_on(options)
    run = run_named(options["run"])
    document = document_of(run)
    here = in_timezone(document, timezone.get_current_timezone())
    command.publish(of_document(here, previous_document(run)), choice)
    return of_run(document.run.state, document.report, fail_on, document.severity)


def show_newest_or_named(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print the report of a run, of the newest one that has a report where none is named.

    Raises ``UnknownName`` where no run has left one.
    """
    if options["run"] is None:
        newest = Run.objects.filter(report__isnull=False).order_by("-finished_at").first()
        if newest is None:
            raise UnknownName("There is no report yet. Make one: python manage.py maintenance run")
        options = {**options, "run": str(newest.id)}
    return show_report(command, options)


def diff_reports(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print what changed between two reports; findings that are new or worse count."""
    choice = OutputChoice.of(options)
    fail_on = arguments.fail_on(options)
    old, new = (document_of(run_named(options[name])) for name in ("old", "new"))
    diff = compare(old, new)
    report = diff_report(diff)
    if choice.format_name == "text":
        command.publish_text(lambda width: render_diff(diff, width=width), report.summary, choice)
    else:
        command.publish(of_report(report), choice)
    return of_reports({"diff": [report]}, fail_on, each_is_required=True)


def diff_report(diff: ReportDiff) -> Report:
    """Return a comparison as a report, for every format that has no words of its own for it.

    Its findings are those that are new or worse: what a reader has to look at.
    """
    task = diff.new.task.removeprefix("maintenance.")
    findings = [
        {
            "fate": change.fate.value,
            "severity": change.current.severity.value,
            "subject": change.current.subject,
            "finding": change.current.sentence,
        }
        for change in diff.findings
    ]
    numbers = [
        {"where": n.where, "subject": n.subject, "name": n.name, "old": n.old, "new": n.new}
        for n in diff.numbers
    ]
    rows = [
        {"table": row.table, "row": row.subject, "change": "came" if row.added else "went"}
        for row in diff.rows
    ]
    tables = (("Findings", findings), ("Numbers", numbers), ("Rows", rows))
    return Report(
        title=f"Changes in {task}",
        summary=verdict(diff),
        findings=tuple(
            change.current for fate in (Fate.NEW, Fate.WORSE) for change in diff.by_fate(fate)
        ),
        tables=tuple(Table.of(title, content) for title, content in tables if content),
        facts={"old_run_id": diff.old.run_id, "new_run_id": diff.new.run_id},
    )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="reports_subcommand", required=True, title="subcommands")

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        child: argparse.ArgumentParser = actions.add_parser(
            name,
            help=summary,
            description=summary,
            formatter_class=HelpFormatter,
            epilog=EXPLANATION,
        )
        return child

    listing = add("list", "Reports, newest first.")
    add_filters(listing)
    arguments.add_output_arguments(listing)

    show = add("show", "One report.")
    show.add_argument("run", metavar="RUN", help=_NAMING)
    _add_verdict_arguments(show)

    diff = add("diff", "What changed between two reports of one task.")
    diff.add_argument("old", metavar="OLD", help=_NAMING)
    diff.add_argument("new", metavar="NEW", help=_NAMING)
    _add_verdict_arguments(diff)


def _add_report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help=f"{_NAMING} Default: the newest report."
    )
    _add_verdict_arguments(parser)


def _add_verdict_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_fail_on_argument(parser)
    arguments.add_output_arguments(parser)


_ACTIONS = {"list": list_reports, "show": show_report, "diff": diff_reports}


def _run(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    return _ACTIONS[options["reports_subcommand"]](command, options)


SUBCOMMAND = Subcommand(
    "reports", "List, show and compare what runs had to say.", _add_arguments, _run
)
REPORT = Subcommand(
    "report",
    "What a run had to say, by default the newest.",
    _add_report_arguments,
    show_newest_or_named,
)
