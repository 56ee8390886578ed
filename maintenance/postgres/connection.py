"""Connections for maintenance: own sessions with explicit limits.

Every limit is set by ``SET`` after the connection stands, because PgBouncer refuses the start-up
parameter ``options``. Each session is checked for a pooler first: in transaction mode a ``SET``
would leak to the site's own clients (PgBouncer documentation, "Feature matrix for pooling modes").
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.errors import ConfigurationError, MissingRights, TargetUnavailable
from maintenance.core.redaction import hides_credentials, redact
from maintenance.core.run_marks import current_mark
from maintenance.postgres.driver import MARKER, MarkedCursor, WatchedSession
from maintenance.postgres.giving_way import giving_way

if TYPE_CHECKING:
    from maintenance.postgres.repair.waiters import Waiter

#: The oldest server whose views and settings the queries are written for.
OLDEST_SUPPORTED_MAJOR = 14

#: How long a session of ours may sit in an open transaction: none of them opens one on purpose.
IDLE_IN_TRANSACTION_SECONDS = 60.0

#: How soon the server notices that our process died and drops its query (PostgreSQL 14 and later).
CLIENT_CHECK_MS = 1000

#: How soon we notice that the server cannot be reached any more while we wait for its answer: half a
#: minute, where the system's own limits are hours (libpq documentation, "Parameter Key Words").
NOTICES_A_CUT = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}

#: How soon the server notices that we cannot be reached any more, and ends what we have at work: with
#: the look that :data:`CLIENT_CHECK_MS` asks for within five seconds, where the system's own limits are
#: hours (PostgreSQL documentation, "TCP Settings"). Ignored where the connection is no TCP one.
SERVER_NOTICES_A_CUT = {
    "tcp_keepalives_idle": "1",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "2",
    "tcp_user_timeout": "3s",  # on Linux this and not the count decides when an answer is overdue
}

#: A longer name of a session is cut at its end (``NAMEDATALEN``): of ours the purpose is cut.
LONGEST_NAME_BYTES = 63

#: Sessions that nobody uses at the moment, with the targets that they were opened for.
_Sessions = list[tuple[DatabaseTarget, WatchedSession]]

_kept: ContextVar[_Sessions | None] = ContextVar("kept_sessions", default=None)

# What libpq asks back behind a refused connection; our own sentences say what to look at.
_LIBPQ_QUESTION = re.compile(r"\s*Is the server running .*\?\s*$")


@contextmanager
def connect(
    target: DatabaseTarget,
    *,
    purpose: str = "measure",
    read_only: bool = True,
    statement_timeout_seconds: float | None = None,
    lock_timeout_seconds: float | None = None,
    may_be_kept: bool = True,
    gives_way: bool = True,
) -> Iterator[Connection]:
    """Open an autocommit session of our own and close it afterwards.

    ``purpose`` shows in ``application_name`` as ``maintenance:<purpose>``, within a run with its id
    and attempt. The time limits are the target's unless given; 0 means none. ``read_only`` sessions cannot write by accident.
    Within :func:`kept_sessions` it may be one that was used before, unless ``may_be_kept`` is false.
    A ``read_only`` session ``gives_way``: its statements raise :class:`GaveWay`, a ``QueryCanceled``,
    when somebody of the site waits too long for them.

    Raises :class:`TargetUnavailable` where the server cannot be reached or goes away in the body,
    :class:`MissingRights` where it refuses for lack of a privilege, and
    :class:`ConfigurationError` for an unreadable URL, an unsupported server or a pooler. Other
    errors of the server (a timeout, a lock not obtained) pass through as psycopg2 raises them.
    """
    kept = _kept.get() if may_be_kept else None
    conn = _taken_from(kept, target) or _open(target, purpose)
    address = address_of(conn)
    try:
        _refuse_unsupported(conn, address)
        _limit(
            conn,
            purpose=purpose,
            statement_timeout_seconds=_given_or(
                statement_timeout_seconds, target.statement_timeout_seconds
            ),
            lock_timeout_seconds=_given_or(lock_timeout_seconds, target.lock_timeout_seconds),
            read_only=read_only,
        )
        if read_only and gives_way:
            with giving_way(conn, target.pacing, partial(_who_waits, target, conn)):
                yield conn
        else:
            yield conn
    except psycopg2.errors.InsufficientPrivilege as error:
        raise MissingRights(missing_rights_sentence(error, address)) from error
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        if not connection_was_lost(conn, error):
            raise
        raise TargetUnavailable(
            f"The connection to PostgreSQL at {address} was lost: {reason_of(error)}."
            " Check that the server runs and that nobody ended the session."
        ) from error
    finally:
        if kept is None or conn.closed:
            conn.close()
        else:
            kept.append((target, conn))


@contextmanager
def _who_waits(
    target: DatabaseTarget, conn: Connection
) -> "Iterator[Callable[[], Sequence[Waiter]]]":
    """Open a session beside ``conn`` that sees who waits for it."""
    from maintenance.postgres.repair.waiters import waiters_for  # noqa: PLC0415 - it asks by ours

    pid = conn.info.backend_pid
    with connect(target, purpose="lookout", may_be_kept=False, gives_way=False) as beside:
        yield lambda: waiters_for(beside, [pid])


@contextmanager
def kept_sessions() -> Iterator[None]:
    """Let what follows one another in the body use one session, closed at the end.

    A session learns about each relation that it opens (its relation cache): on 30,000 indexes a
    new one for every analysis takes a quarter longer. Every use resets it and sets its own limits.
    """
    sessions: _Sessions = []
    token = _kept.set(sessions)
    try:
        yield
    finally:
        _kept.reset(token)
        for _target, conn in sessions:
            conn.close()


def _taken_from(kept: "_Sessions | None", target: DatabaseTarget) -> WatchedSession | None:
    """Return a session to the same place that nobody uses, as good as new; ``None`` without one."""
    for number, (known, conn) in enumerate(kept or ()):
        if kept is None or known.connection_parameters() != target.connection_parameters():
            continue
        del kept[number]
        try:
            with conn.cursor() as cursor:
                cursor.execute("DISCARD ALL")
        except psycopg2.Error:
            conn.close()  # somebody ended it, or the server went away: whoever asks opens another
            return None
        return conn
    return None


def _given_or(given: float | None, default: float) -> float:
    return default if given is None else given


def _open(target: DatabaseTarget, purpose: str) -> WatchedSession:
    parameters = dict(target.connection_parameters())
    parameters["application_name"] = _session_name(purpose)
    parameters["connection_factory"] = WatchedSession
    parameters["cursor_factory"] = MarkedCursor
    parameters.setdefault("connect_timeout", target.connect_timeout_seconds)
    for name, value in NOTICES_A_CUT.items():
        parameters.setdefault(name, value)
    address = address_of_parameters(parameters)
    try:
        conn: WatchedSession = psycopg2.connect(**parameters)
    except psycopg2.ProgrammingError:
        raise _unreadable() from None  # what stands beside the URL, in DATABASES of Django
    except psycopg2.OperationalError as error:
        raise _connection_failure(error, address) from None
    conn.autocommit = True
    return conn


def _session_name(purpose: str) -> str:
    """Return what the session is called: a successor and a request to cancel find it by that."""
    mark = current_mark()
    end = f":{mark}" if mark else ""
    return f"maintenance:{purpose}"[: LONGEST_NAME_BYTES - len(end)] + end


def _connection_failure(
    error: psycopg2.OperationalError, address: str
) -> TargetUnavailable | MissingRights:
    reason = reason_of(error)
    if "permission denied for database" in reason:
        return MissingRights(
            f"PostgreSQL at {address} refused the connection: {reason}."
            " It needs GRANT CONNECT ON DATABASE ... TO the maintenance role."
        )
    return TargetUnavailable(
        f"PostgreSQL at {address} cannot be reached: {reason}."
        " Check the address and that the server accepts this user."
    )


def parameters_of_dsn(dsn: str) -> dict[str, Any]:
    """Return what a connection URL, or libpq's own form of it, says. Raises :class:`ConfigurationError`."""
    if hides_credentials(dsn):
        raise ConfigurationError(
            "The connection URL of this database cannot be read: a special character of its password"
            " is not quoted. Write %2F for /, %3F for ?, %23 for #, %40 for @ and %25 for %."
        )
    try:
        parameters: dict[str, Any] = psycopg2.extensions.parse_dsn(dsn)
    except psycopg2.ProgrammingError:
        raise _unreadable() from None
    return parameters


def _unreadable() -> ConfigurationError:
    # libpq quotes the unreadable text, which may hold the password: nothing of it is passed on.
    return ConfigurationError(
        "The connection URL of this database cannot be read."
        " Write it as postgres://user:password@host:port/dbname."
    )


def address_of_parameters(parameters: Mapping[str, Any]) -> str:
    """Return ``host:port/dbname`` of connection parameters, without user and password.

    Raises as :func:`parameters_of_dsn`.
    """
    given = dict(parameters)
    given.update(parameters_of_dsn(given.pop("dsn", "") or ""))
    host = given.get("host") or "localhost"
    database = given.get("dbname") or given.get("database") or given.get("user") or ""
    return f"{host}:{given.get('port') or 5432}/{database}"


def address_of(conn: Connection) -> str:
    """Return ``host:port/dbname`` of an open connection."""
    return f"{conn.info.host}:{conn.info.port}/{conn.info.dbname}"


def reason_of(error: psycopg2.Error) -> str:
    """Return the server's or libpq's own words in one line, without passwords."""
    text = " ".join((error.diag.message_primary or str(error)).split())
    return redact(_LIBPQ_QUESTION.sub("", text)).rstrip(".")


def missing_rights_sentence(error: psycopg2.Error, address: str) -> str:
    """Say which right is missing, in the server's words, and how rights are given."""
    return (
        f"PostgreSQL at {address} refused: {reason_of(error)}."
        " Measuring needs GRANT pg_monitor and GRANT pg_read_all_data to the maintenance role."
    )


def connection_was_lost(conn: Connection, error: psycopg2.Error) -> bool:
    """Tell whether ``error`` ended the session, rather than only its statement."""
    return bool(conn.closed) or (error.pgcode or "").startswith("08")


def _refuse_unsupported(conn: Connection, address: str) -> None:
    major = conn.server_version // 10_000
    if major < OLDEST_SUPPORTED_MAJOR:
        raise ConfigurationError(
            f"PostgreSQL at {address} is version {major}; the oldest supported is"
            f" {OLDEST_SUPPORTED_MAJOR}. Upgrade the server, or remove the target."
        )
    with conn.cursor() as cursor:
        cursor.execute(f"{MARKER} SELECT pg_catalog.pg_backend_pid()")
        row = cursor.fetchone()
    if row is not None and is_pooled(conn.info.backend_pid, row[0]):
        raise ConfigurationError(
            f"PostgreSQL at {address} is reached through a connection pooler, where settings of a"
            ' maintenance session would leak to other clients. Set "direct_url" of this target to'
            " the server itself."
        )


def is_pooled(announced_pid: int, actual_pid: int) -> bool:
    """Tell whether a pooler stands between: it announces a process id of its own invention."""
    return announced_pid != actual_pid


def _limit(
    conn: Connection,
    *,
    purpose: str,
    statement_timeout_seconds: float,
    lock_timeout_seconds: float,
    read_only: bool,
) -> None:
    """Set every limit explicitly: a role or database may carry others that would end our work."""
    settings = {
        "application_name": _session_name(purpose),
        "statement_timeout": _milliseconds(statement_timeout_seconds),
        "lock_timeout": _milliseconds(lock_timeout_seconds),
        "idle_in_transaction_session_timeout": _milliseconds(IDLE_IN_TRANSACTION_SECONDS),
        "idle_session_timeout": "0",
        "default_transaction_read_only": "on" if read_only else "off",
        # Only pg_catalog is searched: nothing that a user created can shadow what we call.
        "search_path": "",
        # A policy must raise an error: rows that it hides would be counted as bloat.
        "row_security": "off",
        "jit": "off",  # compiling costs more than any of these queries
        "max_parallel_workers_per_gather": "0",  # the other cores are the site's
        "client_encoding": "UTF8",
        "client_min_messages": "notice",  # VACUUM says in a WARNING what it skipped
        **SERVER_NOTICES_A_CUT,
    }
    if conn.server_version >= 170_000:
        settings["transaction_timeout"] = "0"
    calls = sql.SQL(", ").join(
        sql.SQL("pg_catalog.set_config({}, {}, false)").format(sql.Literal(name), sql.Literal(text))
        for name, text in settings.items()
    )
    if read_only:
        calls += sql.SQL(_uncounted(conn.server_version))
    with conn.cursor() as cursor:
        cursor.execute(sql.SQL("{} SELECT {}").format(sql.SQL(MARKER), calls))
        try:
            cursor.execute(f"{MARKER} SET client_connection_check_interval = {CLIENT_CHECK_MS}")
        except psycopg2.errors.InvalidParameterValue:
            # The server's platform cannot watch its socket; statement_timeout remains the limit.
            return


def _uncounted(version: int) -> str:
    """Have the server not count what a measuring session reads, where the role may say so.

    An index that nobody else has read would pass for used, and what we read for the site's own.
    It is a superuser's right, from 15 on to be had by GRANT SET ON PARAMETER track_counts.
    """
    may = "pg_catalog.current_setting('is_superuser')::boolean"
    if version >= 150_000:
        may += " OR pg_catalog.has_parameter_privilege('track_counts', 'SET')"
    return f", CASE WHEN {may} THEN pg_catalog.set_config('track_counts', 'off', false) END"


def _milliseconds(seconds: float) -> str:
    # 0 turns a limit off, so that a very short one must not be rounded to it.
    return "0" if seconds <= 0 else str(max(1, round(seconds * 1000)))
