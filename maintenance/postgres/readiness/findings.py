"""What a look at a database means: what holds, what is missing, and the line that mends it. Pure.

Severities: a warning is what a task of the checklists would do without, information what makes it
see more, critical what ends it.
"""

from collections.abc import Iterator

from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import counted
from maintenance.postgres.readiness.look import ForeignOwner, Readiness

#: Settings without which counters stand still, or nobody vacuums.
_MUST_BE_ON = {
    "track_counts": "no table is known to need VACUUM, and no index to be unused",
    "track_activities": "nobody sees what sessions are doing",
    "autovacuum": "dead rows stay until our own run, and nothing keeps the server from wraparound",
}

#: Extensions that a task makes use of, and for what.
_USEFUL = {
    "pg_stat_statements": "slow queries are found by the server's own log only",
    "pgstattuple": "bloat is estimated, and can not be measured with --exact",
    "amcheck": "indexes and tables are not checked for corruption",
}


def examine(server: Readiness) -> Iterator[Finding]:
    """Yield a finding for each thing that was looked at; those that hold are ``ok``."""
    yield _holds("version", server, f"PostgreSQL {server.version}")
    if server.is_standby:
        yield Finding(
            "standby", Severity.INFO, server.database,
            "This server is a standby: it can be measured, but not vacuumed.",
            advice="Name its primary as the target, and this one under replicas.",
        )  # fmt: skip
    yield from _rights(server)
    yield from _settings(server)
    yield from _extensions(server)
    yield from _what_shows_more(server)


def _holds(code: str, server: Readiness, words: str) -> Finding:
    return Finding(code, Severity.OK, server.database, words)


def _grant(what: str, server: Readiness) -> str:
    return f"GRANT {what} TO {server.quoted_role};"


def _revoke(what: str, server: Readiness) -> str:
    return f"REVOKE {what} FROM {server.quoted_role};"


def _rights(server: Readiness) -> Iterator[Finding]:
    if server.is_superuser:
        yield Finding(
            "superuser", Severity.INFO, server.role,
            f"The role {server.quoted_role} is a superuser: that is more than any task needs.",
            advice="`maintenance doctor --sql` prints roles with the least rights.",
        )  # fmt: skip
        return
    for code, right, has, words, without in (
        (
            "right-monitor", "pg_monitor", server.has_monitor, "pg_monitor",
            "statements, settings and the server's log of others are hidden",
        ),
        (
            "right-read", "pg_read_all_data", server.has_read_all_data or server.reads_every_table,
            "pg_read_all_data" if server.has_read_all_data else "may read every table",
            "bloat of tables, sequences and integrity are not measured",
        ),
    ):  # fmt: skip
        if has:
            yield _holds(code, server, words)
        else:
            yield Finding(
                code, Severity.WARNING, server.role,
                f"The role {server.quoted_role} lacks {right}: {without}.",
                commands=(_grant(right, server),), undo=(_revoke(right, server),),
            )  # fmt: skip
    yield from _right_to_vacuum(server)


def _right_to_vacuum(server: Readiness) -> Iterator[Finding]:
    may_catalogs = server.owns_database or server.has_maintain
    if not server.foreign_owners and may_catalogs:
        yield _holds("right-vacuum", server, "may vacuum every table")
        return
    tables = counted(sum(owner.tables for owner in server.foreign_owners), "table")
    if server.has_maintain is not None:
        what = (
            f"{tables} may not be vacuumed"
            if server.foreign_owners
            else "the system's own catalogs are left to autovacuum"
        )
        yield Finding(
            "right-vacuum", Severity.WARNING if server.foreign_owners else Severity.INFO, server.role,
            f"The role {server.quoted_role} lacks pg_maintain: {what}.",
            advice="Leave it so where nothing shall be vacuumed by us: all the rest is measured.",
            commands=(_grant("pg_maintain", server),), undo=(_revoke("pg_maintain", server),),
        )  # fmt: skip
        return
    if not may_catalogs:
        yield _catalogs_of_owner(server)
    if not server.foreign_owners:
        return
    able = [owner for owner in server.foreign_owners if not owner.is_superuser]
    yield Finding(
        "right-vacuum", Severity.WARNING, server.role,
        f"The role {server.quoted_role} may not vacuum {tables}: before PostgreSQL 17 their owner may"
        f" alone{_of_superusers(server.foreign_owners)}.",
        evidence={"owners": [owner.owner for owner in server.foreign_owners]},
        advice=(
            "Membership gives all that the owner may do; leave it so where nothing shall be vacuumed"
            " by us."
        ),
        commands=tuple(_grant(quoted(owner.owner), server) for owner in able),
        undo=tuple(_revoke(quoted(owner.owner), server) for owner in able),
    )  # fmt: skip


def _catalogs_of_owner(server: Readiness) -> Finding:
    """Say who may vacuum the server's catalogs before 17: membership in a superuser would be too much."""
    owner = "" if server.is_owner_superuser else quoted(server.database_owner)
    return Finding(
        "right-vacuum-catalogs", Severity.INFO, server.role,
        f"The role {server.quoted_role} may not vacuum the system's own catalogs, which are left to"
        " autovacuum: before PostgreSQL 17 superusers and the owner of the database may alone.",
        evidence={"owner": server.database_owner, "is_superuser": server.is_owner_superuser},
        advice="Leave it so, unless autovacuum falls behind: the weekly look at vacuuming says that.",
        commands=(_grant(owner, server),) if owner else (),
        undo=(_revoke(owner, server),) if owner else (),
    )  # fmt: skip


def _of_superusers(owners: tuple[ForeignOwner, ...]) -> str:
    of_superusers = [owner for owner in owners if owner.is_superuser]
    if not of_superusers:
        return ""
    tables = counted(sum(owner.tables for owner in of_superusers), "table")
    return (
        f"; {tables} ({of_superusers[0].example} ...) belong to a superuser, whose membership would"
        " be too much: give them another owner (ALTER TABLE ... OWNER TO ...)"
    )


def quoted(name: str) -> str:
    """Quote an identifier: always, as the server reads any name in quotes (SQL Syntax, 4.1.1)."""
    return '"' + name.replace('"', '""') + '"'


def _settings(server: Readiness) -> Iterator[Finding]:
    for name, without in _MUST_BE_ON.items():
        value = server.settings.get(name)
        if value == "off":
            yield Finding(
                f"setting-{name}", Severity.WARNING, name,
                f"{name} is off: {without}.",
                commands=(f"ALTER SYSTEM SET {name} = on;", "SELECT pg_reload_conf();"),
                undo=(f"ALTER SYSTEM RESET {name};", "SELECT pg_reload_conf();"),
            )  # fmt: skip
    if all(server.settings.get(name) != "off" for name in _MUST_BE_ON):
        yield _holds("settings", server, "counters and autovacuum on")
    if server.settings.get("track_io_timing") == "off":
        yield Finding(
            "setting-track_io_timing", Severity.INFO, "track_io_timing",
            "track_io_timing is off: what waits for the disk is not told from what computes.",
            advice="pg_test_timing says what it costs on this machine, mostly nothing to speak of.",
            commands=("ALTER SYSTEM SET track_io_timing = on;", "SELECT pg_reload_conf();"),
            undo=("ALTER SYSTEM RESET track_io_timing;", "SELECT pg_reload_conf();"),
        )  # fmt: skip


def _extensions(server: Readiness) -> Iterator[Finding]:
    here = [name for name in _USEFUL if server.extensions.get(name)]
    if here:
        yield _holds("extensions", server, ", ".join(here))
    yield from _statistics_of_statements(server)
    for name in ("pgstattuple", "amcheck"):
        if name not in server.extensions:
            yield Finding(
                f"extension-{name}", Severity.INFO, name,
                f"The server does not have {name}: {_USEFUL[name]}.",
                advice="Install the package postgresql-contrib on its machine.",
            )  # fmt: skip
        elif not server.extensions[name]:
            yield Finding(
                f"extension-{name}", Severity.INFO, name,
                f"{name} is not created in this database: {_USEFUL[name]}.",
                commands=(f"CREATE EXTENSION {name};",), undo=(f"DROP EXTENSION {name};",),
            )  # fmt: skip


def _statistics_of_statements(server: Readiness) -> Iterator[Finding]:
    name = "pg_stat_statements"
    if name not in server.extensions:
        yield Finding(
            f"extension-{name}", Severity.INFO, name,
            f"The server does not have {name}: {_USEFUL[name]}.",
            advice="Install the package postgresql-contrib on its machine.",
        )  # fmt: skip
        return
    libraries = server.settings.get("shared_preload_libraries")
    steps: list[str] = []
    if libraries is not None and name not in _names(libraries):
        wanted = ", ".join([*_names(libraries), name])
        literal = ", ".join(f"'{library}'" for library in wanted.split(", "))
        steps.append(f"ALTER SYSTEM SET shared_preload_libraries = {literal};")
    loaded = not steps
    if not server.extensions[name]:
        steps.append(f"CREATE EXTENSION {name};")
    if steps:
        yield Finding(
            f"extension-{name}", Severity.INFO, name,
            f"{name} is not {'created in this database' if loaded else 'loaded'}: {_USEFUL[name]}.",
            advice="" if loaded else "The server has to be restarted after the first line.",
            commands=tuple(steps),
        )  # fmt: skip
    elif server.settings.get("compute_query_id") == "off":
        yield Finding(
            "setting-compute_query_id", Severity.WARNING, "compute_query_id",
            f"compute_query_id is off: {name} counts nothing.",
            commands=("ALTER SYSTEM SET compute_query_id = 'auto';", "SELECT pg_reload_conf();"),
            undo=("ALTER SYSTEM RESET compute_query_id;", "SELECT pg_reload_conf();"),
        )  # fmt: skip


def _names(setting: str) -> list[str]:
    return [name.strip().strip('"') for name in setting.split(",") if name.strip()]


def _what_shows_more(server: Readiness) -> Iterator[Finding]:
    """Name rights that widen what is seen, and that nobody should give without a thought."""
    for extension in dict.fromkeys(extension for extension, _ in server.denied_functions):
        functions = [one for of, one in server.denied_functions if of == extension]
        yield Finding(
            f"functions-{extension}", Severity.INFO, extension,
            f"The role {server.quoted_role} may not call {extension}: {_USEFUL[extension]}.",
            commands=tuple(_grant(f"EXECUTE ON FUNCTION {one}", server) for one in functions),
            undo=tuple(_revoke(f"EXECUTE ON FUNCTION {one}", server) for one in functions),
        )  # fmt: skip
    if not server.may_read_files:
        right = "EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)"
        yield Finding(
            "right-log", Severity.INFO, server.role,
            "The server's log cannot be read through the server: slow statements are then those of"
            " pg_stat_statements alone.",
            advice=(
                "Better: log_directory of this target, where the log lies on the worker's machine."
                " With the right below a role can read all files of the cluster."
            ),
            commands=(_grant(right, server),), undo=(_revoke(right, server),),
        )  # fmt: skip
    if server.major >= 15 and not server.may_stop_counting:
        right = "SET ON PARAMETER track_counts"
        yield Finding(
            "right-track-counts", Severity.INFO, server.role,
            "What our own sessions read counts as the site's reads of its indexes; an index that"
            " nobody else reads may pass for used.",
            commands=(_grant(right, server),), undo=(_revoke(right, server),),
        )  # fmt: skip
