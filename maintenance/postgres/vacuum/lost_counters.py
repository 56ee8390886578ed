"""Dead rows that the server has forgotten: counters are lost in a crash and by a reset.

``n_dead_tup`` then begins at zero, so that neither autovacuum nor its arithmetic sees what is there
(PostgreSQL documentation, "The Cumulative Statistics System"). Pages are looked at instead.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.wording import counted, percent
from maintenance.postgres.bloat.options import PLAN_SEED
from maintenance.postgres.bloat.packing import LINE_POINTER_BYTES, PackedSize
from maintenance.postgres.bloat.table_report import TableBloat
from maintenance.postgres.bloat.tables import sample_tables
from maintenance.postgres.counters import CounterWindow
from maintenance.postgres.vacuum.autovacuum_rules import (
    AutovacuumRules,
    insert_trigger_rows,
    vacuum_trigger_rows,
)
from maintenance.postgres.vacuum.duration import BLOCK_BYTES
from maintenance.postgres.vacuum.needs import needs_of
from maintenance.postgres.vacuum.table_state import TableKind, TableState

#: A counter that knows fewer than this share of the rows that the last VACUUM or ANALYZE found began
#: after them. Rows that were deleted since are counted as dead ones.
KNOWN_RATIO = 0.5
#: A table that was vacuumed since its rows were inserted has more of its pages marked than these.
SEEN_RATIO = 0.5
#: Sampling ends after this long: the largest tables come first.
SAMPLING_SECONDS = 10.0


def hidden_dead_rows(
    conn: Connection,
    tables: Sequence[TableState],
    server_rules: AutovacuumRules,
    window: CounterWindow,
    minimum_bytes: int,
) -> dict[int, str]:
    """Return a reason to vacuum, by oid, for tables of at least ``minimum_bytes`` that need it.

    Rows that were inserted are forgotten with the dead ones: the visibility map, which a crash leaves as
    it was, shows whether a VACUUM has come since. It is asked here alone. Where the counters are right,
    the server's trigger for inserts stands for it, since no counter tells an index-only scan that had
    to look at its table from an ordinary one.

    Their number of dead rows is estimated from a sample of their pages: what is there beside the
    rows that a query sees. Free space cannot be told from dead rows that way, so that a table may be
    vacuumed once without need; then its counters are right again.
    """
    suspects = {
        table.oid: table
        for table in _suspects(tables, server_rules)
        if table.pages * BLOCK_BYTES >= minimum_bytes
    }
    samples = sample_tables(conn, suspects, seconds=SAMPLING_SECONDS, seed=PLAN_SEED)
    return {
        **dict(reasons_by_visibility(suspects.values(), server_rules, window)),
        **dict(reasons(suspects, samples, server_rules, window)),
    }


def _suspects(tables: Sequence[TableState], server_rules: AutovacuumRules) -> Iterator[TableState]:
    for table in tables:
        if (
            table.kind is not TableKind.PARTITIONED
            and not table.is_catalog
            and table.tuples > 0
            and table.live_rows < KNOWN_RATIO * table.tuples
            and not needs_of(table, server_rules.for_table(table.storage_parameters)).vacuum
        ):
            yield table


def reasons(
    suspects: Mapping[int, TableState],
    samples: Mapping[int, TableBloat],
    server_rules: AutovacuumRules,
    window: CounterWindow,
) -> Iterator[tuple[int, str]]:
    """Yield oid and reason where the sample shows more than the server's trigger. Pure."""
    for oid, sample in samples.items():
        if sample.estimate is None:
            continue
        table = suspects[oid]
        rules = server_rules.for_table(table.storage_parameters)
        due_above = vacuum_trigger_rows(rules, table.tuples)
        rows = rows_beside(sample.estimate, table)
        if rows > due_above:
            yield (
                oid,
                (
                    f"a sample of {counted(sample.estimate.sampled_pages, 'page')} shows dead rows or"
                    f" free space for at least {counted(round(rows), 'row')} (due above"
                    f" {due_above:,.0f}); the server's own counters cover only {window.in_words}"
                ),
            )


def reasons_by_visibility(
    suspects: Iterable[TableState], server_rules: AutovacuumRules, window: CounterWindow
) -> Iterator[tuple[int, str]]:
    """Yield oid and reason where most pages are not marked as visible to all. Pure.

    Not of tables that inserts never make due.
    """
    for table in suspects:
        rules = server_rules.for_table(table.storage_parameters)
        inserts = insert_trigger_rows(rules, table.tuples, table.pages, table.all_frozen_pages)
        if inserts is not None and table.all_visible_pages < SEEN_RATIO * table.pages:
            share = percent(table.all_visible_pages / table.pages)
            yield (
                table.oid,
                (
                    f"{share} of its pages are marked as visible to all, which index-only scans need;"
                    f" the server's own counters, by which inserts make it due, cover only"
                    f" {window.in_words}"
                ),
            )


def rows_beside(estimate: PackedSize, table: TableState) -> float:
    """Return how many rows of the mean size fit beside the live ones, by the interval's lower end.

    Where no row is seen at all, as many as the catalog knew.
    """
    if estimate.mean_tuple_bytes <= 0:
        return table.tuples
    free_bytes = estimate.low_ratio * estimate.pages * BLOCK_BYTES
    return free_bytes / (estimate.mean_tuple_bytes + LINE_POINTER_BYTES)
