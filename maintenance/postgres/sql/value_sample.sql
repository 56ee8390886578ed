-- How often the values of a column are met on random pages of its table, and some of them to ask the
-- planner about. The values stay in the server, as settings of this session: what comes back are counts.
-- Drawn are values beyond the most frequent ones, each the likelier the more rows have it, if it is met on
-- enough pages: rows of one page may have come together, and are no independent witnesses.
WITH met AS (
    SELECT p.value, sum(p.rows)::float8 AS rows, count(*) AS pages
    FROM (
        SELECT v.{column} AS value, (v.ctid::text::point)[0] AS page, count(*) AS rows
        FROM ONLY {schema}.{table} AS v
            TABLESAMPLE SYSTEM (%(sampled_percent)s) REPEATABLE (%(seed)s)
        GROUP BY 1, 2
    ) AS p
    GROUP BY p.value
),
ranked AS MATERIALIZED (
    SELECT m.value, m.rows, m.pages, row_number() OVER (ORDER BY m.rows DESC, m.value) AS rank
    FROM met AS m
    WHERE m.value IS NOT NULL
),
measurable AS (
    SELECT
        r.value,
        r.rank,
        r.rows,
        sum(r.rows) OVER (ORDER BY r.rank) AS rows_so_far,
        sum(r.rows) OVER () AS all_rows
    FROM ranked AS r
    WHERE r.rank > %(beyond)s
        AND r.pages >= %(least_pages)s
        -- ANALYZE takes no wider ones for common values (WIDTH_THRESHOLD).
        AND pg_column_size(r.value) <= 1024
),
weighed AS (
    SELECT
        m.value,
        m.rank,
        m.rows,
        floor(m.rows_so_far * %(probes)s / m.all_rows)
            - floor((m.rows_so_far - m.rows) * %(probes)s / m.all_rows) AS weight
    FROM measurable AS m
),
drawn AS (
    SELECT w.value, w.rows, w.weight, row_number() OVER (ORDER BY w.rank) AS number
    FROM weighed AS w
    WHERE w.weight > 0
),
kept AS MATERIALIZED (
    SELECT
        d.number,
        d.rows,
        d.weight,
        set_config('maintenance.probe_' || d.number, d.value::text, false) IS NOT NULL AS is_set
    FROM drawn AS d
)
SELECT
    (SELECT coalesce(sum(m.rows), 0) FROM met AS m) AS sampled_rows,
    ARRAY(SELECT ARRAY[k.rows, k.weight] FROM kept AS k WHERE k.is_set ORDER BY k.number) AS probes,
    ARRAY(
        SELECT ARRAY[
            t.target, coalesce(max(r.rows), 0), coalesce(sum(r.rows), 0), count(r.rows)::float8
        ]
        FROM unnest(%(targets)s::float8[]) AS t (target)
        LEFT JOIN ranked AS r ON r.rank > t.target
        GROUP BY t.target
        ORDER BY t.target
    ) AS rests
