"""The server as a whole, topic by topic; one topic that cannot be measured leaves the others standing."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import by_seriousness, unavailable
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Table
from maintenance.core.wording import listed
from maintenance.postgres.connection import connect, connection_was_lost, reason_of
from maintenance.postgres.server.archiver import examine_archiver
from maintenance.postgres.server.aspect import Aspect, Examine
from maintenance.postgres.server.checkpoints import examine_checkpoints
from maintenance.postgres.server.checksums import examine_checksums
from maintenance.postgres.server.collations import examine_collations
from maintenance.postgres.server.conflicts import examine_conflicts
from maintenance.postgres.server.extensions import examine_extensions
from maintenance.postgres.server.replication_slots import examine_replication_slots
from maintenance.postgres.server.standbys import examine_standbys
from maintenance.postgres.server.temporary_files import examine_temporary_files

#: What is looked at, in the order of the report.
TOPICS: Mapping[str, Examine] = {
    "checkpoints": examine_checkpoints,
    "archiver": examine_archiver,
    "replication slots": examine_replication_slots,
    "standbys": examine_standbys,
    "temporary files": examine_temporary_files,
    "conflicts": examine_conflicts,
    "extensions": examine_extensions,
    "collations": examine_collations,
    "checksums": examine_checksums,
}

#: A summary is one sentence that can be read; more clauses than these go into a table.
CLAUSES_SAID = 3


def review_database_server(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Look at checkpoints, WAL, replication, temporary files, versions and checksums.

    Counters are compared with those of the last run, whose state they are kept in. Raises what
    :func:`connect` raises.
    """
    return _report("Database server", job, thresholds, tuple(TOPICS))


def report_checkpoints(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Say whether checkpoints come by the clock, and whether WAL gets to its archive."""
    return _report("Checkpoints and WAL", job, thresholds, ("checkpoints", "archiver"))


def report_replication(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Say who is behind whom, what slots keep, and what a standby cancelled."""
    topics = ("replication slots", "standbys", "conflicts")
    return _report("Replication and conflicts", job, thresholds, topics)


def report_temporary_files(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Say how much went through temporary files."""
    return _report("Temporary files", job, thresholds, ("temporary files",))


def report_extensions(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Name extensions that can be updated."""
    return _report("Extensions", job, thresholds, ("extensions",))


def report_collations(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Name indexes whose collation changed its rules."""
    return _report("Collations", job, thresholds, ("collations",))


def report_checksums(job: Job[DatabaseTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Say whether damaged pages would be noticed, and were."""
    return _report("Data checksums", job, thresholds, ("checksums",))


def _report(
    title: str,
    job: Job[DatabaseTarget, NoOptions],
    thresholds: Thresholds,
    topics: Sequence[str],
) -> Report:
    aspects: dict[str, Aspect] = {}
    with connect(job.target, purpose="server") as conn:
        for done, topic in enumerate(topics):
            job.progress.update(done, len(topics), phase=topic, unit="topics")
            previous = job.previous_state.get(topic, {})
            aspects[topic] = _examined(conn, topic, thresholds, previous)
    findings = [finding for aspect in aspects.values() for finding in aspect.findings]
    return Report(
        title=f"{title} of {job.target_name}",
        summary=_summary(aspects),
        findings=tuple(by_seriousness(findings)),
        tables=(
            *_topics_table(aspects),
            *(table for aspect in aspects.values() for table in aspect.tables),
        ),
        facts={k: v for aspect in aspects.values() for k, v in aspect.facts.items()},
        samples=tuple(sample for aspect in aspects.values() for sample in aspect.samples),
        state={topic: dict(aspect.state) for topic, aspect in aspects.items() if aspect.state},
    )


def _examined(
    conn: Connection, topic: str, thresholds: Thresholds, previous: Mapping[str, Any]
) -> Aspect:
    try:
        return TOPICS[topic](conn, thresholds, previous)
    except psycopg2.errors.InsufficientPrivilege as error:
        needs = f"GRANT pg_monitor to the maintenance role ({reason_of(error)})"
        withheld = unavailable(f"{topic.replace(' ', '-')}-rights", topic, topic, needs)
        return Aspect(f"{topic} could not be measured", (withheld,), state=previous)
    except psycopg2.Error as error:
        if connection_was_lost(conn, error):
            raise
        needs = f"a server that answers: PostgreSQL ended it ({reason_of(error)})"
        withheld = unavailable(f"{topic.replace(' ', '-')}-failed", topic, topic, needs)
        return Aspect(f"{topic} could not be measured", (withheld,), state=previous)


def _summary(aspects: Mapping[str, Aspect]) -> str:
    """Say every clause of a few topics; of many, only which have something to say."""
    talking = [topic for topic, aspect in aspects.items() if aspect.findings]
    if len(aspects) > CLAUSES_SAID:
        quiet = f"{len(aspects) - len(talking)} of {len(aspects)} topics of the server are in order"
        if not talking:
            return f"Nothing to do: {quiet}."
        return f"{quiet}; there is something to read about {listed(talking, len(talking))}."
    text = "; ".join(aspect.clause for aspect in aspects.values()) + "."
    return text[:1].upper() + text[1:] if talking else f"Nothing to do: {text}"


def _topics_table(aspects: Mapping[str, Aspect]) -> tuple[Table, ...]:
    if len(aspects) <= CLAUSES_SAID:
        return ()
    rows = [{"topic": topic, "result": aspect.clause} for topic, aspect in aspects.items()]
    return (Table.of("What was looked at", rows),)
