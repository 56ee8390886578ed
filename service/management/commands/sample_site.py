"""Build the sample site: a realistic library network with planted faults."""

import os
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from maintenance.core.redaction import address_of
from maintenance.reports.formatting import format_value
from service.sample_site import SampleSiteError, Truth, build
from service.sample_site.truth import Fault

REFUSED_EXIT_CODE = 2

# What a line of the table says about a fault: the first of these that its kind has.
_TELLING_NUMBERS = (
    "wasted_bytes",
    "over_length_keys",
    "reads_missed",
    "pending",
    "used_ratio",
    "referencing_rows",
    "duplicate_values",
    "size_bytes",
    "rows_read",
    "keys",
    "rows",
)


class Command(BaseCommand):
    """Fill a database and a Redis of their own, and say what is wrong in them."""

    help = (
        "Build the sample site in the database and the Redis that two environment variables name. "
        "An earlier sample site there is replaced; anything else there is a reason to refuse."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--scale", type=float, default=1.0, help="1 is about 260 MB (default: 1)"
        )
        parser.add_argument(
            "--seed", type=int, default=20, help="same seed, same site (default: 20)"
        )
        parser.add_argument("--truth", type=Path, help="write what is planted to this JSON file")
        parser.add_argument(
            "--database-url-env",
            default="SITE_DATABASE_URL",
            metavar="NAME",
            help="environment variable with the URL of the database (default: SITE_DATABASE_URL)",
        )
        parser.add_argument(
            "--redis-url-env",
            default="SITE_REDIS_URL",
            metavar="NAME",
            help="environment variable with the URL of the Redis (default: SITE_REDIS_URL)",
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        """Build, print the table, write the truth."""
        database_url = _url(
            options["database_url_env"], "postgresql://user:password@host:5432/site"
        )
        redis_url = _url(options["redis_url_env"], "redis://:password@host:6379/0")
        truth_path: Path | None = options["truth"]
        if truth_path and not truth_path.absolute().parent.is_dir():
            raise CommandError(
                f"The folder of {truth_path} does not exist: create it, or name another file.",
                returncode=REFUSED_EXIT_CODE,
            )
        self._started = time.monotonic()
        try:
            truth = build(
                database_url,
                redis_url,
                scale=options["scale"],
                seed=options["seed"],
                progress=self._progress if options["verbosity"] > 0 else None,
            )
        except SampleSiteError as error:
            raise CommandError(str(error), returncode=REFUSED_EXIT_CODE) from None
        if truth_path:
            truth.write(truth_path)
        self._print(truth, address_of(database_url), address_of(redis_url), truth_path)

    def _progress(self, step: str, done: int, total: int) -> None:
        """Rewrite one line on a terminal; elsewhere, one line for each step that is done."""
        elapsed = f"{time.monotonic() - self._started:5.1f} s"
        if sys.stderr.isatty():
            end = "\n" if done >= total else ""
            self.stderr.write(f"\r{elapsed}  {step}: {done} of {total}\033[K", ending=end)
        elif done >= total:
            self.stderr.write(f"{elapsed}  {step}")

    def _print(self, truth: Truth, database: str, redis: str, path: Path | None) -> None:
        observed = {name: format_value(name, value) for name, value in truth.observed.items()}
        self.stdout.write(
            f"Sample site of scale {truth.scale:g}, seed {truth.seed}, dates up to {truth.as_of}\n"
            f"  {database}: PostgreSQL {observed['postgres_version']}, {observed['database_bytes']}\n"
            f"  {redis}: {observed['redis_keys']} keys, {observed['redis_used_memory_bytes']}\n"
        )
        lines = [("fault", "subject", "how much", "named by")]
        lines += [(f.kind, f.subject, _how_much(f), f.analysed_by) for f in truth.faults]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        for line in lines:
            padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
            self.stdout.write("  ".join(padded).rstrip())
        for kind, reason in truth.unavailable.items():
            self.stdout.write(f"{kind}: not planted. {reason}")
        self.stdout.write(
            f"\n{len(truth.faults)} faults and {len(truth.decoys)} things that only look like one, "
            f"built in {observed['build_seconds']}."
        )
        if path:
            self.stdout.write(f"The truth is in {path}.")


def _url(name: str, example: str) -> str:
    url = os.environ.get(name, "")
    if not url:
        raise CommandError(
            f"The environment variable {name} is not set: the sample site needs a URL such as {example}.",
            returncode=REFUSED_EXIT_CODE,
        )
    return url


def _how_much(fault: Fault) -> str:
    for name in _TELLING_NUMBERS:
        if name in fault.expected:
            label = name.removesuffix("_bytes").removesuffix("_ratio").replace("_", " ")
            return f"{format_value(name, fault.expected[name])} {label}"
    return ""
