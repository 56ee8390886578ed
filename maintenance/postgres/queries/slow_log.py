"""The report on the server's slow log: slow statements, and statements that went wrong."""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.job import Job
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.statement_text import NORMALISED, command_of, have_one_shape, shape_of
from maintenance.core.wording import bytes_in_words, counted, seconds_in_words
from maintenance.postgres.connection import connect
from maintenance.postgres.queries.rules import SlowQueryOptions, SlowQueryRules
from maintenance.postgres.queries.server_log import ServerLogReading, read_server_log
from maintenance.postgres.queries.server_log_events import LoggedStatement, LogTally
from maintenance.postgres.queries.server_log_position import Reading

TITLE = "Slow statements in the server's log"

#: A statement in a sentence; more of it stands in the evidence.
SENTENCE_TEXT = 120

#: Temporary files of less leave the disks cold.
TEMPORARY_BYTES = 1024**3

#: The endings that a limit brought about, by the server's words (``errmsg`` in postgres.c).
_TIMEOUTS = ("statement timeout", "lock timeout", "transaction timeout", "idle-in-transaction")


def review_slow_log(job: Job[DatabaseTarget, SlowQueryOptions], thresholds: Thresholds) -> Report:
    """Name the slow statements that the server logged since the previous review of slow queries.

    The state is that of the whole review, of which this is a part.
    Raises what :func:`connect` raises.
    """
    rules = SlowQueryRules.of(job.options, thresholds)
    with connect(job.target, purpose="slow-log") as conn:
        log = read_server_log(conn, job.target, job.previous_state.get("log", {}))
    return Report(
        title=TITLE,
        summary=log_in_words(log),
        findings=tuple(by_seriousness([*statement_findings(log, rules), *event_findings(log)])),
        tables=log_tables(log, rules),
        facts=log_facts(log),
        samples=log_samples(log),
        state={"log": dict(log.state)},
    )


def statement_findings(
    log: ServerLogReading, rules: SlowQueryRules, named: Collection[str] = ()
) -> Iterator[Finding]:
    """Name the statements that took longest in all, and say what hides others.

    ``named`` are texts of statements, without literals, that somebody names already.
    """
    tally = log.tally
    if log.reading is None:
        yield unavailable("slow-log", "server log", "what the server's slow log says", log.needs)
        return
    if not log.settings.logs_durations and not tally.statements:
        yield unavailable(
            "slow-log-off",
            "server log",
            "which statements are slow by the server's log",
            f"log_min_duration_statement = {rules.minimum_mean_ms:g} (ms; no restart)",
        )
    slow = [
        statement
        for statement in _costliest(tally)
        if statement.worst_ms >= rules.minimum_mean_ms
        and command_of(statement.text) in NORMALISED
        and not any(have_one_shape(statement.text, text) for text in named)
    ]
    for statement in slow[: rules.limit]:
        yield _statement_finding(statement)
    if tally.untold_durations:
        yield unavailable(
            "slow-log-untold",
            "server log",
            f"which statements took the time of {tally.untold_durations:,} logged durations",
            "log_statement = 'none' and log_duration = off, so that the text is logged with it",
        )


def _costliest(tally: LogTally) -> list[LoggedStatement]:
    return sorted(tally.statements.values(), key=lambda s: (-s.total_ms, s.text))


def _statement_finding(statement: LoggedStatement) -> Finding:
    begin = statement.text[:SENTENCE_TEXT].rstrip()
    shown = begin if begin == statement.text else f"{begin} ..."
    digest = hashlib.blake2b(shape_of(statement.text).encode(), digest_size=4).hexdigest()
    worst = seconds_in_words(statement.worst_ms / 1000)
    if statement.calls > 1:
        mean = seconds_in_words(statement.total_ms / statement.calls / 1000)
        cost = (
            f"{counted(statement.calls, 'slow call')} of {mean} on average, the worst of {worst}"
            f" at {statement.worst_at}"
        )
    else:
        cost = f"One slow call of {worst} at {statement.worst_at}"
    return Finding(
        code="slow-statement-logged",
        severity=Severity.WARNING,
        subject=f"statement {digest}",
        sentence=f"{cost}: {shown}",
        evidence=_row(statement),
        advice=(
            "The log has slow calls only, so that it may be fast at other times. Run it under"
            " EXPLAIN (ANALYZE, BUFFERS) with the values of a slow call."
        ),
    )


def event_findings(log: ServerLogReading) -> Iterator[Finding]:
    """Say which statements were ended or had to wait, and what of the log could not be read."""
    tally = log.tally
    if log.reading is None:
        return
    if tally.deadlocks:
        yield Finding(
            code="deadlocks-logged",
            severity=Severity.WARNING,
            subject="deadlocks",
            sentence=(
                f"{counted(tally.deadlocks, 'deadlock')}{_between(tally)}: of each the server ended"
                " one transaction, whose work was lost."
            ),
            evidence={"deadlocks": tally.deadlocks},
            advice=(
                "The server's log has both statements in the DETAIL of each. Lock rows in the same"
                " order everywhere, and repeat a transaction that ends with SQLSTATE 40P01."
            ),
        )
    if tally.cancellations:
        yield _cancellations_finding(tally)
    if tally.lock_waits:
        yield Finding(
            code="lock-waits-logged",
            severity=Severity.INFO,
            subject="lock waits",
            sentence=(
                f"{counted(tally.lock_waits, 'time')} a session waited for a lock for longer than"
                f" deadlock_timeout{_between(tally)}."
            ),
            evidence={"lock_waits": tally.lock_waits},
            advice="See who blocks whom while it happens: analysis blocking.",
        )
    if tally.temporary_bytes >= TEMPORARY_BYTES:
        yield Finding(
            code="temporary-files-logged",
            severity=Severity.INFO,
            subject="temporary files",
            sentence=(
                f"Statements wrote {bytes_in_words(tally.temporary_bytes)} to"
                f" {counted(tally.temporary_files, 'temporary file')}{_between(tally)}."
            ),
            evidence={
                "temporary_files": tally.temporary_files,
                "temporary_bytes": tally.temporary_bytes,
            },
            advice="Let them sort or hash fewer rows, or raise work_mem for those alone.",
        )
    yield from _reading_findings(log.reading)


def _cancellations_finding(tally: LogTally) -> Finding:
    ordered = sorted(tally.cancellations.items(), key=lambda item: (-item[1], item[0]))
    reasons = ", ".join(f"{count:,} for {reason}" for reason, count in ordered)
    total = sum(tally.cancellations.values())
    by_limit = any(reason.startswith(_TIMEOUTS) for reason in tally.cancellations)
    return Finding(
        code="statements-cancelled",
        severity=Severity.WARNING if by_limit else Severity.INFO,
        subject="cancelled statements",
        sentence=(
            f"{counted(total, 'statement')} {'was' if total == 1 else 'were'} cancelled"
            f"{_between(tally)}: {reasons}."
        ),
        evidence={"by_reason": dict(ordered)},
        advice=(
            "Whoever waited for them got an error. pg_stat_statements does not count them: look"
            " for their STATEMENT in the server's log."
        ),
    )


def _reading_findings(reading: Reading) -> Iterator[Finding]:
    if reading.lost_files:
        yield unavailable(
            "log-lost",
            "server log",
            f"what the end of {counted(reading.lost_files, 'log file')} said",
            "log files that are kept until the next review has read them",
        )
    if reading.left_bytes:
        yield Finding(
            code="log-left",
            severity=Severity.INFO,
            subject="server log",
            sentence=(
                f"{bytes_in_words(reading.left_bytes)} of the log are left for the next review,"
                f" because one reads {bytes_in_words(reading.read_bytes)} at the most."
            ),
            evidence={"left_bytes": reading.left_bytes, "read_bytes": reading.read_bytes},
            advice="Review more often, or log less: raise log_min_duration_statement.",
        )
    if reading.malformed_lines:
        yield Finding(
            code="log-malformed",
            severity=Severity.INFO,
            subject="server log format",
            sentence=(
                f"{counted(reading.malformed_lines, 'line')} of the log could not be read: they do"
                " not look as the server's settings say."
            ),
            evidence={"malformed_lines": reading.malformed_lines, "records": reading.records},
            advice=(
                "Lines of other programs, and lines from before log_line_prefix was changed, are"
                " harmless. A folder with logs of several servers needs a pattern in log_directory."
            ),
        )


def _between(tally: LogTally) -> str:
    if tally.first_at == tally.last_at:
        return f" at {tally.first_at}" if tally.first_at else ""
    return f" between {tally.first_at} and {tally.last_at}"


def log_tables(log: ServerLogReading, rules: SlowQueryRules) -> tuple[Table, ...]:
    """Return the statements that took longest in all."""
    rows = [_row(statement) for statement in _costliest(log.tally)[: rules.limit]]
    return (Table.of(TITLE, rows),) if rows else ()


def _row(statement: LoggedStatement) -> dict[str, Any]:
    return {
        "slow_calls": statement.calls,
        "total_ms": round(statement.total_ms, 3),
        "worst_ms": statement.worst_ms,
        "worst_at": statement.worst_at,
        "query": statement.text,
    }


def log_facts(log: ServerLogReading) -> Mapping[str, Any]:
    """Return what was read and counted."""
    tally, reading = log.tally, log.reading
    if reading is None:
        return {"log": f"not read: needs {log.needs}"}
    return {
        "log_read_bytes": reading.read_bytes,
        "log_left_bytes": reading.left_bytes,
        "log_records": reading.records,
        "log_malformed_lines": reading.malformed_lines,
        "log_first_at": tally.first_at,
        "log_last_at": tally.last_at,
        "log_names_database": tally.names_database,
        "log_minimum_ms": log.settings.minimum_ms,
        "log_slow_calls": sum(s.calls for s in tally.statements.values()),
        "log_statements_left_out": tally.left_out,
        "log_cancelled_statements": sum(tally.cancellations.values()),
        "log_lock_waits": tally.lock_waits,
        "log_deadlocks": tally.deadlocks,
        "log_temporary_files": tally.temporary_files,
        "log_temporary_bytes": tally.temporary_bytes,
    }


def log_samples(log: ServerLogReading) -> tuple[Sample, ...]:
    """Return what to keep over time; nothing where the log was not read from its last position."""
    if log.reading is None or log.reading.is_first:
        return ()
    tally = log.tally
    return (
        Sample("logged_slow_calls_count", sum(s.calls for s in tally.statements.values())),
        Sample("logged_deadlocks_count", tally.deadlocks),
        Sample("logged_cancellations_count", sum(tally.cancellations.values())),
    )


def log_in_words(log: ServerLogReading) -> str:
    """Say in a sentence what the log holds."""
    reading, tally = log.reading, log.tally
    if reading is None:
        return "The server's log cannot be read."
    read = bytes_in_words(reading.read_bytes)
    new = "the newest" if reading.is_first else "the new"
    found = _found(tally)
    whose = "" if tally.names_database else ", of all databases,"
    return f"In {new} {read} of the server's log{whose} there {found}{_between(tally)}."


def _found(tally: LogTally) -> str:
    calls = sum(statement.calls for statement in tally.statements.values())
    counts = (
        (calls, "slow call", "slow calls"),
        (sum(tally.cancellations.values()), "cancelled statement", "cancelled statements"),
        (tally.lock_waits, "long wait for a lock", "long waits for a lock"),
        (tally.deadlocks, "deadlock", "deadlocks"),
    )
    found = [counted(*count) for count in counts if count[0]]
    if not found:
        return "is nothing to tell"
    verb = "is" if found[0].startswith("1 ") else "are"
    return f"{verb} {', '.join(found)}"
