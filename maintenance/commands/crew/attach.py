"""``maintenance attach``: a site's servers looked at, and a configuration proposed for it."""

import argparse
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.exit_codes import ExitCode
from maintenance.conf import DatabaseTarget, RedisTarget, parse_configuration, resolve_secret
from maintenance.conf.presets import preset_named, preset_names
from maintenance.core.errors import InvalidOptions

_DATABASES = ("postgres", "postgresql")
_REDIS = ("redis", "rediss", "unix")


def attach(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print the proposal, or write it; nothing else is written anywhere."""
    from maintenance.attach import fit, look, proposal  # noqa: PLC0415 - all subjects

    path = _path(options["write"], force=options["force"])
    databases = _addresses(options["urls"], _DATABASES, "SITE_DATABASE_URL")
    servers = _addresses(options["urls"], _REDIS, "SITE_REDIS_URL")
    if not databases:
        raise InvalidOptions("Give the address of the site's database: postgres://user@host/name.")
    seen = [look.look_at_database(DatabaseTarget(url=url)) for url, _ in databases]
    seen_redis = [look.look_at_redis(RedisTarget(url=url)) for url, _ in servers]
    presets = {name: preset_named(name) for name in preset_names()}
    found = fit.fitting(presets, seen, seen_redis)

    def addresses(given: Sequence[tuple[str, str]]) -> list[Any]:
        names = [reference.partition(":")[2] for _, reference in given]
        return [
            proposal.Address(reference, is_to_be_set=name not in os.environ)
            for (_, reference), name in zip(given, names, strict=True)
        ]

    file = proposal.proposed(
        list(zip(addresses(databases), seen, strict=True)),
        list(zip(addresses(servers), seen_redis, strict=True)),
        found,
        os.environ,
    )
    parse_configuration(tomllib.loads(file.text))  # what we propose is accepted, or never shown
    if path is None:
        command.stdout.write(file.text, ending="")
    else:
        path.write_text(file.text, encoding="utf-8")
        command.note(f"Written to {path}.")
    unset = [name for _, name in (*databases, *servers) if name.partition(":")[2] not in os.environ]
    for reference in dict.fromkeys(unset):
        command.note(f"Set before it is used: export {reference.partition(':')[2]}=...")
    command.note("Then: python manage.py maintenance doctor")
    return ExitCode.HEALTHY


def _path(given: str | None, *, force: bool) -> Path | None:
    if given is None:
        return None
    path = Path(given)
    if path.exists() and not force:
        raise InvalidOptions(f"{path} is there already: --force writes over it.")
    if not path.absolute().parent.is_dir():
        raise InvalidOptions(f"There is no folder {path.absolute().parent} for the file.")
    return path


def _addresses(
    given: Sequence[str], schemes: Sequence[str], variable: str
) -> list[tuple[str, str]]:
    """Return (address as given, reference for the file) of each address with one of the schemes.

    Raises ``InvalidOptions`` for what is no address; it never repeats one, which may hold a password.
    """
    found: list[tuple[str, str]] = []
    for number, one in enumerate(given, 1):
        try:
            scheme = urlsplit(resolve_secret(one)).scheme
        except ValueError:  # an IPv6 address with one bracket
            scheme = ""
        if scheme not in {*_DATABASES, *_REDIS}:
            raise InvalidOptions(
                f"Argument {number} is no address: write postgres://..., redis://... or env:NAME."
            )
        if scheme not in schemes:
            continue
        if one.startswith(("env:", "file:")):
            found.append((one, one))
        else:
            name = variable if not found else f"{variable}_{len(found) + 1}"
            found.append((one, f"env:{name}"))
    return found


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
