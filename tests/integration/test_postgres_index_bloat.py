"""Index bloat against what REINDEX then gives back, where statistics mislead or are missing."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from psycopg2 import sql

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.errors import UnknownName
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.postgres.bloat.indexes import report_index_bloat
from maintenance.postgres.bloat.options import IndexBloatOptions
from tests.polling import eventually
from tests.postgres_clients import ODD_NAME, ask, narrow_role

SMALL = Thresholds(minimum_bloat_bytes=64 * 1024)


def index_report(url: str, state: Mapping[str, Any] | None = None, **options: Any) -> Report:
    job = Job(
        "site",
        DatabaseTarget(url=url),
        IndexBloatOptions(seed=3, **options),
        previous_state=state or {},
    )
    return report_index_bloat(job, SMALL)


def rows_of(report: Report) -> dict[str, dict[str, Any]]:
    table = report.tables[0]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return {row["index"]: row for row in rows}


def sizes(url: str) -> dict[str, int]:
    found = ask(
        url,
        "SELECT format('public.%s.%s', t.relname, c.relname), pg_relation_size(c.oid)"
        " FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_class t ON t.oid = indrelid"
        " WHERE c.relnamespace = 'public'::regnamespace",
    )
    return dict(found)


def truths(url: str, *tables: str) -> dict[str, float]:
    """Return the share of each index that REINDEX gives back."""
    before = sizes(url)
    for table in tables:
        ask(url, sql.SQL("REINDEX TABLE {}").format(sql.Identifier(table)))
    after = sizes(url)
    return {name: 1 - after[name] / size for name, size in before.items()}


def quietly(url: str, name: str, columns: str) -> None:
    """Create a table that nobody vacuums or analyzes behind the test's back."""
    table = sql.Identifier(name)
    ask(url, sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(columns)))
    ask(url, sql.SQL("ALTER TABLE {} SET (autovacuum_enabled = off)").format(table))


def test_stale_statistics_and_unvacuumed_deletes_do_not_mislead(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    quietly(url, "orders", "id int, owner int, low int, word text, spare int, half int, nick text")
    for definition in (
        "UNIQUE INDEX o_id ON orders (id)",
        "INDEX o_owner ON orders (owner)",
        "INDEX o_low ON orders (low)",
        "INDEX o_both ON orders (low, owner)",
        "INDEX o_word ON orders (word text_pattern_ops)",
        "INDEX o_lower ON orders (lower(word))",
        "INDEX o_covering ON orders (id) INCLUDE (owner)",
        "INDEX o_few ON orders (id) WHERE low = 3",
        "INDEX o_loose ON orders (id) WITH (fillfactor = 60)",
        "INDEX o_plain ON orders (low) WITH (deduplicate_items = off)",
        "INDEX o_null ON orders (spare)",
        "INDEX o_nulls ON orders (half, owner)",
        "INDEX o_some ON orders (nick)",
    ):
        ask(url, f"CREATE {definition}")
    ask(
        url,
        "INSERT INTO orders SELECT i, (random() * 15000)::int, i % 7, repeat('w', i % 30) || i,"
        " CASE WHEN random() < 0.3 THEN i END, CASE WHEN i % 2 = 0 THEN i % 5 END, CASE WHEN i % 3 = 0 THEN 'word' || i % 99 END FROM generate_series(1, 40000) i",
    )
    ask(url, "ANALYZE orders")
    ask(url, "DELETE FROM orders WHERE random() < 0.7")

    rows = rows_of(index_report(url))
    truth = truths(url, "orders")

    assert set(rows) == set(truth)
    errors = {name: abs(row["bloat_ratio"] - truth[name]) for name, row in rows.items()}
    assert max(errors.values()) < 0.04, errors
    assert sum(errors.values()) / len(errors) < 0.01, errors
    covered = [row["low_ratio"] <= truth[name] <= row["high_ratio"] for name, row in rows.items()]
    assert sum(covered) >= len(covered) - 1


def test_indexes_nobody_analyzed_are_measured_by_their_rows(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    quietly(url, ODD_NAME, 'id int, "Own%er" int')
    table = sql.Identifier(ODD_NAME)
    name = sql.Identifier(ODD_NAME[:20] + "%s i")
    ask(url, sql.SQL('CREATE INDEX {} ON {} ("Own%er")').format(name, table))
    fill = "INSERT INTO {} SELECT i, i / 4 FROM generate_series(1, 100000) i"
    ask(url, sql.SQL(fill).format(table))
    ask(url, sql.SQL("DELETE FROM {} WHERE id % 5 <> 0").format(table))

    report = index_report(url)
    rows = rows_of(report)
    subject = f"public.{ODD_NAME}.{ODD_NAME[:20]}%s i"
    truth = truths(url, ODD_NAME)[subject]

    assert rows[subject]["measured_by"] == "sampled rows"
    assert rows[subject]["bloat_ratio"] == pytest.approx(truth, abs=0.03)
    assert (
        report.findings[0].commands[0].startswith('REINDEX INDEX CONCURRENTLY "public"."Odd ""na')
    )


def test_what_somebody_wrote_is_never_called(make_database: Callable[[], str]) -> None:
    url = make_database()
    ask(
        url,
        "CREATE FUNCTION trap(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM set_config('test.trapped', 'yes', false);"
        " IF current_setting('application_name') LIKE 'maintenance:%' THEN"
        " RAISE EXCEPTION 'called by maintenance'; END IF; RETURN i % 100; END $$",
    )
    quietly(url, "trapped", "id int")
    ask(url, "INSERT INTO trapped SELECT generate_series(1, 60000)")
    ask(url, "CREATE INDEX t_expression ON trapped (trap(id))")
    ask(url, "CREATE INDEX t_partial ON trapped (id) WHERE public.trap(id) > 50")
    without = index_report(url)
    ask(url, "ANALYZE trapped")
    rows = rows_of(index_report(url))

    assert "needs ANALYZE public.trapped" in without.findings[0].sentence
    assert {row["measured_by"] for row in rows.values()} == {"statistics of ANALYZE"}
    assert all(row["bloat_ratio"] < 0.1 for row in rows.values())


def test_long_values_are_withheld_until_the_index_itself_is_read(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    quietly(url, "pages", "body text")
    ask(url, "CREATE INDEX p_body ON pages (body)")
    ask(
        url,
        "INSERT INTO pages SELECT repeat(md5(i::text), 20) FROM generate_series(1, 20000) i",
    )
    estimated = index_report(url)
    ask(url, "CREATE EXTENSION pgstattuple")
    exact = rows_of(index_report(url, exact=True))["public.pages.p_body"]
    truth = truths(url, "pages")["public.pages.p_body"]

    assert "compresses values of more than 508 bytes" in estimated.findings[0].sentence
    assert not estimated.findings[0].measured
    assert exact["measured_by"] == "the whole index"
    assert exact["bloat_ratio"] == pytest.approx(truth, abs=0.06)


def test_the_exact_mode_leaves_dead_rows_to_the_model(make_database: Callable[[], str]) -> None:
    url = make_database()
    quietly(url, "vacuumed", "id int")
    quietly(url, "dead", "id int")
    for table in ("vacuumed", "dead"):
        ask(url, f"CREATE INDEX {table}_id ON {table} (id)")
        ask(url, f"INSERT INTO {table} SELECT generate_series(1, 60000)")
        ask(url, f"DELETE FROM {table} WHERE id % 4 <> 0")
    ask(url, "VACUUM vacuumed")
    needs = index_report(url, exact=True)
    ask(url, "CREATE EXTENSION pgstattuple")
    rows = rows_of(index_report(url, exact=True))
    truth = truths(url, "vacuumed", "dead")

    assert any("CREATE EXTENSION pgstattuple" in finding.sentence for finding in needs.findings)
    assert rows["public.vacuumed.vacuumed_id"]["measured_by"] == "the whole index"
    # Its leaves are full of entries of dead rows.
    assert rows["public.dead.dead_id"]["measured_by"] == "sampled rows"
    for name, row in rows.items():
        assert row["bloat_ratio"] == pytest.approx(truth[name], abs=0.02), name


def test_other_access_methods_are_compared_with_their_size_after_a_rebuild(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    quietly(url, "tagged", "id int, tags int[], spot point")
    ask(
        url,
        "INSERT INTO tagged SELECT i, ARRAY[i % 500, i % 300], point(i, i)"
        " FROM generate_series(1, 30000) i",
    )
    ask(url, "CREATE INDEX t_gist ON tagged USING gist (spot)")
    ask(url, "CREATE INDEX t_hash ON tagged USING hash (id)")
    first = index_report(url)
    ask(url, "UPDATE tagged SET spot = point(id + 1, id), id = id + 100000")
    second = index_report(url, first.state)
    before = sizes(url)
    # REINDEX alone makes a hash index for as many rows as the dead ones would be.
    ask(url, "VACUUM FULL tagged")
    after = sizes(url)
    third = index_report(url, second.state)

    assert not rows_of(first)
    assert "the next review" in first.findings[0].sentence
    grown = rows_of(second)
    assert {row["measured_by"] for row in grown.values()} == {"its smallest size a row so far"}
    for name, row in grown.items():
        truth = 1 - after[name] / before[name]
        assert row["bloat_ratio"] == pytest.approx(truth, abs=0.06), name
    assert not rows_of(third)  # new files, whose sizes are new baselines
    assert all(
        row["bloat_ratio"] < 0.02 for row in rows_of(index_report(url, third.state)).values()
    )


def test_only_the_named_indexes_are_measured(make_database: Callable[[], str]) -> None:
    url = make_database()
    ask(url, "CREATE TABLE small AS SELECT generate_series(1, 10) AS i")
    ask(url, "CREATE INDEX small_i ON small (i)")
    ask(url, "CREATE INDEX other_i ON small (i)")

    assert set(rows_of(index_report(url, indexes=("small_i",)))) == {"public.small.small_i"}
    with pytest.raises(UnknownName, match=r"public\.small_i"):
        index_report(url, indexes=("smal_i",))


def scans(url: str) -> dict[str, int]:
    """Return the scans of each index; a session adds its own as it ends."""
    ours = "SELECT FROM pg_stat_activity WHERE application_name LIKE 'maintenance:%%'"
    eventually(lambda: ask(url, ours) == [], seconds=20, what="the end of our sessions")
    return dict(ask(url, "SELECT indexrelname, idx_scan FROM pg_stat_user_indexes"))


def shared_keys(url: str) -> None:
    """An index whose keys are shared by some rows each: to know how many, they are looked up."""
    quietly(url, "shared", "id int, owner int")
    ask(url, "INSERT INTO shared SELECT i, i / 20 FROM generate_series(1, 60000) i")
    ask(url, "CREATE INDEX shared_owner ON shared (owner)")
    ask(url, "ANALYZE shared")


def test_an_index_that_only_we_read_stays_unread(make_database: Callable[[], str]) -> None:
    url = make_database()
    shared_keys(url)

    row = rows_of(index_report(url))["public.shared.shared_owner"]

    assert row["measured_by"] == "sampled rows"
    assert scans(url) == {"shared_owner": 0}


def test_a_role_whose_reads_are_counted_reads_no_unread_index(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    shared_keys(url)
    with narrow_role(url, "pg_monitor", "pg_read_all_data") as narrow:
        unread = rows_of(index_report(narrow))["public.shared.shared_owner"]
        assert scans(url) == {"shared_owner": 0}
        ask(url, "SET enable_seqscan = off; SELECT * FROM shared WHERE owner = 7")
        eventually(lambda: scans(url) == {"shared_owner": 1}, seconds=20, what="the scan counts")
        read = rows_of(index_report(narrow))["public.shared.shared_owner"]

    assert unread["measured_by"] == "statistics of ANALYZE"
    assert read["measured_by"] == "sampled rows"
    assert unread["bloat_ratio"] == pytest.approx(read["bloat_ratio"], abs=0.05)


def test_a_read_index_is_not_looked_up_through_an_unread_one(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    quietly(url, "pairs", "a int, b int, c text")
    ask(
        url,
        "INSERT INTO pairs SELECT i / 20 * 7 % 3001, i / 20, repeat('x', 40)"
        " FROM generate_series(1, 60000) i",
    )
    for name, columns in (("used", "b, a"), ("twin", "a, b"), ("other", "a"), ("lone", "c, a, b")):
        ask(url, f"CREATE INDEX {name} ON pairs ({columns})")
    ask(url, "ANALYZE pairs")
    ask(url, "SET enable_seqscan = off; SELECT a, b FROM pairs ORDER BY b, a LIMIT 5")
    before = {"used": 1, "twin": 0, "other": 0, "lone": 0}
    eventually(lambda: scans(url) == before, seconds=20, what="the scan counts")

    with narrow_role(url, "pg_monitor", "pg_read_all_data") as narrow:
        assert len(rows_of(index_report(narrow))) == len(before)
        assert {name for name, count in scans(url).items() if not count} == {
            "twin",
            "other",
            "lone",
        }
