"""The server's log: three formats say the same, and each byte counts once however it is read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.errors import MissingRights
from maintenance.postgres.queries import server_log_formats
from maintenance.postgres.queries.server_log import LogSettings
from maintenance.postgres.queries.server_log_events import LogTally
from maintenance.postgres.queries.server_log_files import FolderLog, LogFile, of_format
from maintenance.postgres.queries.server_log_formats import (
    RECORD_BYTES,
    LogEntry,
    LogFormat,
    MalformedRecord,
    PlainParser,
    RecordCutter,
    parser_of,
)
from maintenance.postgres.queries.server_log_position import Reading, read_log

PREFIX = "%m [%p] %q%a@%d "
AT = "2026-11-25 22:00:00.{:03d} UTC"
SECRET = "zqsecretqz"


@dataclass(frozen=True)
class Written:
    """A message as a server would write it; ``detail`` follows where there is one."""

    number: int
    level: str
    message: str
    detail: str = ""
    database: str = "site"
    application: str = "gunicorn"

    @property
    def at(self) -> str:
        return f"2026-11-25 {self.number // 1000 % 24:02d}:00:00.{self.number % 1000:03d} UTC"

    def line(self, log_format: LogFormat) -> bytes:
        """Return the record (elog.c, csvlog.c, jsonlog.c)."""
        if log_format is LogFormat.STDERR:
            return "".join(
                f"{self.at} [{self.number}] {self.application}@{self.database} {level}:  "
                + text.replace("\n", "\n\t")
                + "\n"
                for level, text in ((self.level, self.message), ("DETAIL", self.detail))
                if text
            ).encode()
        if log_format is LogFormat.CSV:
            fields = [self.at, "web", self.database, str(self.number), "127.0.0.1:5", "a.b", "1"]
            fields += ["SELECT", self.at, "3/4", "0", self.level, "00000", self.message]
            fields += [self.detail, *[""] * 7, self.application, "client backend", "", "0"]
            bare = {0, 3, 6, 8, 10, 11, 12}
            return (
                ",".join(
                    text if i in bare or not text else '"' + text.replace('"', '""') + '"'
                    for i, text in enumerate(fields)
                )
                + "\n"
            ).encode()
        record = {
            "timestamp": self.at,
            "dbname": self.database,
            "pid": self.number,
            "error_severity": self.level,
            "message": self.message,
            "detail": self.detail,
            "application_name": self.application,
        }
        return (json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


@dataclass
class Folder:
    """A log folder in memory; ``clock`` stamps what is written."""

    contents: dict[str, bytes] = field(default_factory=dict)
    stamps: dict[str, float] = field(default_factory=dict)
    clock: float = 1000.0

    def append(self, name: str, data: bytes) -> None:
        self.clock += 1.0
        self.contents[name] = self.contents.get(name, b"") + data
        self.stamps[name] = self.clock

    def files(self) -> list[LogFile]:
        return [LogFile(n, len(data), self.stamps[n]) for n, data in self.contents.items()]

    def read(self, name: str, offset: int, length: int) -> bytes:
        return self.contents.get(name, b"")[offset : offset + length]

    def now(self) -> float:
        return self.clock + 10.0


@dataclass
class Reader:
    """Runs one after the other, each with the state of the one before."""

    folder: Folder
    log_format: LogFormat
    budget_bytes: int = 10**9
    prefix: str = PREFIX
    tally: LogTally = field(default_factory=lambda: LogTally("site"))
    state: Mapping[str, Any] = field(default_factory=dict)

    def run(self) -> Reading:
        reading = read_log(
            self.folder,
            self.log_format,
            parser_of(self.log_format, self.prefix),
            self.tally,
            self.state,
            budget_bytes=self.budget_bytes,
            first_budget_bytes=10**9,
        )
        self.state = json.loads(json.dumps(reading.state))
        return reading

    @property
    def counted(self) -> Any:
        tally = self.tally
        return (
            {
                s.text: (s.calls, round(s.total_ms, 3), s.worst_at)
                for s in tally.statements.values()
            },
            tally.cancellations,
            (tally.deadlocks, tally.lock_waits, tally.temporary_files, tally.temporary_bytes),
            (tally.untold_durations, tally.first_at, tally.last_at),
        )


def slow(
    number: int, text: str, ms: float = 250.0, step: str = "statement", **more: Any
) -> Written:
    return Written(number, "LOG", f"duration: {ms:.3f} ms  {step}: {text}", **more)


FORMATS = pytest.mark.parametrize("log_format", list(LogFormat))

MIXTURE = (
    Written(1, "LOG", "checkpoint starting: time"),
    slow(
        2, f"SELECT *\n\n FROM t\n WHERE a = '{SECRET}\n2026-11-25 22:00:00.000 UTC [1] x' OR b = 5"
    ),
    slow(3, "SELECT * FROM t WHERE a = 'x' OR b = 6", 750.5),
    slow(
        4,
        "SELECT * FROM t WHERE a = $1 OR b = $2",
        2.0,
        "execute S_1",
        detail=f"Parameters: $1 = '{SECRET}'",
    ),
    slow(5, "SELECT * FROM t WHERE a = $1 OR b = $2", 1.0, "bind <unnamed>"),
    slow(6, f"SET app.token = {SECRET}"),
    Written(7, "LOG", "duration: 9.5 ms"),
    Written(8, "LOG", f"duration: 5.000 ms  plan:\nQuery Text: SELECT '{SECRET}'\nResult (cost=0)"),
    Written(9, "ERROR", "canceling statement due to statement timeout"),
    Written(10, "ERROR", "canceling statement due to user request"),
    Written(11, "ERROR", "canceling statement due to statement timeout"),
    Written(12, "ERROR", "deadlock detected", detail="Process 1 waits for ShareLock"),
    Written(13, "LOG", "process 7 still waiting for ShareLock on transaction 5 after 1000.1 ms"),
    Written(14, "LOG", 'temporary file: path "base/pgsql_tmp/pgsql_tmp1.0", size 4096'),
    Written(15, "ERROR", 'syntax error at or near "deadlock detected"'),
    slow(16, "SELECT elsewhere", database="other"),
    slow(17, "SELECT /* maintenance */ ours"),
    slow(18, "SELECT ours", application="maintenance:bloat"),
)


def written(log_format: LogFormat, messages: Sequence[Written]) -> bytes:
    return b"".join(message.line(log_format) for message in messages)


@FORMATS
def test_every_format_says_the_same(log_format: LogFormat) -> None:
    folder = Folder()
    name = {LogFormat.CSV: "a.csv", LogFormat.JSON: "a.json"}.get(log_format, "a.log")
    folder.append(name, written(log_format, MIXTURE))
    reader = Reader(folder, log_format)
    reading = reader.run()
    tally = reader.tally
    found = {s.text: s for s in tally.statements.values()}
    assert set(found) == {"SELECT * FROM t WHERE a = ? OR b = ?", "SET ..."}
    select = found["SELECT * FROM t WHERE a = ? OR b = ?"]
    assert (select.calls, select.total_ms, select.worst_ms) == (3, 1003.5, 750.5)
    assert select.worst_at == MIXTURE[2].at
    assert tally.cancellations == {"statement timeout": 2, "user request": 1}
    assert (tally.deadlocks, tally.lock_waits) == (1, 1)
    assert (tally.temporary_files, tally.temporary_bytes) == (1, 4096)
    assert tally.untold_durations == 1
    assert tally.names_database
    assert reading.malformed_lines == 0
    assert SECRET not in repr(tally.statements) + json.dumps(reading.state)


_TEXTS = st.text(st.sampled_from("ab1 \n\t\"',;$\\{}é\N{BOOKS}"), max_size=20)
_MESSAGES = st.one_of(
    st.builds(lambda text: ("LOG", f"duration: 12.500 ms  statement: SELECT {text}"), _TEXTS),
    st.just(("LOG", "process 7 still waiting for ShareLock on x")),
    st.just(("ERROR", "deadlock detected")),
    st.builds(lambda text: ("ERROR", f"something else: {text}"), _TEXTS),
)


@given(
    log_format=st.sampled_from(list(LogFormat)),
    messages=st.lists(_MESSAGES, min_size=1, max_size=12),
    cuts=st.lists(st.integers(0, 3000), max_size=5),
    rotations=st.sets(st.integers(1, 11), max_size=3),
    budget_bytes=st.integers(1, 400),
)
def test_however_the_log_is_written_rotated_and_read_each_record_counts_once(
    log_format: LogFormat,
    messages: list[tuple[str, str]],
    cuts: list[int],
    rotations: set[int],
    budget_bytes: int,
) -> None:
    records = [Written(i, *message).line(log_format) for i, message in enumerate(messages)]
    ending = {LogFormat.CSV: ".csv", LogFormat.JSON: ".json"}.get(log_format, ".log")
    whole = Folder()
    whole.append(f"all{ending}", b"".join(records))
    at_once = Reader(whole, log_format)
    at_once.run()

    folder = Folder()
    reader = Reader(folder, log_format, budget_bytes)
    reader.run()
    file, position = 0, 0
    for number, record in enumerate(records):
        file += number in rotations
        begin = 0
        for cut in sorted(cut - position for cut in cuts):
            if 0 < cut < len(record):
                folder.append(f"{file}{ending}", record[begin:cut])
                folder.clock -= 1000.0  # still being written: nothing has settled
                begin = cut
                reader.run()
                folder.clock += 1000.0
        folder.append(f"{file}{ending}", record[begin:])
        position += len(record)
        if number % 3 == 0:
            reader.run()
    for _ in range(len(records) + 2):
        last = reader.run()
    assert last.left_bytes == 0
    assert last.lost_files == 0
    assert reader.counted == at_once.counted


@given(
    log_format=st.sampled_from(list(LogFormat)),
    data=st.lists(
        st.binary(max_size=30) | st.sampled_from([m.line(f) for m in MIXTURE for f in LogFormat]),
        max_size=8,
    ),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=20),
)
def test_any_bytes_are_cut_the_same_in_pieces_of_any_size(
    log_format: LogFormat, data: list[bytes], sizes: list[int]
) -> None:
    text = b"".join(data)
    parser = parser_of(log_format, PREFIX)
    whole, pieces = RecordCutter(parser.head), RecordCutter(parser.head)
    expected = whole.feed(text) + whole.finish()
    found: list[bytes] = []
    position = turn = 0
    while position < len(text):
        size = sizes[turn % len(sizes)]
        found += pieces.feed(text[position : position + size])
        position += size
        turn += 1
    found += pieces.finish()
    assert found == expected
    assert (pieces.pending_bytes, pieces.stray_lines) == (whole.pending_bytes, whole.stray_lines)
    for record in found:
        try:
            entry = parser.parse(record)
        except MalformedRecord:
            continue
        assert entry is None or isinstance(entry, LogEntry)


@FORMATS
def test_a_statement_of_megabytes_is_known_by_its_beginning(
    log_format: LogFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_log_formats, "_LINE_BYTES", 100_000)
    folder = Folder()
    values = ", ".join(["('it''s \"a\"')"] * 40_000)
    records = [
        slow(1, f"INSERT INTO t VALUES {values}"),
        slow(2, "SELECT next"),
    ]
    ending = {LogFormat.CSV: ".csv", LogFormat.JSON: ".json"}.get(log_format, ".log")
    data = written(log_format, records)
    assert len(data) > 8 * RECORD_BYTES
    folder.append(f"a{ending}", data)
    reader = Reader(folder, log_format, budget_bytes=1)
    monkeypatch.setattr("maintenance.postgres.queries.server_log_position.CHUNK_BYTES", 50_000)
    for _ in range(3):
        reading = reader.run()
    texts = sorted(s.text for s in reader.tally.statements.values())
    assert [text.partition(" VALUES")[0] for text in texts] == ["INSERT INTO t", "SELECT next"]
    assert [s.calls for s in reader.tally.statements.values()] == [1, 1]
    assert (reading.malformed_lines, reading.left_bytes) == (0, 0)


# --- rotation -----------------------------------------------------------------------------------


def plain(*messages: Written) -> bytes:
    return written(LogFormat.STDERR, messages)


def calls(reader: Reader) -> int:
    return sum(s.calls for s in reader.tally.statements.values())


def test_a_renamed_file_is_read_on_and_its_successor_from_the_start() -> None:
    folder = Folder()
    folder.append("site.log", plain(slow(1, "SELECT a")))
    reader = Reader(folder, LogFormat.STDERR)
    reader.run()
    folder.append("site.log", plain(slow(2, "SELECT a")))
    folder.contents["site.log.1"] = folder.contents.pop("site.log")
    folder.stamps["site.log.1"] = folder.stamps["site.log"]
    folder.append("site.log", plain(slow(3, "SELECT a")))
    reading = reader.run()
    assert calls(reader) == 3
    assert reading.lost_files == 0


def test_a_copied_and_emptied_file_counts_once() -> None:
    folder = Folder()
    folder.append("site.log", plain(slow(1, "SELECT a"), slow(2, "SELECT a")))
    reader = Reader(folder, LogFormat.STDERR)
    reader.run()
    folder.append("site.log.1", folder.contents["site.log"])
    reader.run()
    folder.contents["site.log"] = b""
    folder.append("site.log", plain(slow(3, "SELECT a")))
    reading = reader.run()
    assert calls(reader) == 3
    assert reading.lost_files == 0


def test_a_name_that_comes_back_each_week_is_a_new_file() -> None:
    folder = Folder()
    folder.append("Mon.log", plain(*(slow(n, "SELECT a") for n in range(5))))
    reader = Reader(folder, LogFormat.STDERR)
    reader.run()
    folder.contents["Mon.log"] = b""
    folder.append("Mon.log", plain(*(slow(n, "SELECT a") for n in range(100, 110))))
    reading = reader.run()
    assert calls(reader) == 15
    # What was written to the old one after the first run is gone with it.
    assert reading.lost_files == 1


def test_an_old_file_that_was_read_may_go() -> None:
    folder = Folder()
    folder.append("1.log", plain(slow(1, "SELECT a")))
    folder.append("2.log", plain(slow(2, "SELECT a")))
    reader = Reader(folder, LogFormat.STDERR)
    reader.run()
    del folder.contents["1.log"]
    assert reader.run().lost_files == 0
    del folder.contents["2.log"]
    folder.append("3.log", plain(slow(3, "SELECT a")))
    assert reader.run().lost_files == 1


def test_the_first_run_reads_the_end_and_never_comes_back_for_the_rest() -> None:
    folder = Folder()
    folder.append("1.log", plain(*(slow(n, "SELECT old\n, b") for n in range(10))))
    folder.append("2.log", plain(*(slow(n, "SELECT a\n, b") for n in range(100, 110))))
    reader = Reader(folder, LogFormat.STDERR)
    size = len(folder.contents["2.log"])
    reading = read_log(
        folder,
        LogFormat.STDERR,
        parser_of(LogFormat.STDERR, PREFIX),
        reader.tally,
        {},
        first_budget_bytes=size // 2,
    )
    assert reading.is_first
    assert 4 <= calls(reader) <= 5
    assert reading.malformed_lines == 0
    reader.state = reading.state
    before = calls(reader)
    assert not reader.run().is_first
    assert calls(reader) == before


def test_what_the_budget_does_not_reach_is_left_and_said() -> None:
    folder = Folder()
    folder.append("1.log", plain(slow(0, "SELECT a")))
    reader = Reader(folder, LogFormat.STDERR)
    reader.run()
    folder.append("1.log", plain(*(slow(n, "SELECT a") for n in range(1, 10))))
    reader.budget_bytes = 10
    assert reader.run().left_bytes == 0  # a chunk is the least that is read
    folder.append("2.log", plain(slow(20, "SELECT a")))
    folder.append("3.log", plain(slow(30, "SELECT a")))
    reading = reader.run()
    assert reading.left_bytes == len(folder.contents["3.log"])
    assert calls(reader) == 11
    reader.run()
    assert calls(reader) == 12


def test_a_record_that_is_being_written_waits_for_its_end() -> None:
    folder = Folder()
    record = plain(slow(1, "SELECT a\n, b"))
    end = record.index(b"\n") + 1
    folder.append("1.log", record[:end])
    folder.clock -= 10.0
    reader = Reader(folder, LogFormat.STDERR)
    reader.run()
    assert calls(reader) == 0
    folder.append("1.log", record[end:])
    folder.clock += 10.0
    reader.run()
    assert [s.text for s in reader.tally.statements.values()] == ["SELECT a , b"]


# --- lines that are not the server's -------------------------------------------------------------


def test_lines_of_others_are_counted_and_do_no_harm() -> None:
    folder = Folder()
    noise = b"rsync: connection lost\n"
    folder.append("1.log", noise + plain(slow(1, "SELECT a")) + noise + plain(slow(2, "SELECT a")))
    reader = Reader(folder, LogFormat.STDERR)
    assert reader.run().malformed_lines == 2
    assert [(s.text, s.calls) for s in reader.tally.statements.values()] == [("SELECT a", 2)]


@pytest.mark.parametrize("log_format", [LogFormat.CSV, LogFormat.JSON])
def test_a_record_that_a_full_disk_cut_off_costs_itself_alone(log_format: LogFormat) -> None:
    ending = {LogFormat.CSV: "1.csv", LogFormat.JSON: "1.json"}[log_format]
    torn = slow(1, "SELECT 'a").line(log_format)[:-30] + b"\n"
    folder = Folder()
    folder.append(ending, torn + written(log_format, [slow(2, "SELECT b"), slow(3, "SELECT b")]))
    reader = Reader(folder, log_format)
    assert reader.run().malformed_lines == 1
    assert [(s.text, s.calls) for s in reader.tally.statements.values()] == [("SELECT b", 2)]


@pytest.mark.parametrize(
    ("prefix", "line"),
    [
        ("%m [%p] ", "2026-11-25 22:00:00.123 UTC [42] "),
        (
            "%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ",
            "2026-11-25 22:00:00 CET [42]: [7-1] user=web,db=site,app=a b@c,client=10.0.0.1 ",
        ),
        (
            "%m %-12u|%6p|%q%d %a: ",
            "2026-11-25 22:00:00.123 +03 web         |    42|site gunicorn: ",
        ),
        (
            "%n %e %x %c %v %b %i %r%%",
            "1764108000.123 00000 0 6745.1a 3/12 client backend SELECT 10.0.0.1(5432)%",
        ),
        ("%q%m ", "2026-11-25 22:00:00.123 UTC "),
        ("", ""),
    ],
)
def test_a_prefix_of_any_kind_is_read(prefix: str, line: str) -> None:
    record = f"{line}LOG:  duration: 5.000 ms  statement: SELECT 1\n".encode()
    entry = parser_of(LogFormat.STDERR, prefix).parse(record)
    assert entry is not None
    assert entry.message == "duration: 5.000 ms  statement: SELECT 1"
    assert entry.database == ("site" if "%d" in prefix else "")
    if "%a" in prefix:
        assert entry.application in {"a b@c", "gunicorn"}


def test_a_name_may_hold_the_sign_that_stands_behind_it() -> None:
    parser = parser_of(LogFormat.STDERR, PREFIX)
    for number in range(50):
        line = slow(number, "SELECT 1", database='odd "na\'me" 100% {x}', application="a b")
        entry = parser.parse(line.line(LogFormat.STDERR))
        assert entry is not None
        assert (entry.database, entry.application) == ('odd "na\'me" 100% {x}', "a b")


def test_a_background_process_stops_at_the_mark_in_the_prefix() -> None:
    entry = parser_of(LogFormat.STDERR, PREFIX).parse(
        b'2026-11-25 22:00:00.123 UTC [42] LOG:  temporary file: path "x", size 1\n'
    )
    assert entry is not None
    assert entry.database == ""


def test_lines_that_never_match_cost_little() -> None:
    parser = PlainParser("%u %d %i %r ")
    line = b"a b " * 1000 + b"LOG:  duration: 1 ms\n"
    parser._failures_left = 1
    for _ in range(1000):
        with pytest.raises(MalformedRecord):
            parser.parse(line)


def test_a_folder_is_read_by_name_or_by_pattern(tmp_path: Path) -> None:
    for name in ("main.log", "main.log.1", "other.log", ".hidden.log"):
        (tmp_path / name).write_bytes(b"0123456789")
    (tmp_path / "main.log.d").mkdir()

    def names(location: Path) -> set[str]:
        return {file.name for file in FolderLog(str(location)).files()}

    assert names(tmp_path) == {"main.log", "main.log.1", "other.log"}
    assert names(tmp_path / "main.log*") == {"main.log", "main.log.1"}
    folder = FolderLog(str(tmp_path))
    assert folder.read("main.log", 3, 4) == b"3456"
    assert folder.read("main.log", 8, 100) == b"89"
    assert folder.read("gone.log", 0, 100) == b""


def test_a_folder_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingRights, match="cannot be read: no such file or directory"):
        FolderLog(str(tmp_path / "missing")).files()


def test_files_are_told_apart_by_their_endings() -> None:
    names = ["a.log", "a.log.1", "b.csv", "b.csv.2", "c.json", "a.log.2.gz", "plain", "pg-16"]
    files = [LogFile(name, 1, 0.0) for name in names]

    def of(log_format: LogFormat) -> list[str]:
        return [file.name for file in of_format(files, log_format)]

    assert of(LogFormat.CSV) == ["b.csv", "b.csv.2"]
    assert of(LogFormat.JSON) == ["c.json"]
    assert of(LogFormat.STDERR) == ["a.log", "a.log.1", "pg-16", "plain"]


# --- what is needed ------------------------------------------------------------------------------

READABLE = LogSettings(
    is_collected=True,
    destinations="stderr",
    directory="log",
    line_prefix=PREFIX,
    message_locale="en_US.UTF-8",
    minimum_ms=250.0,
    sample_minimum_ms=-1.0,
    logs_lock_waits=False,
    may_list=True,
    may_read=True,
    database_name="site",
    role_name='"Crew"',
)


@pytest.mark.parametrize(
    "changes",
    [{}, {"message_locale": "C.UTF-8"}, {"message_locale": ""}, {"destinations": "syslog, csvlog"}],
)
def test_nothing_is_needed_where_everything_is_there(changes: dict[str, Any]) -> None:
    assert replace(READABLE, **changes).needs(folder="") == ""


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({"is_collected": False}, "logging_collector = on"),
        ({"directory": None}, 'GRANT pg_monitor TO "Crew"'),
        ({"may_list": False}, 'GRANT pg_monitor TO "Crew"'),
        ({"may_read": False}, 'boolean) TO "Crew"'),
        ({"destinations": "syslog"}, "log_destination = 'csvlog'"),
        ({"message_locale": "cs_CZ.UTF-8"}, "lc_messages = 'C'"),
        ({"message_locale": "de_DE"}, "messages in de_DE are not understood"),
        ({"line_prefix": "[%p] "}, "log_line_prefix = '%m [%p] %q%u@%d '"),
    ],
)
def test_what_is_missing_is_named(changes: dict[str, Any], needs: str) -> None:
    assert needs in replace(READABLE, **changes).needs(folder="")


def test_a_folder_needs_no_right_on_the_server() -> None:
    closed = replace(READABLE, is_collected=False, directory=None, may_list=False, may_read=False)
    assert closed.needs(folder="/var/log/postgresql") == ""


def test_the_format_that_says_most_comes_first() -> None:
    settings = replace(READABLE, destinations="stderr,csvlog,jsonlog")
    assert settings.formats == (LogFormat.JSON, LogFormat.CSV, LogFormat.STDERR)
