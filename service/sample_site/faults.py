"""What is planted in the database: the plan, checked against the server and put into numbers.

Each function returns faults of one subject. A fault that the server does not confirm raises
SampleSiteError: the truth never claims what is not there.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from service.sample_site import visitors
from service.sample_site.database import rows
from service.sample_site.errors import SampleSiteError
from service.sample_site.measure import TableCounters
from service.sample_site.truth import Fault, FaultKind, RelationSize

BLOAT_RATIO: Final = 0.3
"""The smallest share of wasted bytes that the truth calls bloat; 30 % is the product's default."""

BLOAT_BYTES: Final = 32 * 1024
"""Below four wasted pages a ratio says nothing."""

_DEAD: Final[Mapping[str, str]] = {
    "public.library_status": "A status is saved twice, the second time with an indexed column changed.",
    "public.library_user": "Each visit changes last_active_date, which is indexed.",
    "public.library_notification": "Old notifications were deleted, then the table was analyzed.",
}
_STALE: Final[Mapping[str, str]] = {
    "public.library_status": "A third of the rows changed since the last ANALYZE.",
    "public.library_user": "A third of the rows changed since the last ANALYZE.",
    "public.library_follow": "A seventh of the follows ended, too few rows for a VACUUM to be due.",
    "public.library_readthrough": "Loaded in one go and never analyzed.",
}
_UNVACUUMED: Final[Mapping[str, str]] = {
    "public.library_readthrough": "Loaded in one go and never vacuumed.",
}

_BLOATED: Final[Mapping[str, str]] = {
    "public.library_importitem": "Rows of finished imports were deleted; VACUUM kept the space.",
    "public.library_session": "Expired sessions were deleted; VACUUM kept the space.",
    "public.library_session.library_session_pkey": "Expired sessions lay all over the random keys.",
    "public.library_activity.library_activity_pkey": (
        "Old rows were thinned out; no new key falls into the pages of old ones."
    ),
    "public.library_activity.library_activity_received_date_idx": (
        "Old rows were thinned out; no new key falls into the pages of old ones."
    ),
}
_SIDE_EFFECT: Final = "Updates and inserts split the pages of an index that was packed full."

_UNUSED: Final[Mapping[str, str]] = {
    "public.library_user.library_user_timezone_email_idx": "Made for a report that nobody runs.",
    "public.library_work.library_work_sort_title_idx": "Made for a page that was never built.",
    "public.library_edition.library_edition_origin_idx": "Left from an import of another catalogue.",
    "public.library_shelfbook.library_shelfbook_shelved_date_idx": "Made for a removed statistic.",
    "public.library_status.library_status_remote_id_idx": "Made for a lookup that was rewritten.",
}
_DUPLICATE: Final = ("library_follow_object_idx", "library_follow_user_object_id_idx")
_REDUNDANT: Final[Mapping[str, str]] = {
    "public.library_status.library_status_user_id_idx": (
        "public.library_status.library_status_user_published_idx"
    ),
    "public.library_shelf.library_shelf_user_id_idx": (
        "public.library_shelf.library_shelf_user_id_identifier_key"
    ),
}

_INVALID_INDEX: Final = "library_user_lower_email_idx"


def plant_invalid_index(connection: Connection) -> None:
    """Let CREATE UNIQUE INDEX CONCURRENTLY fail on addresses that occur twice; its index stays."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                f"CREATE UNIQUE INDEX CONCURRENTLY {_INVALID_INDEX} ON library_user (lower(email))"
            )
    except psycopg2.errors.UniqueViolation:
        return
    raise SampleSiteError("No address occurs twice, so no invalid index was planted.")


def upkeep_faults(counters: Mapping[str, TableCounters]) -> list[Fault]:
    """Tables that autovacuum's own rule would vacuum or analyze, if it were on for them."""
    faults = []
    for subject, why in _DEAD.items():
        table = counters[subject]
        faults.append(
            _due(FaultKind.DEAD_TUPLES, table, why, table.dead_tuples, table.vacuum_threshold)
        )
    for subject, why in _STALE.items():
        table = counters[subject]
        changed = table.modified_since_analyze
        faults.append(
            _due(FaultKind.STALE_STATISTICS, table, why, changed, table.analyze_threshold)
        )
    for subject, why in _UNVACUUMED.items():
        table = counters[subject]
        inserted = table.inserted_since_vacuum
        faults.append(
            _due(FaultKind.UNVACUUMED_INSERTS, table, why, inserted, table.insert_threshold)
        )
    faults += [
        Fault(
            FaultKind.AUTOVACUUM_DISABLED,
            table.subject,
            "Switched off in an emergency and forgotten: autovacuum_enabled=off.",
        )
        for table in counters.values()
        if table.autovacuum_disabled
    ]
    return faults


def _due(kind: FaultKind, table: TableCounters, why: str, rows_due: int, threshold: float) -> Fault:
    if rows_due <= threshold:
        raise SampleSiteError(
            f"{table.subject} has {rows_due} rows for {kind}, not more than the server's threshold of "
            f"{threshold:.0f}: its autovacuum settings are too lax for this scale."
        )
    expected: dict[str, int | float | bool] = {
        "rows": rows_due,
        "threshold": round(threshold, 1),
        "estimated_rows": table.estimated_rows,
    }
    if kind is FaultKind.STALE_STATISTICS:
        expected["never_analyzed"] = table.never_analyzed
    return Fault(kind, table.subject, why, expected)


def bloat_faults(sizes: Iterable[RelationSize]) -> list[Fault]:
    """Every relation that wastes at least `BLOAT_RATIO` and `BLOAT_BYTES`, planned or in passing."""
    faults = []
    for size in sizes:
        wasted_bytes = size.size_bytes - size.packed_bytes
        if size.bloat_ratio < BLOAT_RATIO or wasted_bytes < BLOAT_BYTES:
            continue
        is_index = size.subject.count(".") == 2
        faults.append(
            Fault(
                FaultKind.BLOATED_INDEX if is_index else FaultKind.BLOATED_TABLE,
                size.subject,
                _BLOATED.get(size.subject, _SIDE_EFFECT),
                {
                    "size_bytes": size.size_bytes,
                    "packed_bytes": size.packed_bytes,
                    "wasted_bytes": wasted_bytes,
                    "bloat_ratio": round(size.bloat_ratio, 4),
                },
            )
        )
    missing = sorted(_BLOATED.keys() - {fault.subject for fault in faults})
    if missing:
        raise SampleSiteError(
            f"{', '.join(missing)} came out compact instead of bloated: another session's snapshot or an "
            "autovacuum run may have interfered. Build again while nothing else uses the database."
        )
    return faults


def index_faults(connection: Connection, sizes: Iterable[RelationSize]) -> list[Fault]:
    """Unused, duplicate, redundant and invalid indexes, and the foreign key without one."""
    bytes_of = {size.subject: size.size_bytes for size in sizes}
    unscanned = set(unscanned_indexes(connection))
    # Of two equal indexes the planner reads one alone, so that the other one is the one to drop.
    duplicate, original = sorted(
        (f"public.library_follow.{name}" for name in _DUPLICATE),
        key=lambda name: name not in unscanned,
    )
    unused = dict(_UNUSED) | {
        name: "One of two equal indexes: the planner takes the other one."
        for name in (duplicate, original)
        if name in unscanned
    }
    scanned = sorted(unused.keys() - unscanned)
    if scanned:
        raise SampleSiteError(f"{', '.join(scanned)} was scanned and so is not unused.")
    faults = [
        Fault(FaultKind.UNUSED_INDEX, subject, why, {"scans": 0, "size_bytes": bytes_of[subject]})
        for subject, why in unused.items()
    ]
    faults.append(
        Fault(
            FaultKind.DUPLICATE_INDEX,
            duplicate,
            "Two migrations created the same index under two names.",
            {"covered_by": original, "size_bytes": bytes_of[duplicate]},
        )
    )
    faults += [
        Fault(
            FaultKind.REDUNDANT_INDEX,
            subject,
            "A longer index begins with the same column.",
            {"covered_by": covering, "size_bytes": bytes_of[subject]},
        )
        for subject, covering in _REDUNDANT.items()
    ]
    return faults + _broken_indexes(connection)


def _broken_indexes(connection: Connection) -> list[Fault]:
    ((duplicates, valid),) = rows(
        connection,
        "SELECT (SELECT count(*) FROM (SELECT FROM library_user GROUP BY lower(email) HAVING count(*) > 1) AS d),"
        " (SELECT indisvalid FROM pg_index WHERE indexrelid = %s::regclass)",
        [_INVALID_INDEX],
    )
    ((referencing,),) = rows(
        connection, "SELECT count(*) FROM library_notification WHERE related_status_id IS NOT NULL"
    )
    return [
        Fault(
            FaultKind.INVALID_INDEX,
            f"public.library_user.{_INVALID_INDEX}",
            "CREATE UNIQUE INDEX CONCURRENTLY failed on addresses that occur twice.",
            {"valid": valid, "duplicate_values": duplicates},
        ),
        Fault(
            FaultKind.MISSING_FK_INDEX,
            "public.library_notification.related_status_id",
            "Deleting a status reads the whole table.",
            {
                "constraint": "library_notification_related_status_id_fk",
                "referencing_rows": referencing,
            },
        ),
    ]


_UNSCANNED_INDEXES: Final = """
    SELECT format('%I.%I.%I', schemaname, relname, indexrelname)
    FROM pg_stat_user_indexes
    JOIN pg_index USING (indexrelid)
    WHERE idx_scan = 0 AND indisvalid
    ORDER BY 1
"""


def unscanned_indexes(connection: Connection) -> list[str]:
    """Valid indexes that no query has scanned since the server's statistics began."""
    return [name for (name,) in rows(connection, _UNSCANNED_INDEXES)]


def integrity_faults(connection: Connection) -> list[Fault]:
    """The sequence near its end, the constraint that was never validated, and the rows behind it."""
    ((last_value, maximum),) = rows(
        connection,
        "SELECT last_value, max_value FROM pg_sequences"
        " WHERE schemaname = 'public' AND sequencename = 'library_activity_id_seq'",
    )
    ((validated,),) = rows(
        connection,
        "SELECT convalidated FROM pg_constraint WHERE conname = 'library_favorite_status_id_fk'",
    )
    ((orphans,),) = rows(
        connection,
        "SELECT count(*) FROM library_favorite AS f"
        " WHERE NOT EXISTS (SELECT FROM library_status AS s WHERE s.id = f.status_id)",
    )
    return [
        Fault(
            FaultKind.SEQUENCE_NEAR_END,
            "public.library_activity_id_seq",
            "Inserts that were refused as duplicates have burnt its numbers.",
            {
                "column": "public.library_activity.id",
                "last_value": last_value,
                "maximum": maximum,
                "used_ratio": round(last_value / maximum, 4),
            },
        ),
        Fault(
            FaultKind.NOT_VALIDATED_CONSTRAINT,
            "public.library_favorite.library_favorite_status_id_fk",
            "Added as NOT VALID over rows that break it.",
            {"validated": validated},
        ),
        Fault(
            FaultKind.ORPHANED_ROW,
            "public.library_favorite.status_id",
            "Likes of statuses that do not exist.",
            {"rows": orphans},
        ),
    ]


def slow_query_fault(connection: Connection) -> Fault:
    """The search, as pg_stat_statements holds it."""
    seen = visitors.slow_query(connection)
    ((statuses,),) = rows(connection, "SELECT count(*) FROM library_status")
    return Fault(
        FaultKind.SLOW_QUERY,
        visitors.STATUS_SEARCH_FRAGMENT,
        "The search field reads every status: no index serves a pattern that begins with a wildcard.",
        expected={
            "table": "public.library_status",
            "rows_read": statuses,
            "calls_at_least": visitors.SEARCHES,
        },
        observed={
            "query_id": str(seen.query_id),
            "calls": seen.calls,
            "mean_exec_time_ms": round(seen.mean_exec_time_ms, 2),
        },
    )
