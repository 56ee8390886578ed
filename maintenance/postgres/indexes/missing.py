"""Indexes that are missing: behind foreign keys, and where tables are read from end to end."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, by_seriousness
from maintenance.core.job import Job
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import counted
from maintenance.postgres.connection import connect
from maintenance.postgres.counters import measure_common_window
from maintenance.postgres.django_models import models_by_table
from maintenance.postgres.indexes.catalog import Definition, IndexMeasurement, measure_indexes
from maintenance.postgres.indexes.creation import new_index
from maintenance.postgres.indexes.foreign_keys import (
    UnsupportedKey,
    by_weight,
    foreign_key_finding,
    unsupported_keys,
)
from maintenance.postgres.indexes.migrations import keys_named_by_model
from maintenance.postgres.indexes.options import MissingIndexOptions
from maintenance.postgres.indexes.sequential import (
    SequentialRules,
    read_sequentially,
    sequential_finding,
    sequential_ratio,
)
from maintenance.postgres.indexes.table_reads import TableReads, Tables, measure_tables
from maintenance.postgres.indexes.usage import bounded_table

TITLE = "Missing indexes"


def report_missing_indexes(
    job: Job[DatabaseTarget, MissingIndexOptions], thresholds: Thresholds
) -> Report:
    """Name foreign keys without an index, and large tables that are read from end to end.

    Nothing is created. Raises what :func:`connect` raises.
    """
    minimum_bytes = (
        thresholds.missing_index_minimum_bytes
        if job.options.minimum_bytes is None
        else job.options.minimum_bytes
    )
    with connect(job.target, purpose="missing-indexes") as conn:
        job.progress.update(0, 2, phase="measuring", unit="steps")
        # These are rates: the time that one table's reset would cut off is counted with.
        measurement = replace(measure_indexes(conn, job.target), window=measure_common_window(conn))
        tables = measure_tables(conn, job.target)
        job.progress.update(1, 2, phase="judging", unit="steps")
        keys = by_weight(unsupported_keys(measurement, tables, minimum_bytes))
        definitions = _definitions(conn, keys, measurement, tables)
        owners = models_by_table(conn, job.target)
    scanned = read_sequentially(tables.tops, measurement.window, SequentialRules.of(thresholds))
    job.progress.update(2, 2, phase="done", unit="steps")
    report = missing_report(measurement, keys, definitions, scanned)
    findings = keys_named_by_model(report.findings, keys, owners)
    return replace(report, findings=tuple(findings))


def _definitions(
    conn: Connection,
    keys: Sequence[UnsupportedKey],
    measurement: IndexMeasurement,
    tables: Tables,
) -> dict[int, Definition]:
    """Return how to make the index for each key, by the key's oid."""
    taken = {(index.schema, index.name) for index in measurement.indexes}
    taken |= {(table.schema, table.name) for table in tables.by_oid.values()}
    return {
        missing.key.oid: new_index(conn, missing.table, missing.key.column_names, tables, taken)
        for missing in keys
    }


def missing_report(
    measurement: IndexMeasurement,
    keys: Sequence[UnsupportedKey],
    definitions: Mapping[int, Definition],
    scanned: Sequence[TableReads],
) -> Report:
    """Put both kinds together."""
    window = measurement.window
    findings: list[Finding] = [
        foreign_key_finding(missing, window, definitions.get(missing.key.oid)) for missing in keys
    ]
    findings += [sequential_finding(table, window) for table in scanned]
    examined = sum(key.parent_oid is None for key in measurement.foreign_keys)
    return Report(
        title=TITLE,
        summary=(
            f"{len(keys) or 'None'} of {counted(examined, 'foreign key')}"
            f" {'lacks' if len(keys) == 1 or examined == 1 else 'lack'} an index;"
            f" {counted(len(scanned), 'large table')} {'is' if len(scanned) == 1 else 'are'}"
            f" mostly read from end to end."
        ),
        findings=tuple(by_seriousness(findings)),
        tables=(_key_table(keys), _scan_table(scanned)),
        facts={
            "foreign_keys_examined": examined,
            "counters_cover_seconds": window.seconds,
        },
        samples=(Sample("foreign_keys_without_index_count", len(keys)),),
    )


def _key_table(keys: Sequence[UnsupportedKey]) -> Table:
    rows = [
        {
            "column": missing.subject,
            "constraint": missing.key.name,
            "referenced": missing.referenced.qualified_name,
            "size_bytes": missing.bare_bytes,
            "referenced_deleted_rows": missing.referenced.deleted_rows,
        }
        for missing in keys
    ]
    return bounded_table("Foreign keys without an index", rows)


def _scan_table(scanned: Sequence[TableReads]) -> Table:
    rows = [
        {
            "table": table.qualified_name,
            "size_bytes": table.size_bytes,
            "sequential_scans": table.sequential_scans,
            "index_scans": table.index_scans,
            "sequential_rows_ratio": round(sequential_ratio(table), 4),
        }
        for table in scanned
    ]
    return bounded_table("Large tables read from end to end", rows)
