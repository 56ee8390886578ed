"""Duplicate and redundant indexes of a real server, beside pairs that only look alike."""

from collections.abc import Callable
from dataclasses import replace

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.postgres.checks import run_analyses
from maintenance.postgres.indexes.options import RedundantIndexOptions
from maintenance.postgres.indexes.redundant import report_redundant_indexes
from tests.postgres_clients import ODD_NAME, Client, ask, narrow_role

ALL = RedundantIndexOptions(minimum_bytes=0)


def redundant(url: str, options: RedundantIndexOptions = ALL) -> Report:
    return report_redundant_indexes(Job("site", DatabaseTarget(url=url), options), Thresholds())


def pairs(report: Report) -> dict[str, str]:
    """Return which index is to go because of which other one, by their own names."""
    return {
        f.subject.rpartition(".")[2]: f.evidence["covered_by"].rpartition(".")[2]
        for f in report.findings
    }


#: What is made on the table t, and which index is to go because of which.
CASES = {
    "equal": ("CREATE INDEX i1 ON t (a); CREATE INDEX i2 ON t (a)", {"i2": "i1"}),
    "prefix": ("CREATE INDEX i1 ON t (a); CREATE INDEX i2 ON t (a, b)", {"i1": "i2"}),
    "second column": ("CREATE INDEX i1 ON t (b); CREATE INDEX i2 ON t (a, b)", {}),
    "columns 2 and 23": ("CREATE INDEX i1 ON t (b); CREATE INDEX i2 ON t (c23, c5)", {}),
    "descending": ("CREATE INDEX i1 ON t (a); CREATE INDEX i2 ON t (a DESC)", {}),
    "nulls first": ("CREATE INDEX i1 ON t (a); CREATE INDEX i2 ON t (a NULLS FIRST)", {}),
    "operator class": (
        "CREATE INDEX i1 ON t (s); CREATE INDEX i2 ON t (s varchar_pattern_ops)",
        {},
    ),
    "collation": ('CREATE INDEX i1 ON t (s); CREATE INDEX i2 ON t (s COLLATE "C")', {}),
    "predicate": ("CREATE INDEX i1 ON t (a) WHERE b > 1; CREATE INDEX i2 ON t (a)", {}),
    "equal predicates": (
        "CREATE INDEX i1 ON t (a) WHERE b > 1;   CREATE INDEX i2 ON t (a, b) WHERE (b) > 1",
        {"i1": "i2"},
    ),
    "equal expressions": (
        "CREATE INDEX i1 ON t (lower(s)); CREATE INDEX index_2 ON t (lower( s ), a)",
        {"i1": "index_2"},
    ),
    "expressions": ("CREATE INDEX i1 ON t (lower(s)); CREATE INDEX i2 ON t (upper(s))", {}),
    "hash beside btree": ("CREATE INDEX i1 ON t USING hash (a); CREATE INDEX i2 ON t (a)", {}),
    "equal hash": (
        "CREATE INDEX i1 ON t USING hash (a); CREATE INDEX i2 ON t USING hash (a)",
        {"i2": "i1"},
    ),
    "gin prefix": (
        "CREATE INDEX i1 ON t USING gin (l); CREATE INDEX i2 ON t USING gin (l, m)",
        {},
    ),
    "brin settings": (
        (
            "CREATE INDEX i1 ON t USING brin (a);"
            " CREATE INDEX i2 ON t USING brin (a) WITH (pages_per_range = 4)"
        ),
        {},
    ),
    "included": (
        "CREATE INDEX i1 ON t (a) INCLUDE (b); CREATE INDEX i2 ON t (a)",
        {"i2": "i1"},
    ),
    "included elsewhere": (
        "CREATE INDEX i1 ON t (a) INCLUDE (b); CREATE INDEX i2 ON t (a, c3)",
        {},
    ),
    "unique prefix": ("CREATE UNIQUE INDEX i1 ON t (a); CREATE INDEX i2 ON t (a, b)", {}),
    "unique": ("CREATE INDEX i1 ON t (a); CREATE UNIQUE INDEX i2 ON t (a)", {"i1": "i2"}),
    "constraint": (
        "CREATE UNIQUE INDEX i1 ON t (a); ALTER TABLE t ADD CONSTRAINT i2 UNIQUE (a)",
        {"i1": "i2"},
    ),
    "two constraints": ("ALTER TABLE t ADD UNIQUE (a), ADD UNIQUE (a, b), ADD PRIMARY KEY (a)", {}),
    "referenced": (
        (
            "CREATE UNIQUE INDEX i1 ON t (a); CREATE TABLE r (a int REFERENCES t (a));"
            " CREATE UNIQUE INDEX i2 ON t (a)"
        ),
        {"i2": "i1"},
    ),
    "clustered": (
        "CREATE INDEX i1 ON t (a); CREATE INDEX i2 ON t (a); ALTER TABLE t CLUSTER ON i2",
        {"i1": "i2"},
    ),
    "replica identity": (
        (
            "CREATE UNIQUE INDEX i1 ON t (c5); CREATE UNIQUE INDEX i2 ON t (c5);"
            " ALTER TABLE t REPLICA IDENTITY USING INDEX i2"
        ),
        {"i1": "i2"},
    ),
}


def build(url: str, case: str) -> None:
    """Make the table t and the indexes of a case, in a schema of that name."""
    columns = ", ".join(f"c{n} int" for n in range(3, 24) if n != 5)
    table = f"CREATE TABLE t (a int, b int, {columns}, s varchar(9), l int[], m int[])"
    schema = f'CREATE SCHEMA "{case}"; SET search_path = "{case}"'
    ask(url, f"{schema}; {table}; ALTER TABLE t ADD c5 int NOT NULL; {CASES[case][0]}")


def judged(report: Report, case: str) -> dict[str, str]:
    findings = (f for f in report.findings if f.subject.startswith((f'"{case}".', f"{case}.")))
    return pairs(replace(report, findings=tuple(findings)))


def test_each_pair_of_indexes_is_judged_by_all_that_it_is_made_of(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    for case in CASES:
        build(url, case)
    report = redundant(url)
    assert {case: judged(report, case) for case in CASES} == {c: e for c, (_, e) in CASES.items()}
    for finding in report.findings:
        ask(url, *finding.commands)
    assert redundant(url).findings == ()
    for finding in report.findings:
        ask(url, *finding.undo)
    again = redundant(url)
    for case, (_, expected) in CASES.items():
        # What was made again is the newer one, and goes where nothing else decides.
        assert sorted(judged(again, case)) in (sorted(expected), sorted(expected.values()))


def test_a_partitioned_index_is_dropped_and_made_again_on_the_parent(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    ask(url, "CREATE TABLE part (a int, b int) PARTITION BY RANGE (a)")
    ask(url, "CREATE TABLE low PARTITION OF part FOR VALUES FROM (0) TO (100)")
    ask(url, "CREATE TABLE high PARTITION OF part FOR VALUES FROM (100) TO (200)")
    ask(url, "CREATE INDEX narrow ON part (a); CREATE INDEX wide ON part (a, b)")
    report = redundant(url)
    assert pairs(report) == {"narrow": "wide"}
    (finding,) = report.findings
    ask(url, *finding.commands)
    assert redundant(url).findings == ()
    for statement in finding.undo:
        ask(url, statement)
    assert pairs(redundant(url)) == {"narrow": "wide"}


def test_a_small_index_is_left_out(make_database: Callable[[], str]) -> None:
    url = make_database()
    build(url, "equal")
    assert redundant(url).findings
    assert redundant(url, RedundantIndexOptions()).findings == ()


def test_odd_names_few_rights_and_a_locked_table(make_database: Callable[[], str]) -> None:
    url = make_database()
    quoted = '"' + ODD_NAME.replace('"', '""') + '"'
    other = '"' + ("X" + ODD_NAME[1:]).replace('"', '""') + '"'
    ask(url, f"CREATE SCHEMA {quoted}; CREATE TABLE {quoted}.{quoted} ({quoted} int)")
    ask(url, f"CREATE INDEX first ON {quoted}.{quoted} ({quoted}) WHERE {quoted} > 0")
    ask(url, f"CREATE INDEX {other} ON {quoted}.{quoted} ({quoted}) WHERE {quoted} > 0")
    with narrow_role(url) as narrow, Client(url) as client:
        client.run(f"BEGIN; LOCK TABLE {quoted}.{quoted}")
        (finding,) = redundant(narrow).findings
        assert finding.subject == f"{quoted}.{quoted}.{other}"
        assert finding.commands == ()
    (finding,) = redundant(url).findings
    for statement in (*finding.commands, *finding.undo):
        ask(url, statement)
    assert len(redundant(url).findings) == 1


def test_the_overview_has_what_nobody_asked_for_by_name(make_database: Callable[[], str]) -> None:
    target = DatabaseTarget(url=make_database())
    build(str(target.url), "equal")
    thresholds = Thresholds(redundant_index_minimum_bytes=0)

    def codes(*names: str) -> list[set[str]]:
        reports = run_analyses("site", target, names, thresholds)
        return [{finding.code for finding in report.findings} for report in reports]

    (alone,) = codes("indexes")
    assert "duplicate-index" in alone
    overview, asked_for = codes("indexes", "redundant-indexes")
    assert "duplicate-index" not in overview
    assert asked_for == {"duplicate-index"}
