"""``maintenance attach``: a site's servers looked at, and a configuration proposed for it."""

import argparse
import os
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from maintenance.attach.addresses import (
    DATABASE_SCHEMES,
    REDIS_SCHEMES,
    addresses_given,
    referred_to,
)
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.errors import sentence_of
from maintenance.commands.exit_codes import ExitCode
from maintenance.conf import DatabaseTarget, RedisTarget, parse_configuration
from maintenance.conf.presets import preset_named, preset_names
from maintenance.core.errors import InvalidOptions, MaintenanceError, TargetUnavailable

TargetT = TypeVar("TargetT")
SeenT = TypeVar("SeenT")


def attach(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print the proposal, or write it; nothing else is written anywhere."""
    from maintenance.attach import fit, look, proposal  # noqa: PLC0415 - all subjects

    path = _path(options["write"], force=options["force"])
    given = addresses_given(options["urls"], os.environ)
    databases = [one for one in given if one.scheme in DATABASE_SCHEMES]
    servers = [one for one in given if one.scheme in REDIS_SCHEMES]
    if not databases:
        raise InvalidOptions("Give the address of the site's database: postgres://user@host/name.")
    faults: list[str] = []
    seen = _seen(look.look_at_database, [DatabaseTarget(url=one.text) for one in databases], faults)
    seen_redis = _seen(look.look_at_redis, [RedisTarget(url=one.text) for one in servers], faults)
    if faults:
        raise TargetUnavailable("\n".join(dict.fromkeys(faults)))
    presets = {name: preset_named(name) for name in preset_names()}
    found = fit.fitting(presets, seen, seen_redis)
    of_databases = referred_to(databases, "SITE_DATABASE_URL", os.environ)
    of_servers = referred_to(servers, "SITE_REDIS_URL", os.environ)
    file = proposal.proposed(
        list(zip(of_databases, seen, strict=True)),
        list(zip(of_servers, seen_redis, strict=True)),
        found,
        os.environ,
    )
    parse_configuration(tomllib.loads(file.text))  # what we propose is accepted, or never shown
    if path is None:
        command.stdout.write(file.text, ending="")
    else:
        path.write_text(file.text, encoding="utf-8")
        command.note(f"Written to {path}.")
    for address in (*of_databases, *of_servers):
        if address.is_to_be_set:
            command.note(f"Set before it is used: export {address.name}=...")
    command.note("Then: python manage.py maintenance doctor")
    return ExitCode.HEALTHY


def _seen(
    look: Callable[[TargetT], SeenT], targets: Iterable[TargetT], faults: list[str]
) -> list[SeenT]:
    """Look at each target; why one could not be looked at is added to ``faults``, so that all are told."""
    seen: list[SeenT] = []
    for target in targets:
        try:
            seen.append(look(target))
        except (MaintenanceError, OSError) as error:
            faults.append(sentence_of(error))
    return seen


def _path(given: str | None, *, force: bool) -> Path | None:
    if given is None:
        return None
    path = Path(given)
    if path.exists() and not force:
        raise InvalidOptions(f"{path} is there already: --force writes over it.")
    if not path.absolute().parent.is_dir():
        raise InvalidOptions(f"There is no folder {path.absolute().parent} for the file.")
    return path


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "urls",
        nargs="+",
        metavar="ADDRESS",
        help=(
            "postgres://user:password@host/name and redis://..., as many as the site has; or env:NAME,"
            " so that no password stands in the shell's history."
        ),
    )
    parser.add_argument("--write", metavar="FILE", help="Write the proposal; default: print it.")
    parser.add_argument(
        "--force", action="store_true", help="Write over a file that is there already."
    )


SUBCOMMAND = Subcommand(
    "attach",
    "Look at a site's servers and propose a configuration, each line with its reason.",
    _add_arguments,
    attach,
)
