"""Building a sample site: the database, then Redis, then the truth about both."""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Final

import redis
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from service.sample_site import database, decoys, faults, keyspace, measure, queues, visitors
from service.sample_site.cache import CachePlan
from service.sample_site.shape import Shape
from service.sample_site.streams import PublishedStatus, plan_streams
from service.sample_site.truth import Decoy, Fault, FaultKind, RelationSize, Truth

Progress = Callable[[str, int, int], None]
"""Called with the name of a step, how much of it is done, and how much there is."""

_STATUSES_IN_STREAMS: Final = 20_000


def build(
    database_url: str,
    redis_url: str,
    *,
    scale: float = 1.0,
    seed: int = 20,
    as_of: date | None = None,
    progress: Progress | None = None,
) -> Truth:
    """Build the site in a database and a Redis of its own and return what is planted in them.

    An earlier build in the same places is replaced. `as_of` is the day from which dates count
    back, today in UTC if not given. Raises SampleSiteError, before anything is changed, where the
    database or the Redis holds what the sample site did not make.
    """
    started = time.monotonic()
    shape = Shape(scale, seed, as_of or datetime.now(UTC).date())
    report = progress or _silent
    with (
        database.site_connection(database_url) as connection,
        keyspace.site_redis(redis_url) as client,
    ):
        database.refuse_foreign_relations(connection)
        keyspace.refuse_foreign_keys(client)
        no_query_statistics = visitors.prepare_query_statistics(connection)
        # Only what visitors ask is a statement of the site; the builders leave no trace.
        visitors.count_statements(connection, False)
        _fill_database(connection, shape, report)
        visitors.count_statements(connection, True)
        _use_database(connection, shape, report)
        visitors.count_statements(connection, False)
        stream_faults, stream_decoys = _fill_redis(client, connection, shape, report)
        report("measuring", 0, 1)
        sizes = measure.relation_sizes(connection)
        database_faults = _database_faults(connection, sizes, no_query_statistics)
        truth = Truth(
            seed=seed,
            scale=scale,
            as_of=shape.as_of.isoformat(),
            faults=(*database_faults, *stream_faults),
            decoys=(*decoys.database_decoys(connection, database_faults), *stream_decoys),
            relations=sizes,
            unavailable=(
                {FaultKind.SLOW_QUERY.value: no_query_statistics} if no_query_statistics else {}
            ),
            observed=_observations(connection, client, started),
        )
        report("measuring", 1, 1)
    return truth


def _silent(step: str, done: int, total: int) -> None:
    """Progress that nobody asked for."""


def _fill_database(connection: Connection, shape: Shape, report: Progress) -> None:
    report("schema", 0, 1)
    database.drop_own_tables(connection)
    database.create_tables(connection)
    parameters = shape.sql_parameters() | database.load_vocabulary(connection)
    report("schema", 1, 1)
    _run(connection, "fill.sql", "rows", parameters, report)
    _run(connection, "indexes.sql", "keys and indexes", None, report)
    # Whoever still reads an old state of this database would keep VACUUM from removing rows.
    database.wait_for_other_snapshots(connection)
    _run(connection, "churn.sql", "churn", parameters, report)


def _run(
    connection: Connection,
    script: str,
    step: str,
    parameters: dict[str, int | str] | None,
    report: Progress,
) -> None:
    for done, total in database.run_script(connection, script, parameters):
        report(step, done, total)


def _use_database(connection: Connection, shape: Shape, report: Progress) -> None:
    report("visitors", 0, 3)
    faults.plant_invalid_index(connection)
    report("visitors", 1, 3)
    visitors.visit_pages(connection, str(shape.sql_parameters()["as_of"]))
    report("visitors", 2, 3)
    visitors.search_statuses(connection)
    report("visitors", 3, 3)


def _fill_redis(
    client: redis.Redis, connection: Connection, shape: Shape, report: Progress
) -> tuple[list[Fault], list[Decoy]]:
    keyspace.clear_own_keys(client)
    streams = plan_streams(shape)
    _send(
        client,
        "streams",
        streams.command_count(),
        streams.commands(_newest(connection), shape.seed),
        report,
    )
    cache = CachePlan(shape)
    _send(client, "cache", cache.command_count(), cache.commands(), report)
    _send(client, "queues", queues.command_count(), queues.commands(shape.seed), report)
    found = [
        *streams.faults(),
        _abandoned_streams(connection),
        *cache.faults(),
        *queues.faults(),
    ]
    return found, [*streams.decoys(), *cache.decoys(), *queues.decoys()]


def _send(
    client: redis.Redis, step: str, total: int, commands: Iterable[bytes], report: Progress
) -> None:
    for done in keyspace.send_packed(client, commands):
        report(step, done, total)


def _newest(connection: Connection) -> Sequence[PublishedStatus]:
    """The newest statuses, oldest first."""
    newest = database.rows(
        connection,
        "SELECT id, extract(epoch FROM published_date)::bigint FROM library_status"
        " ORDER BY published_date DESC, id DESC LIMIT %s",
        [_STATUSES_IN_STREAMS],
    )
    return [PublishedStatus(*row) for row in reversed(newest)]


def _abandoned_streams(connection: Connection) -> Fault:
    ((deleted_users,),) = database.rows(
        connection, "SELECT count(*) FROM library_user WHERE is_deleted"
    )
    return Fault(
        FaultKind.ABANDONED_STREAM,
        "*-home",
        "The timelines of deleted readers are still there.",
        expected={"keys": deleted_users},
    )


def _database_faults(
    connection: Connection, sizes: Sequence[RelationSize], no_query_statistics: str
) -> list[Fault]:
    counters = measure.table_counters(connection, database.MARKER)
    found = [
        *faults.upkeep_faults(counters),
        *faults.bloat_faults(sizes),
        *faults.index_faults(connection, sizes),
        *faults.integrity_faults(connection),
    ]
    if not no_query_statistics:
        found.append(faults.slow_query_fault(connection))
    return found


def _observations(
    connection: Connection, client: redis.Redis, started: float
) -> dict[str, int | float | str]:
    ((size_bytes, version),) = database.rows(
        connection,
        "SELECT pg_database_size(current_database()), current_setting('server_version')",
    )
    return {
        "postgres_version": version,
        "database_bytes": size_bytes,
        "redis_keys": client.dbsize(),
        "redis_used_memory_bytes": client.info("memory")["used_memory"],
        "build_seconds": round(time.monotonic() - started, 1),
    }
