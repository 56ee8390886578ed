"""What looks like a fault of the database and is none: a careless analysis would name it."""

from collections.abc import Collection
from typing import Final

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from service.sample_site.database import rows
from service.sample_site.errors import SampleSiteError
from service.sample_site.truth import Decoy, Fault, FaultKind

_PLANTED: Final = (
    Decoy(
        FaultKind.DEAD_TUPLES,
        "public.library_favorite",
        "Some rows are dead, but fewer than autovacuum's own rule asks for.",
    ),
    Decoy(
        FaultKind.BLOATED_TABLE,
        "public.library_shelf",
        "Its fill factor of 70 leaves room on purpose.",
    ),
    Decoy(
        FaultKind.BLOATED_TABLE,
        "public.library_work",
        "Long descriptions are stored out of line: short rows, not wasted room.",
    ),
    Decoy(
        FaultKind.DUPLICATE_INDEX,
        "public.library_user.library_user_username_like",
        "Another operator class than its twin: it serves LIKE, the unique one serves order.",
    ),
    Decoy(
        FaultKind.REDUNDANT_INDEX,
        "public.library_edition.library_edition_work_id_idx",
        "On column 2; the index on columns 23 and 5 covers it only for a comparison as text.",
    ),
    Decoy(
        FaultKind.SEQUENCE_NEAR_END,
        "public.library_notification_id_seq",
        "Beyond the range of int4, but a bigint sequence for a bigint column.",
    ),
    Decoy(
        FaultKind.SLOW_QUERY,
        "FROM library_status WHERE user_id",
        "The most frequent query of all, and a fast one.",
    ),
)

# Why a valid index without a scan must stay. All foreign keys of the site have one column, so the
# leading column tells whether an index supports one.
_UNSCANNED_REASONS: Final = """
    SELECT
        format('%I.%I.%I', s.schemaname, s.relname, s.indexrelname),
        CASE
            WHEN i.indisprimary THEN 'Never scanned, but the primary key.'
            WHEN i.indisreplident THEN 'Never scanned, but the replica identity of its table.'
            WHEN i.indisunique THEN 'Never scanned, but it keeps its columns unique.'
            WHEN i.indisclustered THEN 'Never scanned, but its table is clustered on it.'
            WHEN i.indexprs IS NOT NULL
                THEN 'Never scanned, but the planner uses the statistics of its expression.'
            WHEN EXISTS (
                SELECT FROM pg_constraint AS c
                WHERE c.contype = 'f' AND c.conrelid = i.indrelid AND c.conkey[1] = i.indkey[0]
            ) AND NOT EXISTS (
                SELECT FROM pg_index AS other
                WHERE other.indrelid = i.indrelid AND other.indexrelid <> i.indexrelid
                  AND other.indisvalid AND other.indkey[0] = i.indkey[0]
            ) THEN 'Never scanned, but the only index behind a foreign key.'
        END
    FROM pg_stat_user_indexes AS s
    JOIN pg_index AS i ON i.indexrelid = s.indexrelid
    WHERE s.idx_scan = 0 AND i.indisvalid
    ORDER BY 1
"""


def database_decoys(connection: Connection, faults: Collection[Fault]) -> list[Decoy]:
    """The planted decoys, and each unscanned index that must stay.

    Raises SampleSiteError for an unscanned index that is neither planted nor needed.
    """
    planted = {fault.subject for fault in faults if fault.kind is FaultKind.UNUSED_INDEX}
    decoys = list(_PLANTED)
    for subject, reason in rows(connection, _UNSCANNED_REASONS):
        if subject in planted:
            continue
        if reason is None:
            raise SampleSiteError(f"{subject} was not scanned, and nothing in the plan says why.")
        decoys.append(Decoy(FaultKind.UNUSED_INDEX, subject, reason))
    return decoys
