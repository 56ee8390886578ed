"""Extensions whose SQL objects are older than the library that the server has loaded.

Source: PostgreSQL documentation, "ALTER EXTENSION": a new package brings new scripts, and each
database goes on with the old objects until it is updated.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import counted
from maintenance.postgres.server.aspect import Aspect
from maintenance.postgres.sql_files import query


@dataclass(frozen=True, slots=True)
class ExtensionVersion:
    """An installed extension that is not of the version the server's files offer.

    ``default_version`` is ``None`` where those files are gone. ``go_back_to`` is the installed
    version as an SQL literal.
    """

    name: str
    quoted_name: str
    installed_version: str
    default_version: str | None
    can_update: bool
    can_go_back: bool
    may_update: bool
    go_back_to: str


def examine_extensions(
    conn: Connection,
    thresholds: Thresholds,  # noqa: ARG001 - versions are equal or not
    previous: Mapping[str, Any],  # noqa: ARG001
) -> Aspect:
    """Compare the extensions of this database with the files of the server."""
    differing = [
        ExtensionVersion(**row, go_back_to=sql.Literal(row["installed_version"]).as_string(conn))
        for row in query(conn, "extension_versions")
    ]
    verb = "differs" if len(differing) == 1 else "differ"
    return Aspect(
        clause=(
            f"{counted(len(differing), 'extension')} {verb} from the server's version"
            if differing
            else "all extensions have the server's version"
        ),
        findings=tuple(f for extension in differing for f in diagnose_extension(extension)),
        facts={"extensions_differing": len(differing)},
    )


def diagnose_extension(extension: ExtensionVersion) -> Iterator[Finding]:
    """Say that an update is there, or why there is none."""
    name, installed = extension.name, extension.installed_version
    evidence = {
        "installed_version": installed,
        "default_version": extension.default_version,
        "may_update": extension.may_update,
    }
    if extension.default_version is None:
        yield Finding(
            code="extension-files-missing",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"The extension {name} {installed} is installed here, but the server has no files of"
                " it: a dump of this database cannot be restored on it, and its functions may fail."
            ),
            evidence=evidence,
            advice="Install its package for this server's version, or drop the extension if unused.",
        )
    elif extension.can_update:
        back = f"ALTER EXTENSION {extension.quoted_name} UPDATE TO {extension.go_back_to};"
        no_way_back = "" if extension.can_go_back else " There is no way back but a backup."
        by = "" if extension.may_update else " It takes the extension's owner or a superuser."
        yield Finding(
            code="extension-update",
            severity=Severity.INFO,
            subject=name,
            sentence=(
                f"The extension {name} is at {installed} in this database; the server offers"
                f" {extension.default_version}."
            ),
            evidence=evidence,
            advice=f"Read its release notes, then update it in every database.{no_way_back}{by}",
            commands=(f"ALTER EXTENSION {extension.quoted_name} UPDATE;",),
            undo=(back,) if extension.can_go_back else (),
        )
    else:
        yield Finding(
            code="extension-version",
            severity=Severity.INFO,
            subject=name,
            sentence=(
                f"The extension {name} is at {installed} in this database, the server's files are of"
                f" {extension.default_version}, and they know no update between the two."
            ),
            evidence=evidence,
            advice=(
                "The files may be older than the database: install the package that the database was"
                " made with, or a newer one."
            ),
        )
