"""What a plan of rebuilds rests on: bloat, what each index is for, and what earlier runs saw."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.errors import Skipped, UnknownName
from maintenance.core.job import History, Job
from maintenance.core.suggestions import did_you_mean
from maintenance.postgres.bloat.index_report import IndexBloat
from maintenance.postgres.bloat.indexes import measure_index_bloat
from maintenance.postgres.bloat.options import IndexBloatOptions
from maintenance.postgres.indexes.catalog import IndexState, indexes_of_table, measure_indexes
from maintenance.postgres.indexes.invalid import CORRUPTING_VERSIONS
from maintenance.postgres.reindex.leftovers import is_still_leftover, leftovers_among
from maintenance.postgres.reindex.options import ReindexOptions
from maintenance.postgres.reindex.plan import (
    REBUILT_AGAIN_AFTER_SECONDS,
    Candidate,
    IndexFacts,
    facts_of,
    with_speeds,
)
from maintenance.postgres.reindex.verdict import IndexSnapshot
from maintenance.postgres.sql_files import is_standby, query, server_version

SECONDS_METRIC = "reindex_seconds"
SPEED_METRIC = "reindex_bytes_per_second"


@dataclass(frozen=True, slots=True)
class ReindexMeasurement:
    """Candidates and leftovers, each of these with the statement that drops it.

    ``bloat`` is what was measured at all; ``state`` belongs into the report.
    """

    candidates: tuple[Candidate, ...]
    leftovers: tuple[tuple[IndexState, str], ...]
    bloat: tuple[IndexBloat, ...]
    too_small: int
    state: Mapping[str, Any]


def refuse_server(conn: Connection) -> None:
    """Raise :class:`Skipped` where nothing may be rebuilt at all."""
    if is_standby(conn):
        raise Skipped(
            "The server is a standby: nothing can be rebuilt there. Make the primary the target."
        )
    refuse_version(server_version(conn))


def refuse_version(version: int) -> None:
    """Raise :class:`Skipped` for a version (180006 is 18.6) whose rebuilds lose rows."""
    if version in CORRUPTING_VERSIONS:
        raise Skipped(
            f"PostgreSQL 14.{version % 10_000}: REINDEX CONCURRENTLY of 14.0 to 14.3 can lose rows"
            " from the index (release notes of 14.4). Update the server first."
        )


def measure(
    conn: Connection, job: Job[DatabaseTarget, ReindexOptions], thresholds: Thresholds
) -> ReindexMeasurement:
    """Measure bloat and read catalogs. Raises :class:`UnknownName` for an index that is not there."""
    indexes = measure_indexes(conn, job.target).indexes
    leftovers = tuple((index, drop_statement(conn, index)) for index in _confirmed(conn, indexes))
    if job.options.leftovers_only:
        return ReindexMeasurement((), leftovers, (), 0, job.previous_state)
    named = _facts_by_name(conn, job.options.indexes, indexes)
    found = measure_index_bloat(
        conn,
        job,
        IndexBloatOptions(seed=job.options.seed),
        thresholds,
        only={facts.oid for facts in named} if job.options.indexes else None,
    )
    facts = {f.oid: f for f in _facts(conn, [bloat.oid for bloat in found.indexes])}
    facts |= {f.oid: f for f in named}
    measured = {bloat.oid: bloat for bloat in found.indexes}
    candidates = [
        _candidate(one, measured.get(oid), is_named=bool(named)) for oid, one in facts.items()
    ]
    return ReindexMeasurement(
        candidates=with_history(_with_collations(conn, candidates), job.history, time.time()),
        leftovers=leftovers,
        bloat=found.indexes,
        too_small=found.too_small,
        state=found.state,
    )


def _confirmed(conn: Connection, indexes: Sequence[IndexState]) -> list[IndexState]:
    """Leave out leftovers of TOAST tables without a valid index, which would be the only one."""
    return [
        leftover
        for leftover in leftovers_among(indexes)
        if not leftover.is_toast
        or is_still_leftover(leftover, indexes_of_table(conn, leftover.table_oid))
    ]


def drop_statement(conn: Connection, index: IndexState) -> str:
    """Return the statement that drops a leftover."""
    name = sql.Identifier(index.schema, index.name)
    return sql.SQL("DROP INDEX CONCURRENTLY {}").format(name).as_string(conn)


def _facts(conn: Connection, oids: Sequence[int]) -> list[IndexFacts]:
    rows = query(conn, "reindex_indexes", {"oids": list(oids), "names": []})
    return [facts_of(row) for row in rows]


def facts_of_names(conn: Connection, names: Iterable[str]) -> list[IndexFacts]:
    """Return the indexes of these names, with or without schema, table and quotes."""
    rows = query(conn, "reindex_indexes", {"oids": [], "names": list(names)})
    return [facts_of(row) for row in rows]


def _facts_by_name(
    conn: Connection, names: Sequence[str], known: Sequence[IndexState]
) -> list[IndexFacts]:
    found = facts_of_names(conn, names) if names else []
    for name in names:
        if not any(name in _names_of(facts) for facts in found):
            hint = did_you_mean(name, (index.name for index in known))
            raise UnknownName(f'Unknown index "{name}". {hint}')
    return found


def _names_of(facts: IndexFacts) -> set[str]:
    plain = f"{facts.schema}.{facts.name}"
    return {facts.name, plain, facts.statement_name, facts.qualified_name}


def _candidate(facts: IndexFacts, bloat: IndexBloat | None, *, is_named: bool) -> Candidate:
    if bloat is None:
        return Candidate(facts, facts.catalog_size_bytes, is_named=is_named)
    return Candidate(
        facts,
        bloat.size_bytes,
        fresh_bytes=bloat.fresh_bytes,
        bloat_ratio=bloat.ratio,
        bloat_low_ratio=bloat.low_ratio,
        is_named=is_named,
    )


def _with_collations(conn: Connection, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    if not candidates:
        return candidates
    rows = query(conn, "collation_versions")
    differing = {name for row in rows for name in row["indexes"]}
    return [replace(c, collation_changed=c.facts.statement_name in differing) for c in candidates]


def with_history(
    candidates: Sequence[Candidate], history: History, now_epoch_seconds: float
) -> tuple[Candidate, ...]:
    """Return the candidates with what earlier runs saw of them: when, and how fast."""
    if not candidates:
        return ()
    speeds = {
        subject: points[-1].value
        for subject, points in history.series_by_subject(SPEED_METRIC).items()
        if points[-1].value > 0
    }
    recent = history.series_by_subject(SECONDS_METRIC, since_seconds=REBUILT_AGAIN_AFTER_SECONDS)
    return tuple(
        replace(c, rebuilt_seconds_ago=now_epoch_seconds - points[-1].at_epoch_seconds)
        if (points := recent.get(c.facts.qualified_name))
        else c
        for c in with_speeds(candidates, speeds)
    )


def snapshot_of(conn: Connection, facts: IndexFacts) -> IndexSnapshot | None:
    """Return an index as it is now, by name; ``None`` where it is locked or not there."""
    rows = query(
        conn,
        "reindex_state",
        {"table_oid": facts.table_oid, "schema": facts.schema, "name": facts.name},
    )
    return IndexSnapshot(**rows[0]) if rows else None
