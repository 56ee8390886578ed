"""``manage.py up``: the whole service in one terminal."""

import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from maintenance.core.errors import UnknownName
from maintenance.core.suggestions import require_known
from maintenance.schedules import CHECKLISTS
from service.up.options import DEFAULT_FLOWER_PORT, DEFAULT_WEB_PORT, UpOptions
from service.up.output import Output
from service.up.session import Session


class Command(BaseCommand):
    """Start servers, workers, beat, web and Flower; or run checklists once."""

    help = (
        "Starts PostgreSQL and Valkey (unless DATABASE_URL and REDIS_URL are set), three workers,"
        " beat, the admin and Flower, and keeps them running until Ctrl-C. With --once, runs the"
        " named checklists now and ends: exit code 0, or 1 if a run failed."
    )
    # The checks need servers and the configuration that belongs to them: the session runs them.
    requires_system_checks = []  # noqa: RUF012 - Django's own way to say it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--state", type=Path, metavar="DIR", help="state folder")
        parser.add_argument(
            "--once",
            nargs="+",
            metavar="CHECKLIST",
            default=[],
            help=f"run these checklists now and end: {', '.join(CHECKLISTS)}",
        )
        parser.add_argument(
            "--with-web", action="store_true", help="with --once, start the admin and Flower too"
        )
        parser.add_argument(
            "--web-port",
            type=int,
            default=os.environ.get("WEB_PORT") or DEFAULT_WEB_PORT,
            help="port of the admin, 0 for any free one (default: WEB_PORT or %(default)s)",
        )
        parser.add_argument(
            "--flower-port",
            type=int,
            default=os.environ.get("FLOWER_PORT") or DEFAULT_FLOWER_PORT,
            help="port of Flower, 0 for any free one (default: FLOWER_PORT or %(default)s)",
        )
        parser.add_argument(
            "--sample-site",
            action="store_true",
            help="build a library site with planted faults and look after it",
        )
        parser.add_argument(
            "--scale", type=float, help="size of the sample site (default: 1)", default=None
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        """Run the session and exit with its code."""
        chosen = _options(options)
        sys.exit(Session(chosen, Output()).run())


def _options(given: dict[str, Any]) -> UpOptions:
    try:
        checklists = tuple(require_known("checklist", name, CHECKLISTS) for name in given["once"])
    except UnknownName as error:
        raise CommandError(str(error), returncode=2) from None
    if given["scale"] is not None and not given["sample_site"]:
        raise CommandError(
            "--scale is the size of the sample site: add --sample-site.", returncode=2
        )
    scale = (
        (given["scale"] if given["scale"] is not None else 1.0) if given["sample_site"] else None
    )
    return UpOptions(
        state=given["state"],
        checklists=checklists,
        with_web=given["with_web"] or not checklists,
        web_port=given["web_port"],
        flower_port=given["flower_port"],
        sample_scale=scale,
    )
