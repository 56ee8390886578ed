"""``maintenance tail``: runs and findings as they happen."""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from maintenance.commands.arguments import add_json_argument, moment, not_negative
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.find_runs import SHOWN_CHARACTERS, known_target
from maintenance.commands.crew.runs import run_row
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.crew.watching import waiting_line
from maintenance.commands.errors import explained
from maintenance.commands.exit_codes import ExitCode
from maintenance.commands.listing import sign
from maintenance.commands.output import coloured
from maintenance.core.attention.standings import runs_named
from maintenance.core.findings import Severity
from maintenance.core.runs.following import Event, Follower, News
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.core.runs.registry import task_named
from maintenance.core.suggestions import require_known
from maintenance.models import StoredFinding
from maintenance.reports.columns import one_line
from maintenance.reports.content import SIGNS
from maintenance.reports.formatting import format_seconds

#: A person sees no difference below, and the ledger answers in a millisecond.
POLL_SECONDS = 1.0


def tail(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print what happens until Ctrl-C, which is how this ends and no fault, or for ``--for`` seconds."""
    task = task_named(options["task"]).name if options["task"] else None
    target = known_target(options["target"]) if options["target"] else None
    least = Severity(require_known("severity", options["severity"], list(Severity)))
    follower = Follower(options["since"] or ledger_now())
    untold: list[News] = []
    for_seconds = options["for"]
    ends_at = time.monotonic() + for_seconds if for_seconds is not None else float("inf")
    try:
        while True:
            for news, findings in look(command, follower, untold):
                if task in {None, news.run.task} and target in {None, news.run.target}:
                    _tell(command, _rows(news, findings, least), as_json=options["json"])
            command.stdout.flush()
            left = ends_at - time.monotonic()
            if left <= 0:
                return ExitCode.HEALTHY
            time.sleep(min(POLL_SECONDS, left))
    except KeyboardInterrupt:
        return ExitCode.HEALTHY


def look(
    command: MaintenanceCommand, follower: Follower, untold: list[News]
) -> list[tuple[News, Sequence[StoredFinding]]]:
    """Return what is new, each with its findings; nothing, and a word about it, while the ledger is away.

    What the follower has said and the findings were not read of stays in ``untold`` until the next look.
    """
    try:
        untold += follower.news()
        found = _findings(untold)
    except (DatabaseError, InterfaceError) as error:
        command.note(explained(error) or str(error))
        ledger_connection().close()
        return []
    told = [(news, found[news.run.id] if news.event is Event.ENDED else ()) for news in untold]
    untold.clear()
    return told


def _findings(told: Iterable[News]) -> Mapping[UUID, Sequence[StoredFinding]]:
    """Return the findings of the runs that ended. One query, none where no run did."""
    ended = [news.run.id for news in told if news.event is Event.ENDED]
    found: defaultdict[UUID, list[StoredFinding]] = defaultdict(list)
    if ended:
        for row in StoredFinding.objects.filter(run__in=runs_named(ended)):
            found[row.run_id].append(row)
    return found


def _tell(command: MaintenanceCommand, rows: Iterable[Mapping[str, Any]], *, as_json: bool) -> None:
    for row in rows:
        if as_json:
            command.stdout.write(json.dumps(row, ensure_ascii=False))
        else:
            line = _line(row)
            style = command.colours
            command.stdout.write(coloured(line, style) if style is not None else line)


def _rows(
    news: News, findings: Iterable[StoredFinding], least: Severity
) -> Iterator[dict[str, Any]]:
    """Yield the run's row, and its findings from ``least`` on, the worst first."""
    at, run = news.at.isoformat(), news.run
    yield {"event": news.event.value, "at": at, **run_row(run), "verdict": _verdict(news)}
    wanted = [found for found in findings if Severity(found.severity).rank >= least.rank]
    for found in sorted(wanted, key=lambda found: -Severity(found.severity).rank):
        yield {
            "event": "finding",
            "at": at,
            "id": str(run.id),
            "task": run.short_task,
            "target": found.target or run.target,
            "severity": found.severity,
            "code": found.code,
            "subject": found.subject,
            "sentence": found.sentence,
        }


def _verdict(news: News) -> str:
    run = news.run
    if news.event is Event.STARTED:
        return f"attempt {run.attempt} on {run.worker}" if run.attempt > 1 else f"on {run.worker}"
    if news.event is Event.WAITS:
        if run.is_postponed:
            return waiting_line(run)
        failures = run.failures or [{}]
        return f"attempt {run.attempt} failed, another follows: {failures[-1].get('reason', '')}"
    took = f" ({format_seconds(run.duration.total_seconds())})" if run.duration else ""
    return f"{run.reason or run.summary}{took}"


def _line(row: Mapping[str, Any]) -> str:
    """Return an event as one line; the sign begins it, as in every list."""
    at = f"{timezone.localtime(datetime.fromisoformat(row['at'])):%H:%M:%S}"
    on = f" on {row['target']}" if row["target"] else ""
    if row["event"] == "finding":
        mark = f"[{SIGNS[row['severity']]}]"
        return f"{mark:4} {at}           {row['task']}{on}: {one_line(row['sentence'])}"
    ended = row["event"] == Event.ENDED
    mark = sign(row["state"], row["worst"]) if ended else "[..]"
    word = row["state"] if ended else row["event"]
    head = f"{mark:4} {at}  {row['id'][:SHOWN_CHARACTERS]} {word:9} {row['task']}{on}"
    return f"{head}: {one_line(row['verdict'])}"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", metavar="TASK", help="Only of this task.")
    parser.add_argument("--target", metavar="TARGET", help="Only on this target.")
    parser.add_argument(
        "--severity",
        default=Severity.WARNING.value,
        metavar="SEVERITY",
        help="Findings of this severity and above: ok, info, warning, critical; default warning.",
    )
    parser.add_argument(
        "--since",
        type=moment,
        metavar="TIME",
        help='First what has happened since then: go on from the last "at" of --json. Default now.',
    )
    parser.add_argument(
        "--for", type=not_negative, metavar="SECONDS", help="End after so long; default Ctrl-C."
    )
    add_json_argument(parser)


SUBCOMMAND = Subcommand(
    "tail", "Runs and findings as they happen; Ctrl-C ends it.", _add_arguments, tail
)
