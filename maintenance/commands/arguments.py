"""Arguments that several commands take, and their meaning: the same word means the same everywhere."""

import argparse
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from maintenance.core.errors import InvalidOptions
from maintenance.core.findings import Severity
from maintenance.core.suggestions import require_known
from maintenance.reports.formats import FORMATS, renderer

FAIL_ON = (Severity.INFO, Severity.WARNING, Severity.CRITICAL)


@dataclass(frozen=True, slots=True)
class OutputChoice:
    """How and where a report goes: ``path`` is ``None`` for standard output."""

    format_name: str
    path: Path | None

    @classmethod
    def of(cls, options: dict[str, Any]) -> "OutputChoice":
        """Check what was given. Raises ``UnknownName`` and ``InvalidOptions``."""
        format_name = "json" if options.get("json") else renderer(options["format"]).name
        given = options["output"]
        if given in {None, "-"}:
            return cls(format_name, None)
        path = Path(given)
        # Measuring takes minutes: a misspelt folder is told before, not after.
        if not path.absolute().parent.is_dir():
            raise InvalidOptions(
                f"There is no folder {path.absolute().parent} for the report."
                " Create it, or give another --output."
            )
        if path.is_dir():
            raise InvalidOptions(f"{path} is a folder; --output needs the name of a file.")
        return cls(format_name, path)


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--format``, ``--json`` and ``--output``."""
    parser.add_argument(
        "--format",
        default="text",
        metavar="FORMAT",
        help=f"{', '.join(FORMATS)}; default text. JSON is one document, alone on standard output.",
    )
    add_json_argument(parser)
    parser.add_argument(
        "--output", metavar="FILE", help="Write the report to FILE instead of standard output."
    )


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="The same as --format json.")


def add_fail_on_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--fail-on``."""
    parser.add_argument(
        "--fail-on",
        default=Severity.WARNING.value,
        metavar="SEVERITY",
        help=(
            "The severity from which on a finding makes the exit code 1:"
            f" {', '.join(FAIL_ON)}; default warning."
        ),
    )


def add_database_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--database``."""
    parser.add_argument(
        "--database",
        metavar="NAME",
        help=(
            "A database target of MAINTENANCE, or a Django alias. Default: every configured"
            " target, and the alias default where none is configured."
        ),
    )


def fail_on(options: dict[str, Any]) -> Severity:
    """Return the severity of ``--fail-on``. Raises ``UnknownName``."""
    return Severity(require_known("severity", options["fail_on"], FAIL_ON))


def known_names(kind: str, given: list[str] | None, known: list[str]) -> tuple[str, ...]:
    """Return the names that were given, once each, or all. Raises ``UnknownName``."""
    if not given:
        return tuple(known)
    return tuple(dict.fromkeys(require_known(kind, name, known) for name in given))


def positive_int(text: str) -> int:
    """Read a number that counts something, for ``type=``."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f'must be a whole number of 1 or more, got "{text}"')
    return number


def not_negative(text: str) -> float:
    """Read a number of 0 or more, for ``type=``."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f'must be a number of 0 or more, got "{text}"')
    return number


def moment(text: str) -> datetime:
    """Read a day or a time in the site's time zone, for ``type=``."""
    try:
        read = parse_datetime(text if "T" in text or " " in text else f"{text}T00:00")
    except ValueError:
        read = None
    if read is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: write 2026-11-29 or 2026-11-29T03:00"
        )
    return timezone.make_aware(read) if timezone.is_naive(read) else read
