"""Migrations that wait to be applied, and applied ones that this code does not know."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from django.db import router
from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import counted, listed
from maintenance.postgres.sql_files import query

Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class MigrationState:
    """Migrations as (app, name): ``waiting`` to be applied, ``unknown`` to this code."""

    waiting: tuple[Name, ...] = ()
    unknown: tuple[Name, ...] = ()


def migration_state(conn: Connection, target: DatabaseTarget) -> MigrationState | None:
    """Compare the migrations of this project with those of its database.

    ``None`` for a database that is not this project's own (one configured by URL), or that has no
    table of migrations.
    """
    if not target.alias:
        return None
    rows = query(conn, "tables_of_models", {"names": ["django_migrations"], "exclude_schemas": []})
    if not rows:
        return None
    identifiers = {"schema": rows[0]["schema"], "table": rows[0]["name"]}
    applied = [
        (row["app"], row["name"])
        for row in query(conn, "applied_migrations", identifiers=identifiers)
    ]
    # Without a connection: what is applied was read in a session of our own.
    loader = MigrationLoader(None, ignore_no_migrations=True)
    migrations = {
        name: migration
        for name, migration in loader.disk_migrations.items()
        if router.allow_migrate(target.alias, name[0])
    }
    # Django notes them as applied in every database, also where the routers have none of their tables.
    elsewhere = loader.disk_migrations.keys() - migrations.keys()
    here = [name for name in applied if name not in elsewhere]
    return compare(migrations, here, loader.migrated_apps)


def compare(
    migrations: Mapping[Name, Migration], applied: Iterable[Name], known_apps: Collection[str]
) -> MigrationState:
    """Return what is on one side only.

    A squashed migration counts as applied where all that it replaces are, and what it replaces
    is not waited for once it stands on disk (Django documentation, "Squashing migrations").
    """
    done = set(applied)
    replaced: set[Name] = set()
    for migration in migrations.values():
        replaced.update(migration.replaces)
    waiting = [
        name
        for name, migration in migrations.items()
        if name not in done | replaced and not _is_replaced(migration, done)
    ]
    unknown = [
        name
        for name in done
        if name[0] in known_apps and name not in migrations and name not in replaced
    ]
    return MigrationState(tuple(sorted(waiting)), tuple(sorted(unknown)))


def _is_replaced(migration: Migration, done: Collection[Name]) -> bool:
    return bool(migration.replaces) and all(name in done for name in migration.replaces)


def diagnose_migrations(state: MigrationState | None) -> Iterator[Finding]:
    """Judge the comparison."""
    if state is None:
        return
    if state.waiting:
        yield Finding(
            code="unapplied-migrations",
            severity=Severity.WARNING,
            subject="migrations",
            sentence=(
                f"{counted(len(state.waiting), 'migration')} of this project"
                f" {'waits' if len(state.waiting) == 1 else 'wait'} to be applied:"
                f" {_in_words(state.waiting)}."
            ),
            evidence={"waiting": [".".join(name) for name in state.waiting]},
            advice=(
                "Look at what they do with the commands. Apply them with the release that brings"
                " them: code that is newer than its tables fails on the first query that names a new column."
            ),
            commands=("python manage.py migrate --plan", "python manage.py migrate"),
        )
    if state.unknown:
        yield Finding(
            code="unknown-migrations",
            severity=Severity.INFO,
            subject="migrations",
            sentence=(
                f"{counted(len(state.unknown), 'applied migration')} of this project's apps"
                f" {'is' if len(state.unknown) == 1 else 'are'} not among its files:"
                f" {_in_words(state.unknown)}."
            ),
            evidence={"unknown": [".".join(name) for name in state.unknown]},
            advice=(
                "Either the code here is older than the database (a release was rolled back), or"
                " squashed migrations were removed; `python manage.py migrate --prune` forgets the"
                " latter."
            ),
        )


def _in_words(names: Collection[Name]) -> str:
    by_app: defaultdict[str, list[str]] = defaultdict(list)
    for app, name in names:
        by_app[app].append(name)
    return "; ".join(f"{app} {listed(found, 3)}" for app, found in sorted(by_app.items()))
