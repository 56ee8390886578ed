"""The server's log of one database: where it can be read, and what is new in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.errors import MissingRights
from maintenance.postgres.connection import connection_was_lost, reason_of
from maintenance.postgres.one_look import seen_once
from maintenance.postgres.queries.server_log_events import LogTally
from maintenance.postgres.queries.server_log_files import (
    FolderLog,
    LogSource,
    ServerLog,
    of_format,
)
from maintenance.postgres.queries.server_log_formats import LogFormat, parser_of
from maintenance.postgres.queries.server_log_position import Reading, read_log
from maintenance.postgres.sql_files import query

#: The formats that name database and time by themselves come first.
_PREFERRED = (LogFormat.JSON, LogFormat.CSV, LogFormat.STDERR)

_READ_FUNCTION = "pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What the server logs and where to; a row of ``sql/server_log_settings.sql``.

    ``minimum_ms`` and ``sample_minimum_ms`` are -1 where no duration is logged. What the role may
    not see is ``None``. ``role_name`` is quoted.
    """

    is_collected: bool | None
    destinations: str | None
    directory: str | None
    line_prefix: str | None
    message_locale: str | None
    minimum_ms: float
    sample_minimum_ms: float
    logs_lock_waits: bool
    may_list: bool
    may_read: bool
    database_name: str
    role_name: str

    @property
    def formats(self) -> tuple[LogFormat, ...]:
        """The formats that are written to files, the best one first."""
        written = {name.strip().lower() for name in (self.destinations or "stderr").split(",")}
        return tuple(log_format for log_format in _PREFERRED if log_format.value in written)

    @property
    def logs_durations(self) -> bool:
        """Whether slow statements are logged at all (for this role; others may differ)."""
        return self.minimum_ms >= 0 or self.sample_minimum_ms >= 0

    @property
    def is_in_english(self) -> bool:
        """Whether messages are written as they stand in the server's source."""
        language = (self.message_locale or "C").partition(".")[0].lower()
        return language in {"c", "posix"} or language.startswith("en")

    def needs(self, *, folder: str) -> str:
        """Say what must be set or granted before the log can be read; empty where nothing is."""
        by_server = not folder
        has_time = any(f"%{letter}" in (self.line_prefix or "") for letter in "mtn")
        needed = (
            (
                by_server and self.is_collected is False,
                (
                    "logging_collector = on (which needs a restart), or log_directory in this"
                    " target's configuration where the log lies on the worker's machine"
                ),
            ),
            (
                by_server and (self.directory is None or not self.may_list),
                f"GRANT pg_monitor TO {self.role_name}",
            ),
            (
                by_server and not self.may_read,
                (
                    "log_directory in this target's configuration where the log lies on the"
                    f" worker's machine, or GRANT EXECUTE ON FUNCTION {_READ_FUNCTION} TO"
                    f" {self.role_name} (with which that role can read all files of the cluster)"
                ),
            ),
            (not self.formats, "log_destination = 'csvlog' (or stderr, or jsonlog)"),
            (
                not self.is_in_english,
                f"lc_messages = 'C': messages in {self.message_locale} are not understood",
            ),
            (
                self.formats == (LogFormat.STDERR,) and not has_time,
                "log_line_prefix = '%m [%p] %q%u@%d ': the present one has no time in it",
            ),
        )
        return next((words for missing, words in needed if missing), "")


@dataclass(frozen=True, slots=True)
class ServerLogReading:
    """What is new in the log; ``reading`` is ``None`` where it cannot be read, for lack of what
    ``needs`` says. ``state`` is for the next run."""

    settings: LogSettings
    needs: str
    tally: LogTally
    reading: Reading | None
    state: Mapping[str, Any]


def read_server_log(
    conn: Connection, target: DatabaseTarget, previous_state: Mapping[str, Any]
) -> ServerLogReading:
    """Read what the server has logged since the run that left ``previous_state``.

    Reads in the target's ``log_directory`` where it is configured, through the server otherwise.
    Analyses of one run that read on from the same place read once.
    """
    what = ("server log", target.log_directory, repr(previous_state))
    return seen_once(conn, what, lambda: _read(conn, target, previous_state))


def _read(
    conn: Connection, target: DatabaseTarget, previous_state: Mapping[str, Any]
) -> ServerLogReading:
    settings = LogSettings(**query(conn, "server_log_settings")[0])
    tally = LogTally(settings.database_name)
    needs = settings.needs(folder=target.log_directory)
    if needs:
        return ServerLogReading(settings, needs, tally, None, previous_state)
    source: LogSource
    if target.log_directory:
        source = FolderLog(target.log_directory)
    else:
        source = ServerLog(conn, settings.directory or "")
    try:
        log_format = _format(source, settings)
        parser = parser_of(log_format, settings.line_prefix or "")
        reading = read_log(source, log_format, parser, tally, previous_state)
    except MissingRights as error:
        needs = f"a folder that the worker may read: {error}"
    except psycopg2.Error as error:
        if connection_was_lost(conn, error):
            raise
        needs = f"a log that the server can read itself: {reason_of(error)}"
    else:
        return ServerLogReading(settings, "", tally, reading, reading.state)
    # What was counted before it failed is counted by the next run.
    return ServerLogReading(settings, needs, LogTally(settings.database_name), None, previous_state)


def _format(source: LogSource, settings: LogSettings) -> LogFormat:
    """Return the best format of which there are files."""
    files = source.files()
    found = [log_format for log_format in settings.formats if of_format(files, log_format)]
    return found[0] if found else settings.formats[-1]
