"""The site's visitors: queries really run, so that indexes in use are used and slow queries seen."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from service.sample_site.database import rows
from service.sample_site.errors import SampleSiteError

VISITS: Final = 12

SEARCH_WORDS: Final = ("zugzwang", "petrichor")
"""Stand in no status, so that each search reads to the end of the table."""

SEARCHES: Final = 3

# The page's search field: no index can serve a pattern that begins with a wildcard, but for one of
# pg_trgm, which the site does not have.
_STATUS_SEARCH: Final = (
    "SELECT id, user_id, published_date FROM library_status"
    " WHERE NOT deleted AND (content ILIKE %s OR content ILIKE %s)"
    " ORDER BY published_date DESC LIMIT 20"
)
STATUS_SEARCH_FRAGMENT: Final = "FROM library_status WHERE NOT deleted AND (content ILIKE"

# Each page of a reader's day, by the index that it needs. Sequential scans are switched off for
# the session, so that the planner of a small site uses the indexes of a large one.
_PAGES: Final[Mapping[str, str]] = {
    "library_user_pkey": "SELECT name FROM library_user WHERE id = %(visit)s",
    "library_user_username_key": (
        "SELECT id FROM library_user WHERE username > 'jane.doe' ORDER BY username LIMIT %(visit)s"
    ),
    "library_user_username_like": (
        "SELECT id FROM library_user WHERE username LIKE 'jane.doe%(visit)s%%'"
    ),
    "library_user_last_active_idx": (
        "SELECT count(*) FROM library_user WHERE last_active_date > %(as_of)s::timestamptz - interval '1 hour'"
    ),
    "library_author_pkey": "SELECT name FROM library_author WHERE id = %(visit)s",
    "library_author_name_idx": (
        "SELECT id FROM library_author WHERE name = 'Amélie Rivière' || %(visit)s"
    ),
    "library_work_pkey": "SELECT title FROM library_work WHERE id = %(visit)s",
    "library_work_authors_author_id_idx": (
        "SELECT work_id FROM library_work_authors WHERE author_id = 100 + %(visit)s"
    ),
    "library_edition_pkey": "SELECT title FROM library_edition WHERE id = %(visit)s",
    "library_edition_work_id_idx": "SELECT id FROM library_edition WHERE work_id = 500 + %(visit)s",
    "library_edition_goodreads_year_idx": (
        "SELECT id FROM library_edition WHERE goodreads_key = '3000' || %(visit)s"
    ),
    "library_edition_title_search": (
        "SELECT id FROM library_edition"
        " WHERE to_tsvector('simple', title) @@ plainto_tsquery('simple', 'Nebel Gewölbe') LIMIT %(visit)s"
    ),
    "library_shelf_pkey": "SELECT name FROM library_shelf WHERE id = %(visit)s",
    "library_shelf_user_id_idx": "SELECT id FROM library_shelf WHERE user_id = %(visit)s",
    "library_shelf_user_id_identifier_key": (
        "SELECT id FROM library_shelf WHERE user_id = %(visit)s AND identifier = 'reading'"
    ),
    "library_shelfbook_shelf_id_idx": (
        "SELECT edition_id FROM library_shelfbook WHERE shelf_id = %(visit)s"
    ),
    "library_shelfbook_edition_id_shelf_id_key": (
        "SELECT shelf_id FROM library_shelfbook WHERE edition_id = 700 + %(visit)s"
    ),
    "library_status_pkey": "SELECT content FROM library_status WHERE id = %(visit)s",
    "library_status_user_id_idx": "SELECT id FROM library_status WHERE user_id = 200 + %(visit)s",
    "library_status_user_published_idx": (
        "SELECT id FROM library_status WHERE user_id = %(visit)s ORDER BY published_date DESC LIMIT 15"
    ),
    "library_status_edition_id_idx": "SELECT id FROM library_status WHERE edition_id = 900 + %(visit)s",
    "library_status_reply_parent_id_idx": (
        "SELECT id FROM library_status WHERE reply_parent_id = 300 + %(visit)s"
    ),
    "library_status_thread_id_idx": "SELECT id FROM library_status WHERE thread_id = 300 + %(visit)s",
    "library_status_published_date_idx": (
        "SELECT id FROM library_status ORDER BY published_date DESC LIMIT 15 OFFSET %(visit)s"
    ),
    "library_follow_user_subject_id_user_object_id_key": (
        "SELECT user_object_id FROM library_follow WHERE user_subject_id = %(visit)s"
    ),
    "library_notification_user_read_idx": (
        "SELECT id FROM library_notification WHERE user_id = 200 + %(visit)s AND NOT read"
        " ORDER BY created_date DESC LIMIT 15"
    ),
    "library_notification_related_user_idx": (
        "SELECT id FROM library_notification WHERE related_user_id = %(visit)s"
    ),
    "library_favorite_user_id_status_id_key": (
        "SELECT status_id FROM library_favorite WHERE user_id = %(visit)s"
    ),
    "library_favorite_status_id_idx": "SELECT user_id FROM library_favorite WHERE status_id = %(visit)s",
    "library_importjob_pkey": "SELECT source FROM library_importjob WHERE id = %(visit)s",
    "library_importjob_user_id_idx": "SELECT id FROM library_importjob WHERE user_id = %(visit)s",
    "library_importitem_job_id_idx": (
        "SELECT id FROM library_importitem WHERE job_id = 1 + %(visit)s ORDER BY row_number LIMIT 50"
    ),
    "library_importitem_edition_id_idx": (
        "SELECT id FROM library_importitem WHERE edition_id = 900 + %(visit)s"
    ),
    "library_session_pkey": (
        "SELECT session_data FROM library_session WHERE session_key = md5('%(visit)s')"
    ),
    "library_session_expire_date_idx": (
        "SELECT count(*) FROM library_session WHERE expire_date < %(as_of)s::timestamptz + interval '1 hour'"
    ),
    "library_activity_actor_id_idx": (
        "SELECT id FROM library_activity WHERE actor_id = 300 + %(visit)s"
    ),
    "library_activity_received_date_idx": (
        "SELECT count(*) FROM library_activity"
        " WHERE received_date > %(as_of)s::timestamptz - interval '1 hour'"
    ),
    "library_readthrough_user_id_idx": (
        "SELECT progress FROM library_readthrough WHERE user_id = %(visit)s"
    ),
    "library_readthrough_edition_id_idx": (
        "SELECT progress FROM library_readthrough WHERE edition_id = 900 + %(visit)s"
    ),
}

# Two equal indexes serve this page; the planner takes one of them, the other stays unused.
_FOLLOWERS_PAGE: Final = (
    "SELECT user_subject_id FROM library_follow WHERE user_object_id = %(visit)s"
)


@dataclass(frozen=True)
class SlowQuery:
    """What pg_stat_statements holds about the search; times as it measured them."""

    query_id: int
    calls: int
    mean_exec_time_ms: float


def visit_pages(connection: Connection, as_of: str) -> None:
    """Run each page's query `VISITS` times and bring the counters up to date.

    Raises SampleSiteError naming an index that its page did not use.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        for query in (*_PAGES.values(), _FOLLOWERS_PAGE):
            for visit in range(1, VISITS + 1):
                cursor.execute(query, {"visit": visit, "as_of": as_of})
        cursor.execute("RESET enable_seqscan")
        cursor.execute("SELECT pg_stat_force_next_flush()")
        # A statement of its own: the flush happens when the one before has ended.
        cursor.execute(
            "SELECT indexrelname FROM pg_stat_user_indexes WHERE idx_scan = 0 AND indexrelname = ANY(%s)"
            " ORDER BY 1",
            [list(_PAGES)],
        )
        unused = [name for (name,) in cursor.fetchall()]
    if unused:
        raise SampleSiteError(
            f"The planner did not use {', '.join(unused)}, which the site's pages need: "
            "the server's planner settings (enable_indexscan, enable_bitmapscan) may forbid it."
        )


def search_statuses(connection: Connection) -> None:
    """Search all statuses `SEARCHES` times by reading the whole table."""
    with connection.cursor() as cursor:
        for _ in range(SEARCHES):
            cursor.execute(_STATUS_SEARCH, [f"%{word}%" for word in SEARCH_WORDS])


def prepare_query_statistics(connection: Connection) -> str:
    """Make pg_stat_statements readable; return why it is not, or an empty string."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            cursor.execute("SELECT count(*) FROM pg_stat_statements")
    except psycopg2.errors.InsufficientPrivilege:
        return "pg_stat_statements is missing: needs CREATE EXTENSION by a superuser."
    except psycopg2.errors.FeatureNotSupported:
        return "pg_stat_statements is not part of this installation of PostgreSQL."
    except psycopg2.errors.UndefinedFile:
        return "pg_stat_statements is not part of this installation of PostgreSQL."
    except psycopg2.errors.ObjectNotInPrerequisiteState:
        return "pg_stat_statements is not loaded: needs shared_preload_libraries = 'pg_stat_statements'."
    return ""


def count_statements(connection: Connection, counted: bool) -> None:
    """Have pg_stat_statements count this session's statements, or not.

    Only a superuser may choose; whoever may not leaves the builders' statements among the site's.
    """
    command = (
        "RESET pg_stat_statements.track" if counted else "SET pg_stat_statements.track = 'none'"
    )
    with connection.cursor() as cursor, suppress(psycopg2.errors.InsufficientPrivilege):
        cursor.execute(command)


def slow_query(connection: Connection) -> SlowQuery:
    """The search as pg_stat_statements saw it since this server's statistics began."""
    found: list[tuple[Any, ...]] = rows(
        connection,
        "SELECT queryid, calls, mean_exec_time FROM pg_stat_statements AS s"
        " JOIN pg_database AS d ON d.oid = s.dbid AND d.datname = current_database()"
        " JOIN pg_roles AS r ON r.oid = s.userid AND r.rolname = current_user"
        " WHERE strpos(query, %s) > 0 AND toplevel ORDER BY calls DESC LIMIT 1",
        [STATUS_SEARCH_FRAGMENT],
    )
    if not found:
        raise SampleSiteError(
            "pg_stat_statements does not hold the search that was just run: "
            "pg_stat_statements.track may be 'none'."
        )
    return SlowQuery(*found[0])
