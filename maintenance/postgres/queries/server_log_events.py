"""What the messages of the server's log say: slow statements, and what went wrong with others.

Source of the messages: PostgreSQL documentation, "Error Reporting and Logging",
log_min_duration_statement, log_lock_waits, log_temp_files. Messages are read in English alone.
"""

import re
from dataclasses import dataclass, field

from maintenance.core.statement_text import MAXIMUM_TEXT, shape_of, shown_text
from maintenance.postgres.driver import MARKER
from maintenance.postgres.queries.server_log_formats import LogEntry

#: Different statements whose costs are kept apart: more than any report shows.
KEPT_SHAPES = 5000

#: Longer statements are known by their beginning: long lists become short, the rest is not shown.
_READ_TEXT = 10 * MAXIMUM_TEXT
#: Statements as they were sent, for which the work of taking out the literals is done once.
_KNOWN_TEXTS = 1000

_DURATION = re.compile(
    r"duration: (?P<ms>[0-9.]+) ms"
    r"(?:  (?P<step>statement|execute fetch from|execute|parse|bind)[^:\n]*: (?P<text>.*))?\Z",
    re.DOTALL,
)
_CANCELED = re.compile(r"(?:canceling statement|terminating connection) due to (?P<reason>.*)")
_LOCK_WAIT = re.compile(r"process \d+ still waiting for ")
_TEMPORARY_FILE = re.compile(r"temporary file: path .*, size (?P<bytes>\d+)", re.DOTALL)


@dataclass(slots=True)
class LoggedStatement:
    """The calls of one statement that the server found slow enough to log; times in ms.

    ``text`` holds no literals. Parsing and binding count as time, not as calls. ``worst_at`` is
    when the slowest step ended.
    """

    text: str
    calls: int = 0
    total_ms: float = 0.0
    worst_ms: float = 0.0
    worst_at: str = ""

    def add(self, ms: float, at: str, *, is_call: bool) -> None:
        """Count one step."""
        self.calls += is_call
        self.total_ms += ms
        if ms >= self.worst_ms:
            self.worst_ms, self.worst_at = ms, at


@dataclass(slots=True)
class LogTally:
    """What a stretch of the log says about one database.

    An entry without a database counts, because the server's ``log_line_prefix`` does not tell.
    ``cancellations`` counts statements and connections that were ended, by the server's own words
    for the reason. ``untold_durations`` have no statement with them.
    """

    database: str
    statements: dict[str, LoggedStatement] = field(default_factory=dict)
    cancellations: dict[str, int] = field(default_factory=dict)
    untold_durations: int = 0
    lock_waits: int = 0
    deadlocks: int = 0
    temporary_files: int = 0
    temporary_bytes: int = 0
    first_at: str = ""
    last_at: str = ""
    names_database: bool = True
    left_out: int = 0
    _known: dict[str, LoggedStatement] = field(default_factory=dict, repr=False)

    def add(self, entry: LogEntry) -> None:
        """Count one entry, unless it is about another database or about ourselves."""
        if entry.database not in {"", "[unknown]", self.database}:
            return
        if entry.application.startswith("maintenance:") or MARKER in entry.message:
            return
        if self._count(entry):
            self.first_at = self.first_at or entry.time
            self.last_at = entry.time or self.last_at
            self.names_database = self.names_database and bool(entry.database)

    def _count(self, entry: LogEntry) -> bool:
        message = entry.message
        if entry.level == "LOG":
            return self._count_log(message, entry.time)
        if entry.level not in {"ERROR", "FATAL"}:
            return False
        canceled = _CANCELED.match(message)
        if canceled:
            reason = canceled["reason"]
            self.cancellations[reason] = self.cancellations.get(reason, 0) + 1
        elif message.startswith("deadlock detected"):
            self.deadlocks += 1
        else:
            return False
        return True

    def _count_log(self, message: str, at: str) -> bool:
        duration = _DURATION.match(message)
        if duration:
            self._count_duration(duration, at)
            return True
        if _LOCK_WAIT.match(message):
            self.lock_waits += 1
            return True
        temporary = _TEMPORARY_FILE.match(message)
        if temporary:
            self.temporary_files += 1
            self.temporary_bytes += int(temporary["bytes"])
        return bool(temporary)

    def _count_duration(self, duration: re.Match[str], at: str) -> None:
        if duration["text"] is None:
            self.untold_durations += 1
            return
        statement = self._statement(duration["text"][:_READ_TEXT])
        if statement is None:
            self.left_out += 1
            return
        is_call = duration["step"] not in {"parse", "bind"}
        statement.add(float(duration["ms"]), at, is_call=is_call)

    def _statement(self, sent: str) -> LoggedStatement | None:
        """Return where the costs of a statement are kept; ``None`` where no room is left."""
        statement = self._known.get(sent)
        if statement is None:
            text = shown_text(sent)
            shape = shape_of(text)
            statement = self.statements.get(shape)
            if statement is None and len(self.statements) < KEPT_SHAPES:
                statement = self.statements[shape] = LoggedStatement(text)
            if statement is not None and len(self._known) < _KNOWN_TEXTS:
                self._known[sent] = statement
        return statement
