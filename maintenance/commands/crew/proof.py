"""``maintenance proof``: every slot that was due, and whether it ran, was skipped and why, or was lost."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maintenance.commands.arguments import OutputChoice, add_output_arguments, moment
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.exit_codes import ExitCode
from maintenance.core.errors import InvalidOptions
from maintenance.core.evidence.proving import USUAL_DAYS, Wanted, Write, prove_time
from maintenance.reports.csv_format import RowWriter
from maintenance.reports.publication import of_report

_COLUMNS = (
    "due_at",
    "schedule",
    "target",
    "verdict",
    "late_seconds",
    "state",
    "reason",
    "run_id",
    "stands_for",
)


def prove_slots(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print the sums, what was not on time, and each schedule; write all slots where asked to."""
    choice = OutputChoice.of(options)
    wanted = Wanted(options["since"], options["until"], options["schedule"])
    with _export(options["slots"]) as write:
        proof = prove_time(wanted, write)
    command.publish(of_report(proof.report), choice)
    if options["slots"]:
        command.note(f"Every slot is written to {options['slots']}.")
    is_amiss = proof.missing or proof.failed_to_start or proof.unread
    return ExitCode.FINDINGS if is_amiss else ExitCode.HEALTHY


@contextmanager
def _export(path: str | None) -> Iterator[Write]:
    """Give a way to write each slot to a CSV file, or nowhere. Raises ``InvalidOptions``."""
    if path is None:
        yield lambda _row: None
        return
    try:
        with Path(path).open("w", encoding="utf-8", newline="") as stream:
            yield RowWriter(stream, _COLUMNS).write
    except OSError as error:
        raise InvalidOptions(
            f"The slots cannot be written to {path}: {error.strerror}."
            " Make room or give another --slots."
        ) from None


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since", type=moment, metavar="TIME", help=f"From then on; default {USUAL_DAYS} days ago."
    )
    parser.add_argument("--until", type=moment, metavar="TIME", help="Up to then; default now.")
    parser.add_argument(
        "--schedule",
        default="*",
        metavar="PATTERN",
        help='Only schedules whose name fits, such as "daily *".',
    )
    parser.add_argument(
        "--slots", metavar="FILE", help="Write every slot to FILE as CSV, a line each."
    )
    add_output_arguments(parser)


SUBCOMMAND = Subcommand(
    "proof",
    "Every slot that was due: did it run, how late, was it skipped and why, or lost. Exits 1 if any is.",
    _add_arguments,
    prove_slots,
)
