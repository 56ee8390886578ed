"""Proves a proposal with HypoPG: the planner's cost without the index, and as if it stood there.

The statements are planned as the server's own generic plans, without values (``PREPARE`` and
``EXPLAIN EXECUTE`` under ``plan_cache_mode = force_generic_plan``); nothing is executed. Planning
looks up the ends of some indexes, which counts as scans of them: proofs are few. Source: HypoPG
documentation, "Usage"; PostgreSQL documentation, PREPARE, "Notes".
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.job import Progress
from maintenance.postgres.connection import connection_was_lost
from maintenance.postgres.driver import MARKER
from maintenance.postgres.indexes.advice.catalog import IndexShape
from maintenance.postgres.indexes.advice.proposals import Proposal

#: Proposals that are proven, and statements that each is proven with: the costliest ones.
MAXIMUM_PROPOSALS = 20
MAXIMUM_STATEMENTS = 3

#: An index must at least halve the planner's cost; less is within the error of its estimates.
MAXIMUM_COST_RATIO = 0.5

#: Access methods that HypoPG knows (documentation, "Supported access methods").
IMAGINABLE_METHODS = frozenset({"btree", "brin", "hash"})

_UNPLANNABLE = "the statement cannot be planned outside of its own session"

_NAME = "maintenance_advice"
_DOLLAR_QUOTE = re.compile(r"\$[^\W\d]\w*\$")


@dataclass(frozen=True, slots=True)
class Proof:
    """The planner's cost of one call, before and after; ``None`` where it is not proven.

    ``reason`` then says why. ``is_refuted`` is whether the planner would not use the index, or
    would gain too little by it. ``beside`` is how many other proposed indexes were taken to stand
    already.
    """

    cost_before: float | None = None
    cost_after: float | None = None
    reason: str = ""
    is_refuted: bool = False
    beside: int = 0

    @property
    def is_proven(self) -> bool:
        """Whether the planner says that the index helps."""
        return self.cost_before is not None and not self.is_refuted


class Prover:
    """A session in which indexes can be thought of; ``probes`` counts the plans it asked for."""

    def __init__(self, conn: Connection, hypopg_schema: str) -> None:
        self._conn = conn
        self._schema = sql.Identifier(hypopg_schema)
        self._standing = 0
        self.probes = 0
        self._run("SET plan_cache_mode = force_generic_plan")
        self._run("RESET max_parallel_workers_per_gather")  # the site's sessions have them
        # Only a superuser may keep our plans out of the site's statistics.
        self._run(
            "SELECT pg_catalog.set_config('pg_stat_statements.track', 'none', false)"
            " FROM pg_catalog.pg_roles WHERE rolname = current_user AND rolsuper"
        )

    def prove_all(
        self,
        proposals: Sequence[Proposal],
        texts: Mapping[str, str | None],
        progress: Progress,
    ) -> list[Proof]:
        """Return a proof for each proposal, each beside those that were proven before it.

        What is refuted is tried once more beside all others: of a join, one index may pay only
        once the other table has its own. ``texts`` are statements by identifier, with a schema
        before each table. Raises ``psycopg2.Error`` if the session is lost or its time is used up.
        """
        proofs: list[Proof] = []
        for done, proposal in enumerate(proposals):
            progress.update(done, len(proposals), phase="proving", unit="indexes")
            proofs.append(self._prove(proposal, texts))
        for position, proposal in enumerate(proposals):
            if proofs[position].is_refuted and self._standing:
                proofs[position] = self._prove(proposal, texts)
        return proofs

    def _prove(self, proposal: Proposal, texts: Mapping[str, str | None]) -> Proof:
        reason = _cannot_be_proven(proposal)
        found = [text for i in proposal.statement_ids if (text := texts.get(i))]
        usable = [text for text in found if is_surely_one_statement(text)]
        if reason or not usable:
            return Proof(reason=reason or _UNPLANNABLE)
        try:
            return self._compared(proposal, usable[:MAXIMUM_STATEMENTS])
        except psycopg2.errors.LockNotAvailable:
            return Proof(reason="the table is locked")
        except psycopg2.Error as error:
            if connection_was_lost(self._conn, error) or isinstance(
                error, psycopg2.errors.QueryCanceled
            ):
                raise
            # The server's own words could repeat a literal of the statement.
            return Proof(reason=_UNPLANNABLE)
        finally:
            if not self._conn.closed:
                self._run("DEALLOCATE ALL")

    def _compared(self, proposal: Proposal, texts: Sequence[str]) -> Proof:
        before = [self._plan(text) for text in texts]
        index_oid, index_name = self._imagine(proposal.table.qualified_name, proposal.shape)
        proof = Proof(is_refuted=True)
        try:
            proof = self._judged(proposal, before, [self._plan(text) for text in texts], index_name)
        finally:
            if proof.is_proven:
                self._standing += 1
            else:
                self._run(
                    sql.SQL("SELECT {}.hypopg_drop_index({}::oid)").format(
                        self._schema, sql.Literal(index_oid)
                    )
                )
        return proof

    def _judged(
        self,
        proposal: Proposal,
        before: Sequence[Mapping[str, Any]],
        after: Sequence[Mapping[str, Any]],
        index_name: str,
    ) -> Proof:
        gains = [
            (float(old["Total Cost"]), float(new["Total Cost"]))
            for old, new in zip(before, after, strict=True)
            if _uses(new, index_name)
        ]
        cost_before, cost_after = max(gains, key=lambda g: g[0] - g[1], default=(0.0, 0.0))
        if gains and cost_after <= MAXIMUM_COST_RATIO * cost_before:
            return Proof(cost_before, cost_after, beside=self._standing)
        if _depends_on_values(proposal):
            return Proof(reason="the gain depends on values that the statistics do not show")
        return Proof(is_refuted=True)

    def _plan(self, text: str) -> dict[str, Any]:
        # Prepared anew each time: a generic plan is kept, and would not see a new index.
        self._run(f"PREPARE {_NAME} AS {text}")
        row = self._run(
            "SELECT cardinality(parameter_types) FROM pg_catalog.pg_prepared_statements"
            " WHERE name = 'maintenance_advice'"
        )
        arguments = ", ".join(["NULL"] * row[0])
        call = f"{_NAME}({arguments})" if arguments else _NAME
        self.probes += 1
        plan = self._run(f"EXPLAIN (FORMAT JSON) EXECUTE {call}")[0]
        self._run(f"DEALLOCATE {_NAME}")
        found: dict[str, Any] = plan[0]["Plan"]
        return found

    def _imagine(self, table: str, shape: IndexShape) -> tuple[int, str]:
        create = sql.SQL("SELECT indexrelid, indexname FROM {}.hypopg_create_index({})").format(
            self._schema, sql.Literal(f"CREATE INDEX ON {table} {shape.definition}")
        )
        oid, name = self._run(create)
        return int(oid), str(name)

    def _run(self, statement: str | sql.Composable) -> tuple[Any, ...]:
        text = sql.SQL(statement) if isinstance(statement, str) else statement
        with self._conn.cursor() as cursor:
            cursor.execute(sql.SQL("{} {}").format(sql.SQL(MARKER), text))
            row = cursor.fetchone() if cursor.description else None
        return row or ()


def is_surely_one_statement(text: str) -> bool:
    """Tell whether no reading of the text could find the end of a statement in it.

    How quotes and backslashes are read depends on settings of the session that sent it. Of what
    the server has normalised, hardly anything has any.
    """
    return not any(mark in text for mark in (";", "'", "\\", "$$")) and not _DOLLAR_QUOTE.search(
        text
    )


def _cannot_be_proven(proposal: Proposal) -> str:
    """Return why no planner could say anything, empty where one could."""
    if proposal.shape.method not in IMAGINABLE_METHODS:
        return f"HypoPG cannot think of a {proposal.shape.method.upper()} index"
    return ""


def _depends_on_values(proposal: Proposal) -> bool:
    """Tell whether the index is for a range, which a planner without values takes for wide."""
    last = proposal.shape.keys[-1].text
    return any(last in read.ranges for read in proposal.reads)


def _uses(plan: Mapping[str, Any], index_name: str) -> bool:
    if plan.get("Index Name") == index_name:
        return True
    return any(_uses(child, index_name) for child in plan.get("Plans", ()))
