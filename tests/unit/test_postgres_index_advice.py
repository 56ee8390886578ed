"""Advice on indexes: what statements read, and which index would serve them."""

import logging
from dataclasses import replace
from typing import Any

import pytest
from django.db.models import Q
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.findings import Severity
from maintenance.postgres.indexes.advice.catalog import (
    Catalog,
    Column,
    IndexKey,
    IndexShape,
    Table,
)
from maintenance.postgres.indexes.advice.proof import (
    Proof,
    is_surely_one_statement,
)
from maintenance.postgres.indexes.advice.proposals import (
    FEW_ROWS,
    MERGE_TOLERANCE,
    Proposal,
    best_today,
    propose,
    rows_looked_at,
)
from maintenance.postgres.indexes.advice.reads import Cost, TableRead
from maintenance.postgres.indexes.advice.report import advice_finding
from maintenance.postgres.indexes.advice.statements import parse, read_tables
from maintenance.postgres.indexes.catalog import Definition
from maintenance.postgres.indexes.migrations import index_of_model
from maintenance.postgres.queries.statement_counters import StatementUse
from tests.testapp.models import Book


def column(name: str, type_name: str = "int4", category: str = "N", **stated: Any) -> Column:
    quoted = name if name.isidentifier() and name.islower() else '"' + name + '"'
    known = {"distinct": -1.0, "null_ratio": 0.0, "mean_bytes": 8.0, **stated}
    return Column(name, quoted, type_name, category, **known)


def table(name: str, *columns: Column, oid: int = 1, **stated: Any) -> Table:
    quoted = name if name.isidentifier() and name.islower() else '"' + name + '"'
    known = {
        "schema": "public",
        "rows": 1_000_000.0,
        "size_bytes": 10**9,
        "primary_key": ("id",),
        "indexes": (btree("id"),),
        **stated,
    }
    qualified = f"{known['schema']}.{quoted}"
    return Table(oid, name=name, qualified_name=qualified, columns=_by_name(columns), **known)


def _by_name(columns: tuple[Column, ...]) -> dict[str, Column]:
    return {c.name: c for c in columns}


def btree(*keys: str, **stated: Any) -> IndexShape:
    return IndexShape("btree", tuple(IndexKey(key) for key in keys), **stated)


STATUS = table(
    "status",
    column("id"),
    column("user_id", distinct=5000),
    column("privacy", "varchar", "S", distinct=4),
    column("published_date", "timestamptz", "D"),
    column("deleted", "bool", "B", distinct=2, true_ratio=0.7),
    column("is_active", "bool", "B", distinct=2, true_ratio=0.9),
    column("parent_id", distinct=1000, null_ratio=0.98),
    column("content", "text", "S"),
    column("tags", "_text", "A"),
    column("data", "jsonb", "U"),
    column("vector", "tsvector", "U"),
)
USER = table("user", column("id"), column("username", "varchar", "S"), oid=2)
ODD = table('Odd "x" 100%', column("id"), column("Key K"), oid=3)
CATALOG = Catalog([STATUS, USER, ODD], trigram_operator_class="public.gin_trgm_ops")


def cost(text: str, calls: int = 10, rows: int = 10, total_ms: float = 1000.0) -> Cost:
    return Cost(str(hash(text)), text, calls, total_ms, rows)


def reads(text: str, catalog: Catalog = CATALOG, **stated: Any) -> tuple[TableRead, ...]:
    statement = parse(cost(text, **stated))
    assert statement is not None
    return read_tables(statement, catalog).reads


def proposed(*texts: str, catalog: Catalog = CATALOG, **stated: Any) -> list[str]:
    """Return the proposed definitions, without the keyword and the table's schema."""
    found = [read for text in texts for read in reads(text, catalog, **stated)]
    return [f"{p.table.name} {p.shape.definition}" for p in propose(found)]


GIN_CONTENT = "status USING gin (content public.gin_trgm_ops)"

#: Statements as pg_stat_statements has them, many as Django writes them, and what they want.
WANTED = {
    "SELECT * FROM status WHERE user_id = $1": ["status (user_id)"],
    "SELECT * FROM status WHERE $1 = user_id": ["status (user_id)"],
    "SELECT * FROM status AS s WHERE s.user_id IN ($1, $2 /*, ... */)": ["status (user_id)"],
    "SELECT * FROM public.status WHERE user_id = ANY($1)": ["status (user_id)"],
    'SELECT "status"."id" FROM "status" WHERE ("status"."user_id" = $1 AND "status"."privacy" = $2)'
    ' ORDER BY "status"."published_date" DESC LIMIT $3': ["status (user_id, published_date DESC)"],
    "SELECT id FROM status ORDER BY published_date DESC LIMIT $1": ["status (published_date DESC)"],
    "SELECT id FROM status ORDER BY published_date DESC NULLS LAST LIMIT $1": [
        "status (published_date DESC NULLS LAST)"
    ],
    "SELECT id FROM status WHERE id = $1 ORDER BY published_date LIMIT $2": [],
    "SELECT id FROM status ORDER BY id DESC LIMIT $1": [],
    "SELECT count(*) FROM status": [],
    "SELECT count(*) FROM status WHERE NOT deleted AND privacy = $1": [],
    "SELECT count(*) FROM status WHERE published_date BETWEEN $1 AND $2": [
        "status (published_date)"
    ],
    "SELECT count(*) FROM status WHERE published_date >= $1 AND published_date < $2": [
        "status (published_date)"
    ],
    "SELECT count(*) FROM status WHERE published_date > $1": [],
    'SELECT u.id FROM "user" AS u WHERE UPPER(u.username::text) = UPPER($1)': [
        "user (upper(username))"
    ],
    "SELECT id FROM public.user WHERE lower(username) = $1": ["user (lower(username))"],
    "SELECT id FROM status WHERE content LIKE $1": [GIN_CONTENT],
    "SELECT id FROM status WHERE UPPER(content::text) LIKE UPPER($1)": [
        "status USING gin (upper(content) public.gin_trgm_ops)"
    ],
    "SELECT count(*) FROM status WHERE data @> $1": ["status USING gin (data)"],
    "SELECT count(*) FROM status WHERE tags @> $1": ["status USING gin (tags)"],
    "SELECT count(*) FROM status WHERE vector @@ plainto_tsquery($1)": [
        "status USING gin (vector)"
    ],
    "SELECT count(*) FROM status"
    " WHERE to_tsvector($1::regconfig, COALESCE(content, $2)) @@ (plainto_tsquery($3))": [
        "status USING gin (to_tsvector('simple', COALESCE(content, '')))"
    ],
    # The session's own configuration is not immutable: no index can serve it.
    "SELECT count(*) FROM status WHERE to_tsvector(content) @@ plainto_tsquery($1)": [],
    "UPDATE status SET privacy = $1 WHERE user_id = $2": ["status (user_id)"],
    "DELETE FROM status AS s WHERE s.user_id IN ($1)": ["status (user_id)"],
    "DELETE FROM status WHERE user_id IN (SELECT id FROM public.user WHERE username = $1)": [
        "status (user_id)",
        "user (username)",
    ],
    "SELECT s.id FROM status s INNER JOIN public.user u ON (s.user_id = u.id) WHERE u.username = $1": [
        "status (user_id)",
        "user (username)",
    ],
    # Nothing narrows the join down: whole tables are hashed, and rightly.
    "SELECT s.id FROM status s INNER JOIN public.user u ON (s.user_id = u.id)": [],
    "SELECT u.id FROM public.user u WHERE EXISTS (SELECT $1 FROM status s WHERE s.user_id = u.id)": [
        "status (user_id)"
    ],
    "WITH mine AS (SELECT id FROM status WHERE user_id = $1) SELECT * FROM mine WHERE id = $2": [
        "status (user_id)"
    ],
    "WITH status AS (SELECT $1 AS user_id) SELECT * FROM status WHERE user_id = $2": [],
    "SELECT * FROM (SELECT id FROM status WHERE user_id = $1) AS q LIMIT $2": ["status (user_id)"],
    "SELECT id FROM status WHERE user_id = $1 UNION ALL SELECT id FROM public.user WHERE username = $2": [
        "status (user_id)",
        "user (username)",
    ],
    'SELECT * FROM "Odd ""x"" 100%" WHERE "Key K" = $1': ['Odd "x" 100% ("Key K")'],
    "SELECT * FROM STATUS WHERE User_Id = $1": ["status (user_id)"],
    'SELECT * FROM "STATUS" WHERE user_id = $1': [],
    "SELECT * FROM elsewhere.status WHERE user_id = $1": [],
    "SELECT id FROM status WHERE user_id = id": [],
    "SELECT id FROM status WHERE user_id = $1 OR parent_id = $2": [],
    "SELECT id FROM status WHERE user_id <> $1": [],
    "SELECT id FROM status WHERE user_id + $1 = $2": [],
    "SELECT lower(content) AS published_date FROM status ORDER BY published_date LIMIT $1": [],
    # An outer join restricts its inner side alone.
    "SELECT s.id FROM status s LEFT JOIN public.user u ON u.username = $1 AND s.user_id = $2": [
        "user (username)"
    ],
    "SELECT s.id FROM status s FULL JOIN public.user u ON s.user_id = $1": [],
}


@pytest.mark.parametrize("text", WANTED)
def test_each_statement_wants_this_index(text: str) -> None:
    assert sorted(proposed(text)) == sorted(WANTED[text])


def test_partial_index_where_the_condition_leaves_out_most_rows() -> None:
    rare = replace(
        STATUS,
        columns={**STATUS.columns, "deleted": column("deleted", "bool", "B", true_ratio=0.9999)},
    )
    text = "SELECT id FROM status WHERE NOT deleted AND published_date < $1"
    assert proposed(text, catalog=Catalog([rare])) == ["status (published_date) WHERE NOT deleted"]


def test_conditions_of_several_columns_are_written_as_in_the_guide() -> None:
    columns = {
        **STATUS.columns,
        "deleted": column("deleted", "bool", "B", true_ratio=0.4),
        "is_active": column("is_active", "bool", "B", true_ratio=0.05),
    }
    catalog = Catalog([replace(STATUS, columns=columns)])
    text = "SELECT id FROM status WHERE is_active AND NOT deleted"
    assert proposed(text, catalog=catalog) == ["status (id) WHERE NOT deleted AND is_active"]


def test_null_values_that_are_rare_make_a_partial_index() -> None:
    columns = {**STATUS.columns, "parent_id": column("parent_id", null_ratio=0.001)}
    catalog = Catalog([replace(STATUS, columns=columns)])
    text = "SELECT id FROM status WHERE parent_id IS NULL"
    assert proposed(text, catalog=catalog) == ["status (id) WHERE parent_id IS NULL"]


@pytest.mark.parametrize(
    ("index", "serves"),
    [
        (btree("user_id"), True),
        (btree("user_id", "privacy"), True),
        (btree("privacy", "user_id"), False),
        (btree("user_id", predicate="user_id IS NOT NULL"), True),
        (btree("user_id", predicate="NOT deleted"), False),
        (IndexShape("hash", (IndexKey("user_id"),)), True),
        (IndexShape("gin", (IndexKey("user_id"),)), False),
    ],
)
def test_what_an_index_serves_already_is_not_proposed(index: IndexShape, *, serves: bool) -> None:
    catalog = Catalog([replace(STATUS, indexes=(index,))])
    assert (proposed("SELECT * FROM status WHERE user_id = $1", catalog=catalog) == []) is serves


def test_an_existing_index_on_the_same_expression_is_recognised_as_the_server_prints_it() -> None:
    catalog = Catalog([replace(USER, indexes=(btree("upper((username)::text)"),))])
    text = 'SELECT 1 FROM "user" WHERE UPPER("user"."username"::text) = UPPER($1)'
    assert proposed(text, catalog=catalog) == []


def test_an_existing_index_is_read_backwards_but_not_with_other_nulls() -> None:
    text = "SELECT id FROM status ORDER BY published_date DESC LIMIT $1"
    ascending = IndexShape("btree", (IndexKey("published_date"),))
    nulls_first = IndexShape("btree", (IndexKey("published_date", nulls_first=True),))
    assert proposed(text, catalog=Catalog([replace(STATUS, indexes=(ascending,))])) == []
    assert proposed(text, catalog=Catalog([replace(STATUS, indexes=(nulls_first,))])) != []


def test_prefixes_are_merged_and_what_many_use_goes_first() -> None:
    coarse = replace(
        STATUS,
        columns={
            **STATUS.columns,
            "user_id": column("user_id", distinct=500),
            "parent_id": column("parent_id", distinct=500),
        },
    )
    found = proposed(
        "SELECT count(*) FROM status WHERE parent_id = $1 AND user_id = $2",
        "SELECT count(*) FROM status WHERE user_id = $1",
        "SELECT max(id) FROM status WHERE user_id = $1",
        catalog=Catalog([coarse]),
    )
    assert found == ["status (user_id, parent_id)"]


def test_a_small_or_unselective_table_gets_no_index() -> None:
    text = "SELECT * FROM status WHERE user_id = $1"
    assert proposed(text, catalog=Catalog([replace(STATUS, rows=900.0)])) == []
    few = {**STATUS.columns, "user_id": column("user_id", distinct=10)}
    counting = "SELECT count(*) FROM status WHERE user_id = $1"
    assert proposed(counting, catalog=Catalog([replace(STATUS, columns=few)])) == []


def test_without_statistics_nothing_is_proposed_and_it_is_counted() -> None:
    blind = {**STATUS.columns, "user_id": column("user_id", distinct=None, null_ratio=None)}
    statement = parse(cost("SELECT * FROM status WHERE user_id = $1"))
    assert statement is not None
    reading = read_tables(statement, Catalog([replace(STATUS, columns=blind)]))
    assert propose(reading.reads) == ()
    assert reading.without_statistics == 1


def test_counted_rows_say_how_wide_a_range_is() -> None:
    text = "SELECT id FROM status WHERE published_date > $1"
    assert proposed(text, calls=10, rows=1000) == ["status (published_date)"]
    assert proposed(text, calls=10, rows=9_000_000) == []


def test_like_without_the_extension_wants_no_index_but_says_what_is_missing() -> None:
    (read,) = reads("SELECT id FROM status WHERE content LIKE $1", Catalog([STATUS]))
    assert propose([read]) == ()
    assert [search.missing_extension for search in read.searches] == ["pg_trgm"]


def test_wide_values_are_no_key() -> None:
    wide = {**USER.columns, "username": column("username", "text", "S", mean_bytes=900.0)}
    catalog = Catalog([replace(USER, columns=wide)])
    assert proposed("SELECT id FROM public.user WHERE username = $1", catalog=catalog) == []


def test_an_unqualified_name_that_several_schemas_have_is_left_alone() -> None:
    other = replace(STATUS, oid=9, schema="tenant")
    text = "SELECT * FROM status WHERE user_id = $1"
    assert proposed(text, catalog=Catalog([STATUS, other])) == ["status (user_id)"]
    both = Catalog([STATUS, other], search_path=("tenant", "public"))
    assert proposed(text, catalog=both) == []


def test_a_statement_is_qualified_where_its_tables_stand_and_nowhere_else() -> None:
    statement = parse(cost('SELECT status.id FROM status, "user" u WHERE status.user_id = u.id'))
    assert statement is not None
    assert read_tables(statement, CATALOG).qualified_text == (
        "SELECT status.id FROM public.status, public.user u WHERE status.user_id = u.id"
    )
    unknown = parse(cost("SELECT 1 FROM nowhere"))
    assert unknown is not None
    assert read_tables(unknown, CATALOG).qualified_text is None


@pytest.mark.parametrize(
    "text", ["", "VACUUM", "SELECT 1; SELECT 2", "INSERT INTO t VALUES (1)", "SELECT ("]
)
def test_what_is_no_readable_query_is_left_out(text: str) -> None:
    assert parse(cost(text)) is None


WORDS = st.sampled_from(
    [
        "SELECT",
        "FROM",
        "WHERE",
        "status",
        "user_id",
        "=",
        "$1",
        "AND",
        "OR",
        "NOT",
        "(",
        ")",
        ",",
        "*",
        "IN",
        "ANY",
        "LIKE",
        "ORDER",
        "BY",
        "LIMIT",
        "DESC",
        "JOIN",
        "ON",
        "LEFT",
        "UPDATE",
        "SET",
        "DELETE",
        "USING",
        "WITH",
        "AS",
        "id",
        "IS",
        "NULL",
        "@>",
        "@@",
        "to_tsvector",
        "lower",
        "'",
        '"',
        "::text",
        "BETWEEN",
        "EXISTS",
        "UNION",
        "public",
        ".",
        "LATERAL",
        "VALUES",
        "CASE",
        "WHEN",
        "THEN",
        "END",
        "interval",
    ]
)


@given(
    st.one_of(
        st.text(),
        st.text().map("SELECT {}".format),
        st.lists(WORDS, max_size=25).map(lambda words: " ".join(["SELECT", *words])),
        st.lists(WORDS, max_size=25).map(lambda words: " ".join(["UPDATE status", *words])),
    )
)
def test_no_text_makes_it_raise(text: str) -> None:
    statement = parse(cost(text))
    if statement is not None:
        statement.table_names()
        propose(read_tables(statement, CATALOG).reads)


def test_the_parser_logs_nothing_of_a_statement(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        parse(cost("SELECT 'secret' FROM a b c d !! ~"))
        parse(cost("WITH x AS (DELETE FROM t WHERE a = 'secret' RETURNING *) SELECT * FROM x"))
    assert caplog.records == []


some_keys = st.sampled_from(["user_id", "parent_id", "privacy", "published_date"])


@given(
    st.lists(
        st.tuples(st.lists(some_keys, min_size=1, max_size=3, unique=True), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
def test_every_statement_that_wanted_an_index_has_one_of_its_own_worth(
    shapes: list[tuple[list[str], bool]],
) -> None:
    texts = [
        f"SELECT * FROM status WHERE {' AND '.join(f'{key} = $1' for key in keys)}"
        + (" ORDER BY published_date DESC LIMIT $2" if limited else "")
        for keys, limited in shapes
    ]
    given_reads = [read for text in texts for read in reads(text)]
    together = propose(given_reads)
    for read in given_reads:
        for alone in propose([read]):
            best = min(rows_looked_at(p.shape, read) for p in together)
            assert best <= MERGE_TOLERANCE**2 * max(FEW_ROWS, rows_looked_at(alone.shape, read))
            assert rows_looked_at(alone.shape, read) < best_today(read)


USE = StatementUse((), started_at=0.0, ended_at=86_400.0, follows_previous=True, evictions=0)
DEFINITION = Definition(("DROP INDEX CONCURRENTLY i;",), ("CREATE INDEX CONCURRENTLY i;",))


def a_proposal() -> Proposal:
    (found,) = propose(reads("SELECT * FROM status WHERE user_id = $1 AND id <> 'secret'"))
    return found


def test_an_unproven_index_is_a_note_and_says_what_a_proof_needs() -> None:
    finding = advice_finding(a_proposal(), Proof(reason="needs HypoPG"), DEFINITION, USE)
    assert finding.severity is Severity.INFO
    assert "Not proven: needs HypoPG." in finding.sentence
    assert "about 1,000,000 rows are read now, 200 at each look-up with it" in finding.sentence
    assert finding.commands == DEFINITION.create
    assert finding.undo == DEFINITION.drop


def test_a_proven_index_is_a_warning_with_both_costs() -> None:
    finding = advice_finding(a_proposal(), Proof(45_210.4, 12.2, beside=1), DEFINITION, USE)
    assert finding.severity is Severity.WARNING
    assert "from 45,210 to 12 (HypoPG, beside 1 other proposed index)" in finding.sentence


def test_no_literal_reaches_the_finding() -> None:
    finding = advice_finding(a_proposal(), Proof(reason="x"), DEFINITION, USE)
    assert "secret" not in str(finding.to_json())


@pytest.mark.parametrize(
    "text",
    ["SELECT 1; DROP TABLE t", "SELECT '\\'; --'", "SELECT $$;$$", "SELECT $a$ $a$", 'SELECT ";"'],
)
def test_a_text_that_could_be_two_statements_is_never_planned(text: str) -> None:
    assert not is_surely_one_statement(text)
    assert is_surely_one_statement('SELECT "a" FROM t WHERE b = $1 AND c = $12')


@pytest.mark.parametrize(
    ("shape", "fields", "condition"),
    [
        (btree("translator_id"), ["translator"], None),
        (
            IndexShape("btree", (IndexKey("title", True, True),), ("translator_id IS NULL",)),
            ["-title"],
            Q(translator__isnull=True),
        ),
        (IndexShape("gin", (IndexKey("title"),)), ["title"], None),
        (IndexShape("btree", (IndexKey("title", True, False),)), None, None),
        (IndexShape("gin", (IndexKey("title", operator_class="gin_trgm_ops"),)), None, None),
        (btree("lower(title)"), None, None),
        (btree("author_id"), None, None),  # declared by the field itself
        (btree("title", conditions=("NOT gone",)), None, None),
    ],
)
def test_a_model_declares_an_index_with_its_fields_where_it_can(
    shape: IndexShape, fields: list[str] | None, condition: Q | None
) -> None:
    books = table(
        "testapp_book", *(column(c) for c in ("id", "title", "author_id", "translator_id"))
    )
    index = index_of_model(Proposal(books, shape, ()), Book)
    assert (index.fields if index else None) == fields
    assert index is None or index.condition == condition


def test_values_of_a_list_come_in_no_common_order() -> None:
    (read,) = reads(
        "SELECT id FROM status WHERE user_id IN ($1, $2) ORDER BY published_date LIMIT $3"
    )
    both, alone = btree("user_id", "published_date"), btree("user_id")
    assert rows_looked_at(both, read) == rows_looked_at(alone, read)
    (one,) = reads("SELECT id FROM status WHERE user_id = $1 ORDER BY published_date LIMIT $3")
    assert rows_looked_at(both, one) < rows_looked_at(alone, one)
