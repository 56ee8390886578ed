"""``maintenance findings``: what is the case now, what is new, muted or fixed; mute and unmute."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from maintenance.commands import arguments
from maintenance.commands.arguments import OutputChoice, add_output_arguments, positive_int
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.find_runs import known_target
from maintenance.commands.crew.person import person_at_the_terminal
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.exit_codes import ExitCode
from maintenance.commands.listing import Item, Listing, Row
from maintenance.conf import configuration
from maintenance.core.attention.mutes import mute, mutes_in_force
from maintenance.core.attention.standings import configured_pairs, runs_named, standings
from maintenance.core.errors import UnknownName
from maintenance.core.finding_life import FixedFinding, Mute
from maintenance.core.findings import Severity
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.models import MutedFinding, StoredFinding, StoredReport
from maintenance.reports.content import SIGNS
from maintenance.reports.formatting import counted, format_time

#: A fingerprint has 16 digits; a terminal shows enough of it to be told apart.
SHORTEST_PREFIX = 4

Mutes = Mapping[tuple[str, str], Mute]


def list_findings(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print findings, worst first; those that are new, muted or fixed where that is asked for.

    The exit code is that of the findings which count: those that are muted do not.
    """
    choice = OutputChoice.of(options)
    fail_on = arguments.fail_on(options)
    now = ledger_now()
    target = known_target(options["target"]) if options["target"] else ""
    if options["fixed"]:
        rows = _fixed(target)
        listing = Listing("Fixed findings", f"{counted(len(rows), 'finding')} fixed.", rows, _item)
        command.publish_listing(listing, choice)
        return ExitCode.HEALTHY
    mutes = mutes_in_force(now)
    found = [_row(each, mutes, now) for each in _current(target)]
    kept = [row for row in found if _is_wanted(row, options)]
    shown = kept[: options["limit"]]
    listing = Listing("Findings", _summary(shown, kept, found), shown, _item)
    command.publish_listing(listing, choice)
    worst = max((Severity(r["severity"]).rank for r in kept if not r["muted"]), default=0)
    return ExitCode.FINDINGS if worst >= fail_on.rank else ExitCode.HEALTHY


def _current(target: str) -> list[StoredFinding]:
    pairs = [pair for pair in configured_pairs(configuration()) if target in {"", pair[1]}]
    runs = runs_named(each.run_id for each in standings(pairs).values())
    rows = StoredFinding.objects.filter(run__in=runs).exclude(severity=Severity.OK.value)
    return sorted(
        rows.select_related("run"),
        key=lambda row: (-Severity(row.severity).rank, row.target, row.code, row.subject, row.id),
    )


def _is_wanted(row: Row, options: Mapping[str, Any]) -> bool:
    if options["muted"]:
        return bool(row["muted"])
    return not options["new"] or bool(row["new"])


def _row(finding: StoredFinding, mutes: Mutes, now: datetime) -> dict[str, Any]:
    found = mutes.get((finding.run.task, finding.fingerprint))
    muted = found if found and found.silences(Severity(finding.severity), now) else None
    return {
        "finding": finding.fingerprint,
        "severity": finding.severity,
        "measured": finding.measured,
        "task": finding.run.short_task,
        "target": finding.target,
        "code": finding.code,
        "subject": finding.subject,
        "sentence": finding.sentence,
        "new": finding.since == finding.found_at,
        "since": finding.since.isoformat() if finding.since else None,
        "muted": muted is not None,
        "muted_until": muted.until.isoformat() if muted and muted.until else None,
        "muted_by": muted.by if muted else "",
        "mute_reason": muted.reason if muted else "",
        "run_id": str(finding.run_id),
    }


def _fixed(target: str) -> list[dict[str, Any]]:
    """Return what the newest run of each task and target found to be gone."""
    pairs = [pair for pair in configured_pairs(configuration()) if target in {"", pair[1]}]
    runs = runs_named(each.run_id for each in standings(pairs).values())
    reports = StoredReport.objects.filter(run__in=runs, fixed__isnull=False).exclude(fixed=[])
    return [
        {
            "finding": "",
            "severity": fixed.severity.value,
            "measured": True,
            "task": report.run.short_task,
            "target": report.run.target,
            "code": fixed.code,
            "subject": fixed.subject,
            "sentence": fixed.sentence,
            "fixed_at": report.created_at.isoformat(),
            "run_id": str(report.run_id),
        }
        for report in reports.select_related("run").order_by("-created_at")
        for fixed in map(FixedFinding.from_json, report.fixed or [])
    ]


def _summary(shown: Sequence[Row], kept: Sequence[Row], found: Sequence[Row]) -> str:
    muted = sum(bool(row["muted"]) for row in found)
    new = sum(bool(row["new"]) for row in found)
    cut = f" {len(shown)} of {len(kept)} are shown." if len(shown) < len(kept) else ""
    return f"{counted(len(found), 'finding')} in the newest runs: {new} new, {muted} muted.{cut}"


def _item(row: Row) -> Item:
    """Return a row in words."""
    label = row["severity"] if row["measured"] else "unavailable"
    where = f" on {row['target']}" if row["target"] else ""
    name = f"{row['code']}{where}{': ' if row['subject'] else ''}{row['subject']}"
    mark = f"[{SIGNS[label]}]"
    head = "  ".join(filter(None, (f"{mark:4} {label:8}", row["finding"], name)))
    details = [row["sentence"], f"{row['task']}; {_life(row)}"]
    return Item(head, tuple(details))


def _life(row: Row) -> str:
    if "fixed_at" in row:
        return f"fixed {_said(row['fixed_at'])}"
    life = "new" if row["new"] else f"since {_said(row['since'])}" if row["since"] else "there"
    if not row["muted"]:
        return life
    until = f"until {_said(row['muted_until'])}" if row["muted_until"] else "for good"
    return f"{life}; muted {until} by {row['muted_by']}: {row['mute_reason']}"


def _said(moment: str) -> str:
    return format_time(timezone.localtime(datetime.fromisoformat(moment)))


def mute_finding(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Mute what a list of findings shows under this name."""
    finding = _named(options["finding"])
    days, until = options["days"], options["until"]
    end = ledger_now() + timedelta(days=days) if days is not None else until
    row, _is_new = mute(
        finding,
        reason=options["reason"],
        by=person_at_the_terminal(),
        until=end,
        endless=options["for_good"],
    )
    said = f"until {format_time(timezone.localtime(row.until))}" if row.until else "for good"
    command.stdout.write(f"Muted {said}: {finding.sentence}")
    return ExitCode.HEALTHY


def _named(prefix: str) -> StoredFinding:
    """Return a current finding by the beginning of its name. Raises ``UnknownName``."""
    if len(prefix) < SHORTEST_PREFIX:
        raise UnknownName(f'"{prefix}" is too short: give {SHORTEST_PREFIX} characters or more.')
    fitting = [each for each in _current("") if each.fingerprint.startswith(prefix)]
    works = {(each.run.task, each.fingerprint) for each in fitting}
    if not fitting:
        raise UnknownName(f'No current finding begins with "{prefix}". See: maintenance findings')
    if len(works) > 1:
        raise UnknownName(f'"{prefix}" fits {len(works)} findings. Give more of it.')
    return fitting[0]


def unmute_finding(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Let a finding speak again."""
    prefix = options["finding"]
    if len(prefix) < SHORTEST_PREFIX:
        raise UnknownName(f'"{prefix}" is too short: give {SHORTEST_PREFIX} characters or more.')
    rows = list(MutedFinding.objects.filter(fingerprint__startswith=prefix))
    if not rows:
        raise UnknownName(f'No muted finding begins with "{prefix}". See: maintenance findings')
    if len({row.fingerprint for row in rows}) > 1:
        raise UnknownName(f'"{prefix}" fits {len(rows)} muted findings. Give more of it.')
    for row in rows:
        row.delete()
        command.stdout.write(f"Unmuted: {row} ({row.task.removeprefix('maintenance.')})")
    return ExitCode.HEALTHY


def _add_list_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--new", action="store_true", help="Only those of no run before.")
    which.add_argument("--muted", action="store_true", help="Only those that are muted.")
    which.add_argument(
        "--fixed", action="store_true", help="Those that the newest runs do not find any more."
    )
    parser.add_argument("--target", metavar="TARGET", help="Only on this target.")
    parser.add_argument(
        "--limit", type=positive_int, default=50, metavar="N", help="At most this many; default 50."
    )
    arguments.add_fail_on_argument(parser)
    add_output_arguments(parser)


def _add_mute_arguments(parser: argparse.ArgumentParser) -> None:
    _add_name(parser)
    parser.add_argument("--reason", required=True, help="Why; reports and lists name it, and you.")
    lasts = parser.add_mutually_exclusive_group(required=True)
    lasts.add_argument("--days", type=positive_int, metavar="N", help="For so many days.")
    lasts.add_argument("--until", type=arguments.moment, metavar="TIME", help="Until this moment.")
    lasts.add_argument("--for-good", action="store_true", help="Until somebody unmutes it.")


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "finding",
        metavar="FINDING",
        help="Its name, or the first characters; see: maintenance findings",
    )


SUBCOMMAND = Subcommand(
    "findings",
    "What is the case now: new, persisting, muted, fixed.",
    _add_list_arguments,
    list_findings,
)
MUTE = Subcommand(
    "mute",
    "Keep a finding from counting, for a time and a reason.",
    _add_mute_arguments,
    mute_finding,
)
UNMUTE = Subcommand("unmute", "Let a muted finding speak again.", _add_name, unmute_finding)
