"""Tables whose bloat is known after a rewrite: a fixed set, and as many as wanted from a seed.

Only text here. Sizes are a few megabytes: large enough for a percentage point to be some pages,
small enough for a rewrite of all of them to take seconds.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """One table: how it is made, filled, indexed and worn out.

    ``columns`` is the list of CREATE TABLE, ``fill`` the SELECT of its rows; ``indexes`` are what
    follows CREATE INDEX ON. In ``churn`` and ``indexes`` the table is written ``{t}``.
    """

    name: str
    columns: str
    fill: str
    indexes: tuple[str, ...] = ()
    churn: tuple[str, ...] = ()
    options: str = ""

    def statements(self) -> Iterator[str]:
        """Yield what makes the table, in order; nothing of it needs a transaction."""
        options = f" WITH ({self.options})" if self.options else ""
        yield f"CREATE TABLE {self.name} ({self.columns}){options}"
        for definition in self.indexes:
            yield f"CREATE {definition.format(t=self.name)}"
        yield f"INSERT INTO {self.name} {self.fill}"
        for statement in self.churn:
            yield statement.format(t=self.name)


_VACUUM_ANALYZE = "VACUUM ANALYZE {t}"
_ANALYZE = "ANALYZE {t}"

#: Each stands for a way in which estimates go wrong.
FIXED: tuple[Shape, ...] = (
    Shape(
        "narrow",
        "id int, n int",
        "SELECT i, i % 100 FROM generate_series(1, 160000) i",
        ("INDEX narrow_id ON {t} (id)", "INDEX narrow_n ON {t} (n)"),
        ("DELETE FROM {t} WHERE random() < 0.7", _VACUUM_ANALYZE),
    ),
    Shape(
        "unvacuumed",
        "id int, a smallint, b text, c bigint, d boolean, e timestamptz",
        "SELECT i, (i % 7)::smallint, repeat('x', i % 50), i, i % 2 = 0,"
        " '2026-01-01'::timestamptz + i * interval '1 minute' FROM generate_series(1, 70000) i",
        ("INDEX unvacuumed_ac ON {t} (a, c)", "INDEX unvacuumed_e ON {t} (e)"),
        ("DELETE FROM {t} WHERE random() < 0.6", _ANALYZE),
    ),
    Shape(
        "wide",
        "id int, body text",
        "SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 9000) i",
        ("INDEX wide_id ON {t} (id)",),
        ("DELETE FROM {t} WHERE id < 5000", _VACUUM_ANALYZE),
    ),
    Shape(
        "nulls",
        "id int, a int, b text, c int, d numeric",
        "SELECT i, nullif(i % 2, 0) * i, CASE WHEN i % 3 = 0 THEN 'word ' || i END, NULL,"
        " CASE WHEN i % 5 = 0 THEN i / 7.0 END FROM generate_series(1, 110000) i",
        ("INDEX nulls_a ON {t} (a)", "INDEX nulls_b ON {t} (b)"),
        ("DELETE FROM {t} WHERE random() < 0.5", _VACUUM_ANALYZE),
    ),
    Shape(
        "toasted",
        "id int, title text, body text",
        "SELECT i, 'title ' || i, (SELECT string_agg(md5((i * 1000 + j)::text), '')"
        " FROM generate_series(1, 80 + i % 150) j) FROM generate_series(1, 1600) i",
        (),
        (
            "UPDATE {t} SET body = md5(id::text) || body WHERE id % 5 < 2",
            "UPDATE {t} SET title = title || '!'",
            _VACUUM_ANALYZE,
        ),
    ),
    Shape(
        "few_values",
        "id int, status text, kind smallint",
        "SELECT i, (ARRAY['new', 'paid', 'sent', 'done', 'returned'])[1 + i % 5], i % 3"
        " FROM generate_series(1, 250000) i",
        ("INDEX few_values_status ON {t} (status)", "INDEX few_values_kind ON {t} (kind)"),
        ("DELETE FROM {t} WHERE random() < 0.55", _VACUUM_ANALYZE),
    ),
    Shape(
        "roomy",
        "id int PRIMARY KEY, n int, note text",
        "SELECT i, 0, md5(i::text) FROM generate_series(1, 60000) i",
        ("INDEX roomy_note ON {t} (note) WITH (fillfactor = 70)",),
        ("UPDATE {t} SET n = n + 1 WHERE random() < 0.4", _VACUUM_ANALYZE),
        "fillfactor = 70",
    ),
    Shape(
        "events",
        "tenant int, at timestamptz, kind text, amount numeric(12, 2)",
        "SELECT i % 40, '2026-01-01'::timestamptz + i * interval '10 seconds',"
        " 'kind ' || i % 12, (i % 9973) / 100.0 FROM generate_series(1, 90000) i",
        (
            "INDEX events_tenant_at ON {t} (tenant, at)",
            "INDEX events_kind_tenant ON {t} (kind, tenant)",
        ),
        ("DELETE FROM {t} WHERE at < '2026-01-05'", _VACUUM_ANALYZE),
    ),
    Shape(
        "random_keys",
        "key text, id int",
        "SELECT md5(i::text), i FROM generate_series(1, 80000) i",
        ("INDEX random_keys_key ON {t} (key)",),
        (_VACUUM_ANALYZE,),
    ),
    Shape(
        "ascending",
        "id bigint PRIMARY KEY, at timestamptz",
        "SELECT i, '2026-01-01'::timestamptz + i * interval '1 second'"
        " FROM generate_series(1, 140000) i",
        ("INDEX ascending_at ON {t} (at)",),
        (_ANALYZE,),
    ),
    Shape(
        "jobs",
        "id int, done boolean, payload text",
        "SELECT i, false, repeat('p', 20 + i % 30) FROM generate_series(1, 90000) i",
        ("INDEX jobs_open ON {t} (id) WHERE NOT done",),
        ("UPDATE {t} SET done = true WHERE random() < 0.5", _VACUUM_ANALYZE),
    ),
    Shape(
        "accounts",
        "id int, email text, name text",
        "SELECT i, 'Reader.' || i || '@Example.org', 'name ' || i % 500"
        " FROM generate_series(1, 80000) i",
        ("INDEX accounts_email ON {t} (lower(email))", "INDEX accounts_name ON {t} (name)"),
        ("DELETE FROM {t} WHERE id % 5 <> 0", _VACUUM_ANALYZE),
    ),
    Shape(
        "covered",
        "id int, code int, label text, flag boolean",
        "SELECT i, (i * 7919::bigint) % 1000003, 'label ' || i, i % 2 = 0"
        " FROM generate_series(1, 90000) i",
        ("UNIQUE INDEX covered_code ON {t} (code) INCLUDE (label)",),
        ("DELETE FROM {t} WHERE random() < 0.4", _VACUUM_ANALYZE),
    ),
    Shape(
        "uuids",
        "id uuid, n int",
        "SELECT md5(i::text)::uuid, i FROM generate_series(1, 110000) i",
        ("UNIQUE INDEX uuids_id ON {t} (id)",),
        ("DELETE FROM {t} WHERE random() < 0.3", _VACUUM_ANALYZE),
    ),
    Shape(
        "numbers",
        "n numeric, f float8, s smallint",
        "SELECT (i * 7919::bigint % 10007) / 8.0, i % 3000, i % 30000"
        " FROM generate_series(1, 110000) i",
        (
            "INDEX numbers_n ON {t} (n)",
            "INDEX numbers_f ON {t} (f)",
            "INDEX numbers_s ON {t} (s)",
        ),
        ("DELETE FROM {t} WHERE random() < 0.5", _VACUUM_ANALYZE),
    ),
    Shape(
        "stale",
        "id int, a int, label text",
        "SELECT i, i % 900, 'short ' || i FROM generate_series(1, 40000) i",
        ("INDEX stale_a ON {t} (a)", "INDEX stale_label ON {t} (label)"),
        (
            _ANALYZE,
            "INSERT INTO {t} SELECT i, i % 900, 'longer ' || i FROM generate_series(40001, 120000) i",
            "DELETE FROM {t} WHERE random() < 0.5",
        ),
    ),
    Shape(
        "counters",
        "id int PRIMARY KEY, hits int, label text",
        "SELECT i, 0, 'page ' || i FROM generate_series(1, 60000) i",
        (),
        (
            "UPDATE {t} SET hits = hits + 1 WHERE id % 3 = 0",
            "UPDATE {t} SET hits = hits + 1 WHERE id % 2 = 0",
            _ANALYZE,
        ),
    ),
    Shape(
        "documents",
        "id int, doc jsonb",
        "SELECT i, jsonb_build_object('id', i, 'title', md5(i::text), 'tags',"
        " jsonb_build_array('a' || i % 9, 'b' || i % 5)) FROM generate_series(1, 45000) i",
        ("INDEX documents_title ON {t} ((doc ->> 'title'))",),
        (
            "UPDATE {t} SET doc = doc || '{{\"seen\": true}}' WHERE id % 4 = 0",
            "DELETE FROM {t} WHERE id % 3 = 0",
            _VACUUM_ANALYZE,
        ),
    ),
    Shape(
        "references_by_chance",
        "id int, parent int, at date",
        "SELECT i, (30000 * random() ^ 3)::int, '2020-01-01'::date + (i % 2000)"
        " FROM generate_series(1, 120000) i",
        (
            "INDEX references_by_chance_parent ON {t} (parent)",
            "INDEX references_by_chance_at ON {t} (at)",
        ),
        ("DELETE FROM {t} WHERE random() < 0.35", _VACUUM_ANALYZE),
    ),
    Shape(
        "altered",
        "id int, gone text, kept text",
        "SELECT i, repeat('g', 40), 'kept ' || i FROM generate_series(1, 60000) i",
        ("INDEX altered_kept ON {t} (kept)",),
        (
            "ALTER TABLE {t} DROP COLUMN gone",
            "ALTER TABLE {t} ADD COLUMN level int DEFAULT 3",
            "DELETE FROM {t} WHERE random() < 0.25",
            _VACUUM_ANALYZE,
        ),
    ),
)

#: Type, mean bytes in a row, the expression of a value over row number ``i``.
_TYPES = (
    ("int", 4, "(i * {prime}::bigint % {distinct})::int"),
    ("bigint", 8, "i * {prime}::bigint % {distinct}"),
    ("smallint", 2, "(i * {prime}::bigint % least({distinct}, 30000))::smallint"),
    ("boolean", 1, "i % {prime} < {prime} / 2"),
    ("date", 4, "'2020-01-01'::date + (i % least({distinct}, 3000))::int"),
    ("timestamptz", 8, "'2026-01-01'::timestamptz + (i % {distinct}) * interval '7 seconds'"),
    ("uuid", 16, "md5((i % {distinct})::text)::uuid"),
    ("numeric", 9, "(i * {prime}::bigint % {distinct}) / 16.0"),
    ("float8", 8, "(i * {prime}::bigint % {distinct})::float8"),
    ("text", 12, "'value ' || i % {distinct}"),
    ("varchar(60)", 34, "md5((i % {distinct})::text)"),
    ("text", 90, "repeat(md5(i::text), 1 + i % 5)"),
)
_PRIMES = (3, 7, 101, 7919, 104729)
_TARGET_BYTES = (3_000_000, 8_000_000)
_ROW_OVERHEAD_BYTES = 32  # header, line pointer, some padding
#: Types whose values are always short, so that an index on them cannot be refused.
_INDEXABLE_BYTES = 40


def seeded(seed: str, count: int) -> tuple[Shape, ...]:
    """Return ``count`` tables of random columns, fill, wear and indexes; the same for one seed."""
    return tuple(_random_shape(random.Random(f"{seed}/{n}"), f"seeded_{n}") for n in range(count))


def _random_shape(rng: random.Random, name: str) -> Shape:
    kinds = [rng.choice(_TYPES) for _column in range(rng.randint(1, 7))]
    row_bytes = _ROW_OVERHEAD_BYTES + 4 + sum(kind[1] for kind in kinds)
    rows = rng.randint(*_TARGET_BYTES) // row_bytes
    columns, values = ["id int"], ["i"]
    for number, (type_name, _bytes, expression) in enumerate(kinds):
        columns.append(f"c{number} {type_name}")
        values.append(_value(rng, expression, rows))
    # In order of id, or in the random order in which references come.
    order = rng.choice(("", " ORDER BY random()"))
    return Shape(
        name,
        ", ".join(columns),
        f"SELECT {', '.join(values)} FROM generate_series(1, {rows}) i{order}",
        tuple(_random_indexes(rng, name, kinds)),
        tuple(_random_churn(rng, rows)),
        rng.choice(("", "", "fillfactor = 90", "fillfactor = 70")),
    )


def _value(rng: random.Random, expression: str, rows: int) -> str:
    distinct = rng.choice((5, 200, max(2, rows // 20), max(2, rows // 3), rows))
    value = expression.format(prime=rng.choice(_PRIMES), distinct=distinct)
    null_percent = rng.choice((0, 0, 0, 10, 50, 90))
    if null_percent == 0:
        return value
    return f"CASE WHEN random() >= {null_percent / 100} THEN {value} END"


def _random_indexes(
    rng: random.Random, name: str, kinds: list[tuple[str, int, str]]
) -> Iterator[str]:
    fill = rng.choice(("", "", "", " WITH (fillfactor = 75)"))
    unique = rng.choice(("", "UNIQUE "))
    yield f"{unique}INDEX {name}_id ON {{t}} (id){fill}"
    short = [f"c{n}" for n, kind in enumerate(kinds) if kind[1] <= _INDEXABLE_BYTES]
    if not short:
        return
    keys = rng.sample(short, min(len(short), rng.choice((1, 1, 1, 2, 3))))
    tail = rng.choice(("", "", "", " INCLUDE (id)", " WHERE id % 4 = 0"))
    yield f"INDEX {name}_keys ON {{t}} ({', '.join(keys)}){tail}"


def _random_churn(rng: random.Random, rows: int) -> Iterator[str]:
    stale = rng.random() < 0.15
    if stale:
        yield _ANALYZE
    percent = rng.randint(0, 90)
    some = f"random() < {percent / 100}"
    yield rng.choice(
        (
            f"DELETE FROM {{t}} WHERE {some}",
            f"DELETE FROM {{t}} WHERE {some}",
            f"DELETE FROM {{t}} WHERE id < {rows * percent // 100}",
            f"UPDATE {{t}} SET id = id WHERE {some}",
            f"UPDATE {{t}} SET id = id + {rows} WHERE {some}",
            "DELETE FROM {t} WHERE false",
        )
    )
    if not stale:
        yield rng.choice((_VACUUM_ANALYZE, _VACUUM_ANALYZE, _ANALYZE))
