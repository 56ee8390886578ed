"""What is offered before a VACUUM FULL: the ways that leave the site at work."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding
from maintenance.postgres.activity.sessions import XminHolder
from maintenance.postgres.bloat.index_report import IndexBloat
from maintenance.postgres.bloat.packing import PageSample, packed_size
from maintenance.postgres.bloat.table_report import TableBloat
from maintenance.postgres.rewrite.plan import OLD_TRANSACTIONS, Candidate, Conditions, plan_rewrite
from maintenance.postgres.rewrite.report import better_ways

MB = 1024**2
THRESHOLDS = Thresholds(minimum_bloat_bytes=MB, index_bloat_warning_ratio=0.3)


def index(name: str, size_mb: int, fresh_mb: int | None) -> IndexBloat:
    return IndexBloat(
        oid=sum(name.encode()),
        subject=f"public.t.{name}",
        table="public.t",
        method="btree",
        size_bytes=size_mb * MB,
        rebuild=f'REINDEX INDEX CONCURRENTLY "public"."{name}"',
        fresh_bytes=None if fresh_mb is None else fresh_mb * MB,
        ratio=None if fresh_mb is None else 1 - fresh_mb / size_mb,
    )


def candidate(name: str = "t", *, pages: int = 12_800, rows: int = 10, **values: Any) -> Candidate:
    """A table of 100 MB; ``rows`` of 100 bytes on each page, of which 81 have room."""
    sample = [PageSample((96,) * rows)] * 10
    bloat = TableBloat(
        subject=f"public.{name}",
        qualified_name=f"public.{name}",
        size_bytes=pages * 8192,
        estimate=packed_size(sample, pages, 100),
    )
    fields = {
        "oid": 1,
        "schema": "public",
        "name": name,
        "qualified_name": f"public.{name}",
        "statement": f"VACUUM FULL public.{name}",
        "heap_bytes": pages * 8192,
        "toast_bytes": 0,
        "index_bytes": 50 * MB,
        "is_catalog": False,
        "may_maintain": True,
        "bloat": bloat,
    }
    return Candidate(**{**fields, **values})


def ways(*candidates: Candidate, tools: Sequence[str] = (), major: int = 18) -> dict[str, Finding]:
    return {f.code: f for f in better_ways(candidates, tools, major, THRESHOLDS)}


def test_what_has_no_bloat_needs_no_better_way() -> None:
    full = candidate(rows=81)
    assert full.gain_bytes == 0
    assert ways(full, tools=["pg_repack"]) == {}
    assert ways(replace(full, bloat=None)) == {}


def test_without_a_tool_the_missing_ones_are_named() -> None:
    found = ways(candidate())["rewrite-without-lock"]
    assert "pg_repack or pg_squeeze, neither of which is installed" in found.sentence
    assert found.commands == ()


@pytest.mark.parametrize(
    ("tools", "words", "commands"),
    [
        (["pg_repack"], "pg_repack gives", ["pg_repack --table=public.t"]),
        (["pg_squeeze"], "pg_squeeze gives", ["SELECT squeeze.squeeze_table('public', 't');"]),
        (
            ["pg_repack", "pg_squeeze"],
            "pg_repack or pg_squeeze gives",
            ["pg_repack --table=public.t", "SELECT squeeze.squeeze_table('public', 't');"],
        ),
    ],
)
def test_the_tools_that_are_installed_are_offered_with_their_commands(
    tools: list[str], words: str, commands: list[str]
) -> None:
    found = ways(candidate(), tools=tools)["rewrite-without-lock"]
    assert found.sentence.startswith(words)
    assert list(found.commands) == commands


def test_names_are_quoted_for_whoever_reads_the_command() -> None:
    odd = candidate(qualified_name='public."it\'s $HOME"', name="it's $HOME")
    repack = ways(odd, tools=["pg_repack"])["rewrite-without-lock"].commands
    assert repack == ("pg_repack --table='public.\"it'\"'\"'s $HOME\"'",)
    squeeze = ways(odd, tools=["pg_squeeze"])["rewrite-without-lock"].commands
    assert squeeze == ("SELECT squeeze.squeeze_table('public', 'it''s $HOME');",)


def test_from_19_on_the_server_does_it_whatever_is_installed() -> None:
    found = ways(candidate(), candidate("u"), tools=["pg_repack"], major=19)["rewrite-without-lock"]
    assert found.sentence.startswith("REPACK (CONCURRENTLY) of this server gives")
    assert found.commands == (
        "REPACK (CONCURRENTLY) public.t;",
        "REPACK (CONCURRENTLY) public.u;",
    )


def test_where_the_indexes_are_the_larger_part_their_rebuild_is_offered_first() -> None:
    indexes = (index("t_n", 30, 5), index("t_id", 10, 9), index("t_gin", 10, None))
    lean = candidate(rows=70, indexes=indexes)
    assert lean.gain_bytes is not None
    assert 0 < lean.gain_bytes < lean.index_gain_bytes == 26 * MB

    found = ways(lean)

    assert list(found) == ["rewrite-indexes-instead", "rewrite-without-lock"]
    instead = found["rewrite-indexes-instead"]
    assert "the larger part is in its indexes: 26 MB" in instead.sentence
    assert instead.commands == ('REINDEX INDEX CONCURRENTLY "public"."t_n";',)


def test_where_the_rows_are_the_larger_part_or_little_is_to_be_had_no_rebuild_is_offered() -> None:
    bloated = candidate(rows=10, indexes=(index("t_n", 30, 5),))
    assert list(ways(bloated)) == ["rewrite-without-lock"]
    hardly = index("t_m", 90, 70)  # less of it than the threshold calls bloated
    assert ways(candidate(rows=81, indexes=(hardly,))) == {}
    small = replace(index("t_n", 1, 0), size_bytes=MB // 2)
    assert ways(candidate(rows=81, indexes=(small,))) == {}


def refusals(kind: str, state: str | None, xid_age: int) -> list[str]:
    holder = XminHolder(kind, "7", "replicator", "standby", state, None, xid_age)
    conditions = Conditions(3600.0, 0.2, holders=(holder,))
    steps, refused = plan_rewrite([candidate()], conditions)
    assert bool(steps) is not bool(refused)
    return [one.reason for one in refused]


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("replication slot", "End the long query on its standby"),
        ("standby", "End the long query on the standby"),
    ],
)
def test_what_follows_the_site_closely_holds_nothing_up(kind: str, remedy: str) -> None:
    assert refusals(kind, "active", OLD_TRANSACTIONS - 1) == []
    (reason,) = refusals(kind, "active", OLD_TRANSACTIONS)
    assert remedy in reason
    assert "drop the slot" not in reason


@pytest.mark.parametrize(
    ("kind", "state", "remedy"),
    [
        ("replication slot", "inactive", "Bring its consumer back, or drop the slot"),
        ("session", None, "End that transaction"),  # its times are hidden
    ],
)
def test_what_may_stay_for_ever_holds_a_rewrite_up(
    kind: str, state: str | None, remedy: str
) -> None:
    (reason,) = refusals(kind, state, 1)
    assert remedy in reason
