"""How the server would run a statement of which only the normalised text is known.

``EXPLAIN (GENERIC_PLAN)``, from PostgreSQL 16 on; before, a plan without values is withheld. Nothing
is executed: ANALYZE is used nowhere, on no statement. Planning itself looks up the ends of indexes
where a join could be a merge of two of them (two scans of each) or a constant is compared by range
(one), and the server counts that as scans of the site (measured on 18; with parameters in place of
constants it does not). Where the role may, the session is not counted at all; where it may not, the
scans of each statement are read from the transaction itself and told.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.statement_text import NORMALISED, command_of
from maintenance.postgres.connection import connection_was_lost
from maintenance.postgres.driver import MARKER
from maintenance.postgres.indexes.advice.proof import is_surely_one_statement
from maintenance.postgres.sql_files import query, server_major

#: PostgreSQL 16 release notes: "Allow EXPLAIN to explain a generic plan".
OLDEST_MAJOR = 16
#: The slowest statements are planned; one that takes longer to plan is let go.
MAXIMUM_PLANS = 10
PLANNING_MS = 2000
#: ``statement_texts.sql`` cuts longer ones, which cannot be planned then.
MAXIMUM_TEXT = 20_000


@dataclass(frozen=True, slots=True)
class GenericPlan:
    """``steps`` from the top: ``Limit > Seq Scan on book``; ``reads_whole`` are tables read so."""

    cost: float
    rows: float
    steps: str
    reads_whole: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GenericPlans:
    """Plans by identifier of the statement.

    ``withheld`` says why there are none at all. ``own_scans`` is how often planning looked into
    indexes of the site in a way that the server counts, 0 where this session is not counted.
    """

    plans: Mapping[str, GenericPlan]
    tried: int = 0
    own_scans: int = 0
    withheld: str = ""


def generic_plans(conn: Connection, texts: Mapping[str, str]) -> GenericPlans:
    """Plan the first statements of ``texts``, whole normalised texts by identifier.

    Those that cannot be planned outside of their own session are left out. Raises
    ``psycopg2.Error`` if the session is lost.
    """
    major = server_major(conn)
    if major < OLDEST_MAJOR:
        return GenericPlans({}, withheld=f"needs PostgreSQL {OLDEST_MAJOR}, this is {major}")
    with conn.cursor() as cursor:
        # Tables are named as the site's own sessions name them.
        cursor.execute(f"{MARKER} RESET search_path")
        cursor.execute(f"{MARKER} SET statement_timeout = {PLANNING_MS}")
    plans: dict[str, GenericPlan] = {}
    own_scans = 0
    usable = [(i, text) for i, text in texts.items() if _is_plannable(text)][:MAXIMUM_PLANS]
    for identifier, text in usable:
        found, scans = _plan(conn, text)
        own_scans += scans
        if found is not None:
            plans[identifier] = found
    return GenericPlans(plans, tried=len(usable), own_scans=own_scans)


def _is_plannable(text: str) -> bool:
    return (
        len(text) <= MAXIMUM_TEXT
        and command_of(text) in NORMALISED
        and is_surely_one_statement(text)
    )


def _plan(conn: Connection, text: str) -> tuple[GenericPlan | None, int]:
    """Return the plan, and the scans that planning cost; the transaction holds their count."""
    with conn.cursor() as cursor:
        cursor.execute(f"{MARKER} BEGIN READ ONLY")
        try:
            # What earlier transactions left is reported to the server between two of them only.
            before = _own_scans(conn)
            cursor.execute(f"{MARKER} EXPLAIN (GENERIC_PLAN, FORMAT JSON) {text}")
            row = cursor.fetchone()
            scans = _own_scans(conn) - before
        except psycopg2.Error as error:
            # The server's own words could repeat a literal of the statement: nothing of it is kept.
            if connection_was_lost(conn, error):
                raise
            return None, 0
        finally:
            if not conn.closed:
                cursor.execute(f"{MARKER} ROLLBACK")
    return (None if row is None else _plan_of(row[0][0]["Plan"])), scans


def _own_scans(conn: Connection) -> int:
    return int(query(conn, "own_index_scans")[0]["scans"])


def _plan_of(top: Mapping[str, Any]) -> GenericPlan:
    nodes = list(_nodes(top))
    return GenericPlan(
        cost=float(top["Total Cost"]),
        rows=float(top["Plan Rows"]),
        steps=" > ".join(_step(node) for node in nodes[:8]),
        reads_whole=tuple(
            dict.fromkeys(
                node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"
            )
        ),
    )


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    children: Sequence[Mapping[str, Any]] = plan.get("Plans", ())
    for child in children:
        yield from _nodes(child)


def _step(node: Mapping[str, Any]) -> str:
    on = node.get("Index Name") or node.get("Relation Name")
    return f"{node['Node Type']} on {on}" if on else str(node["Node Type"])
