"""Indexes that the costliest statements lack, as findings with statements to run."""

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.job import Job, Progress
from maintenance.core.reports import Report, Sample
from maintenance.core.statement_text import without_literals
from maintenance.core.wording import counted, listed, percent, rows_in_words, seconds_in_words
from maintenance.postgres.connection import connect
from maintenance.postgres.django_models import models_by_table
from maintenance.postgres.indexes.advice.catalog import Catalog
from maintenance.postgres.indexes.advice.definitions import definitions_of_new
from maintenance.postgres.indexes.advice.measure import (
    StatementMeasurement,
    Surroundings,
    measure_catalog,
    measure_statements,
    measure_surroundings,
)
from maintenance.postgres.indexes.advice.proof import MAXIMUM_PROPOSALS, Proof, Prover
from maintenance.postgres.indexes.advice.proposals import (
    MINIMUM_ROWS,
    Proposal,
    best_today,
    propose,
)
from maintenance.postgres.indexes.advice.reads import TableRead
from maintenance.postgres.indexes.catalog import Definition
from maintenance.postgres.indexes.migrations import proposal_named_by_model
from maintenance.postgres.indexes.options import MissingIndexOptions
from maintenance.postgres.queries.statement_counters import StatementUse

TITLE = "Index advice"
CODE = "index-advice"

#: What brings the parser of SQL.
PARSER = "pip install celery-maintenance[advice]"

#: An index costs every write something: statements that take less of the time are left alone.
MINIMUM_TIME_RATIO = 0.01

#: Statements that a finding quotes, the costliest first.
SHOWN_STATEMENTS = 5

#: How long a proof waits for a lock: not at all, in effect.
PROOF_LOCK_TIMEOUT_SECONDS = 0.05


@dataclass(slots=True)
class _Study:
    """What was read, and what could not be."""

    reads: list[TableRead] = field(default_factory=list)
    texts: dict[str, str | None] = field(default_factory=dict)
    understood: int = 0
    unknown_tables: int = 0
    without_statistics: int = 0
    catalog: Catalog = field(default_factory=lambda: Catalog(()))


def parser_is_installed() -> bool:
    """Tell whether statements can be parsed at all."""
    return importlib.util.find_spec("sqlglot") is not None


def report_index_advice(
    job: Job[DatabaseTarget, MissingIndexOptions], thresholds: Thresholds
) -> Report:
    """Propose indexes for the statements that cost most since the previous report.

    Nothing is created; a proof asks the planner only. Raises what :func:`connect` raises.
    """
    minimum_bytes = (
        thresholds.missing_index_minimum_bytes
        if job.options.minimum_bytes is None
        else job.options.minimum_bytes
    )
    if not parser_is_installed():
        return _unavailable("statements", PARSER, job.previous_state)
    with connect(job.target, purpose="index-advice") as conn:
        measured = measure_statements(conn, job.previous_state)
        if measured.use is None:
            return _unavailable("pg_stat_statements", measured.needs, job.previous_state)
        around = measure_surroundings(conn)
        study = _studied(conn, job.target, measured, around, job.progress)
        worth = [p for p in propose(study.reads) if _is_worth(p, measured.use, minimum_bytes)]
        proposals = [p for p in worth if p.table.kind != "p"][:MAXIMUM_PROPOSALS]
        proofs, probes = _proofs(job, around, proposals, study.texts)
        kept = [
            (proposal, proof)
            for proposal, proof in zip(proposals, proofs, strict=True)
            if not proof.is_refuted
        ]
        definitions = definitions_of_new(conn, [proposal for proposal, _ in kept])
        owners = models_by_table(conn, job.target)
    findings = [
        proposal_named_by_model(
            advice_finding(proposal, proof, definition, measured.use), proposal, owners
        )
        for (proposal, proof), definition in zip(kept, definitions, strict=True)
    ]
    findings += _missing_extensions(study.reads, measured.use, minimum_bytes)
    findings += _unseen(measured, study)
    facts = {
        "advice_window_seconds": measured.use.seconds,
        "statements_examined": len(measured.statements),
        "statements_understood": study.understood,
        "unknown_tables_in_statements": study.unknown_tables,
        "indexes_refuted_by_planner": len(proposals) - len(kept),
        "indexes_of_partitioned_tables_left_out": sum(p.table.kind == "p" for p in worth),
        "explain_probes": probes,
    }
    return Report(
        title=TITLE,
        summary=_summary(len(kept), study, measured),
        findings=tuple(by_seriousness(findings)),
        facts=facts,
        samples=(Sample("index_proposals_count", len(kept)),),
        state=measured.state,
    )


def _unavailable(subject: str, needs: str, previous_state: Mapping[str, Any]) -> Report:
    finding = unavailable(CODE, subject, "index advice for statements", needs)
    return Report(
        title=TITLE,
        summary="Which statements lack an index is not known.",
        findings=(finding,),
        state=dict(previous_state),
    )


def _summary(proposals: int, study: "_Study", measured: StatementMeasurement) -> str:
    examined = counted(len(measured.statements), "statement")
    would = counted(proposals, "index", "indexes") if proposals else "no further index"
    return (
        f"Of the {examined} that cost most, {study.understood:,} could be read;"
        f" {would} would spare them much of their reading."
    )


def _studied(
    conn: Connection,
    target: DatabaseTarget,
    measured: StatementMeasurement,
    around: Surroundings,
    progress: Progress,
) -> _Study:
    # The parser is an extra, and takes more memory than all else that a worker does at rest.
    from maintenance.postgres.indexes.advice import statements  # noqa: PLC0415

    parsed = []
    for done, cost in enumerate(measured.statements):
        progress.update(done, len(measured.statements), phase="parsing", unit="statements")
        parsed.append(statements.parse(cost))
    readable = [statement for statement in parsed if statement is not None]
    names = {name for statement in readable for name in statement.table_names()}
    study = _Study(understood=len(readable), catalog=measure_catalog(conn, target, names, around))
    for statement in readable:
        reading = statements.read_tables(statement, study.catalog)
        study.reads += [read for read in reading.reads if read.table.is_known]
        study.texts[statement.cost.query_id] = reading.qualified_text
        study.unknown_tables += reading.unresolved
        study.without_statistics += reading.without_statistics
    return study


def _is_worth(proposal: Proposal, use: StatementUse, minimum_bytes: int) -> bool:
    return (
        proposal.table.size_bytes >= minimum_bytes
        and _time_ratio(proposal.total_ms, use) >= MINIMUM_TIME_RATIO
    )


def _time_ratio(total_ms: float, use: StatementUse) -> float:
    return min(1.0, total_ms / use.total_ms) if use.total_ms else 0.0


def _proofs(
    job: Job[DatabaseTarget, MissingIndexOptions],
    around: Surroundings,
    proposals: Sequence[Proposal],
    texts: Mapping[str, str | None],
) -> tuple[list[Proof], int]:
    """Return a proof for each proposal, and how many plans it took."""
    if not proposals:
        return [], 0
    if around.hypopg_schema is None:
        return [Proof(reason="needs HypoPG (CREATE EXTENSION hypopg)")] * len(proposals), 0
    with connect(
        job.target,
        may_be_kept=False,  # hypothetical indexes last as long as their session
        purpose="index-proof",
        lock_timeout_seconds=PROOF_LOCK_TIMEOUT_SECONDS,
    ) as conn:
        prover = Prover(conn, around.hypopg_schema)
        return prover.prove_all(proposals, texts, job.progress), prover.probes


def advice_finding(
    proposal: Proposal, proof: Proof, definition: Definition, use: StatementUse
) -> Finding:
    """Say what an index would spare, and what the planner says to it."""
    table, ratio = proposal.table, _time_ratio(proposal.total_ms, use)
    what = counted(len(proposal.statement_ids), "statement")
    return Finding(
        code=CODE,
        severity=Severity.WARNING if proof.is_proven else Severity.INFO,
        subject=f"{table.qualified_name} {proposal.shape.definition}",
        sentence=(
            f"An index on {table.qualified_name} {proposal.shape.definition} would spare {what}"
            f" most of the reading: about {rows_in_words(proposal.rows_before)} are read now,"
            f" {proposal.rows_after:,.0f} at each look-up with it."
            f" {'They' if len(proposal.statement_ids) > 1 else 'It'} took"
            f" {seconds_in_words(proposal.total_ms / 1000)} of the last {seconds_in_words(use.seconds)},"
            f" {percent(ratio)} of all statement time. {_proof_in_words(proof)}"
        ),
        evidence={
            "table": table.qualified_name,
            "table_rows": table.rows,
            "size_bytes": table.size_bytes,
            "definition": proposal.shape.definition,
            "rows_before": round(proposal.rows_before),
            "rows_after": round(proposal.rows_after),
            "time_ratio": round(ratio, 4),
            "cost_before": proof.cost_before,
            "cost_after": proof.cost_after,
            "statements": _shown(proposal.reads),
        },
        advice=_advice(proposal),
        commands=definition.create,
        undo=definition.drop,
    )


def _proof_in_words(proof: Proof) -> str:
    if proof.cost_before is None or proof.cost_after is None:
        return f"Not proven: {proof.reason}."
    beside = counted(proof.beside, "other proposed index", "other proposed indexes")
    return (
        f"The planner would use it: its cost falls from {proof.cost_before:,.0f} to"
        f" {proof.cost_after:,.0f} (HypoPG{f', beside {beside}' if proof.beside else ''})."
    )


def _shown(reads: Iterable[TableRead]) -> list[dict[str, Any]]:
    statements = {read.cost.query_id: read.cost for read in reads}
    costliest = sorted(statements.values(), key=lambda c: (-c.total_ms, c.query_id))
    return [
        {
            "query_id": cost.query_id,
            "text": without_literals(cost.text),
            "calls": cost.calls,
            "total_ms": round(cost.total_ms, 3),
        }
        for cost in costliest[:SHOWN_STATEMENTS]
    ]


def _advice(proposal: Proposal) -> str:
    advice = (
        "Try the statements under EXPLAIN (ANALYZE, BUFFERS) with typical values before and after:"
        " rows are estimated for a typical value. Every write to the table will keep one index more"
        " up to date."
    )
    if proposal.shape.keys[0].text in proposal.table.foreign_keys:
        advice += " Where the foreign key of this column lacks an index as well, one serves both."
    return " ".join((advice, *proposal.notes))


def _missing_extensions(
    reads: Sequence[TableRead], use: StatementUse, minimum_bytes: int
) -> list[Finding]:
    """Say which searches an extension that is missing could serve."""
    found: dict[tuple[str, str], list[TableRead]] = {}
    for read in reads:
        for search in read.searches:
            is_large = read.table.size_bytes >= minimum_bytes and best_today(read) >= MINIMUM_ROWS
            if search.missing_extension and is_large:
                place = f"{read.table.qualified_name}.{search.key.text}"
                found.setdefault((place, search.missing_extension), []).append(read)
    return [
        unavailable(
            "text-search-index",
            place,
            f"an index for {counted(len(group), 'statement')} that"
            f" {'searches' if len(group) == 1 else 'search'} {place} by LIKE",
            f"CREATE EXTENSION {extension}",
        )
        for (place, extension), group in sorted(found.items())
        if _time_ratio(sum(r.cost.total_ms for r in group), use) >= MINIMUM_TIME_RATIO
    ]


def _unseen(measured: StatementMeasurement, study: _Study) -> list[Finding]:
    """Say what could not be judged for lack of rights or statistics."""
    findings = []
    if measured.hidden:
        findings.append(
            unavailable(
                "index-advice-hidden",
                "pg_stat_statements",
                f"index advice for {counted(measured.hidden, 'statement')} of other roles",
                f"GRANT pg_read_all_stats TO {measured.role}",
            )
        )
    blind = [
        table.qualified_name
        for table in study.catalog.tables
        if not any(column.distinct is not None for column in table.columns.values())
    ]
    if study.without_statistics and blind:
        findings.append(
            unavailable(
                "index-advice-statistics",
                "pg_stats",
                f"index advice for {listed(blind)}",
                f"ANALYZE, or GRANT pg_read_all_data TO {measured.role}, because the columns'"
                " statistics are not visible",
            )
        )
    return findings
