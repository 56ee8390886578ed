-- How far the commands of our own sessions are. Pages where the server counts pages, else what it counts.
SELECT
    v.pid,
    'vacuum: ' || v.phase AS phase,
    v.heap_blks_scanned AS done,
    v.heap_blks_total AS total,
    'pages' AS unit
FROM pg_stat_progress_vacuum AS v
WHERE v.pid = ANY (%(ours)s::int[])
UNION ALL
SELECT n.pid, 'analyze: ' || n.phase, n.sample_blks_scanned, n.sample_blks_total, 'pages'
FROM pg_stat_progress_analyze AS n
WHERE n.pid = ANY (%(ours)s::int[])
UNION ALL
SELECT
    i.pid,
    lower(i.command) || ': ' || i.phase,
    CASE WHEN i.lockers_total > 0 THEN i.lockers_done
        WHEN i.blocks_total > 0 THEN i.blocks_done ELSE i.tuples_done END,
    CASE WHEN i.lockers_total > 0 THEN i.lockers_total
        WHEN i.blocks_total > 0 THEN i.blocks_total ELSE i.tuples_total END,
    CASE WHEN i.lockers_total > 0 THEN 'sessions'
        WHEN i.blocks_total > 0 THEN 'pages' ELSE 'rows' END
FROM pg_stat_progress_create_index AS i
WHERE i.pid = ANY (%(ours)s::int[])
UNION ALL
SELECT c.pid, lower(c.command) || ': ' || c.phase, c.heap_blks_scanned, c.heap_blks_total, 'pages'
FROM pg_stat_progress_cluster AS c
WHERE c.pid = ANY (%(ours)s::int[])
