"""``maintenance recommend``: a configuration file for this machine and load, each line with its reason."""

import argparse
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from maintenance.commands.arguments import OutputChoice, not_negative, positive_int
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.exit_codes import ExitCode
from maintenance.conf import configuration

KINDS = ("postgresql", "pgbouncer", "redis", "nginx", "gunicorn", "celery")

_SIZE_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def recommend(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print the file, or write it."""
    from maintenance.deployment.recommend import Adviser, Wish  # noqa: PLC0415 - all subjects

    choice = OutputChoice.of({"format": "text", "output": options["output"]})
    wish = Wish(
        deployment=options["deployment"],
        database=options["database"],
        redis=options["redis"],
        offline=options["offline"],
        memory_bytes=options["memory"],
        cpu_count=options["cpus"],
        storage=options["storage"],
        dedicated=options["dedicated"],
        major=options["major"],
        role=options["role"],
        max_connections=options["max_connections"],
        clients=options["clients"],
        longest_task_seconds=options["longest_task"],
        server_name=options["server_name"],
        static_root=options["static_root"],
        media_root=options["media_root"],
        backends=options["backend"] or (),
    )
    file = Adviser(configuration(), wish).file_for(options["for"])
    body = json.dumps({"name": file.name, "text": file.text}) if options["json"] else file.text
    command.publish_body(body, f"{file.name} is written.", choice)
    return ExitCode.HEALTHY


def _one_of(known: Sequence[str]) -> Callable[[str], str]:
    """Return a ``type=`` that takes one of the known words."""

    def read(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f'must be one of {", ".join(known)}, got "{text}"')
        return text

    return read


def size(text: str) -> int:
    """Read ``4GB``, ``512M`` or bytes, for ``type=``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    if found is None or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f'must be a size such as 4GB or 512MB, got "{text}"')
    return int(float(found[1]) * _SIZE_UNITS[found[2].upper()])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments, of the subcommand and of ``recommend_configuration``."""
    parser.add_argument(
        "--for",
        required=True,
        type=_one_of(KINDS),
        metavar="SERVER",
        help=f"Whose file to print: {', '.join(KINDS)}.",
    )
    parser.add_argument(
        "--deployment", metavar="NAME", help="Whose; default the only one of MAINTENANCE."
    )
    parser.add_argument("--database", metavar="NAME", help="Database target, the same way.")
    parser.add_argument("--redis", metavar="NAME", help="Redis target, the same way.")
    parser.add_argument(
        "--offline", action="store_true", help="Ask no server: begin with a new one."
    )
    machine = parser.add_argument_group("the machine, where it is not this one")
    machine.add_argument("--memory", type=size, metavar="SIZE", help="Such as 4GB.")
    machine.add_argument("--cpus", type=positive_int, metavar="NUMBER", help="Processors.")
    machine.add_argument(
        "--storage", type=_one_of(("ssd", "hdd")), metavar="KIND", help="Of its disks: ssd or hdd."
    )
    machine.add_argument(
        "--dedicated", action="store_true", help="Nothing else needs its memory; default shared."
    )
    load = parser.add_argument_group("the load, where it cannot be read")
    load.add_argument("--major", type=positive_int, metavar="VERSION", help="Of PostgreSQL.")
    load.add_argument("--role", metavar="ROLES", help="Of Redis: cache, streams, broker ...")
    load.add_argument("--max-connections", type=positive_int, metavar="N", help="Of PostgreSQL.")
    load.add_argument("--clients", type=positive_int, metavar="N", help="Connections of the site.")
    load.add_argument(
        "--longest-task", type=not_negative, metavar="SECONDS", help="That Celery may work on."
    )
    site = parser.add_argument_group("the site, for Nginx")
    site.add_argument("--server-name", default="", metavar="NAME")
    site.add_argument("--static-root", default="", metavar="FOLDER")
    site.add_argument("--media-root", default="", metavar="FOLDER")
    site.add_argument("--backend", action="append", metavar="HOST:PORT", help="May be repeated.")
    parser.add_argument("--json", action="store_true", help="As JSON, with the name of the file.")
    parser.add_argument("--output", metavar="FILE", help="Write to FILE, not to standard output.")


SUBCOMMAND = Subcommand(
    "recommend",
    "A configuration file that fits this machine and load, each line with its reason.",
    add_arguments,
    recommend,
)
