-- Reads the whole btree. Leaf density counts entries of dead rows until VACUUM removes them.
SELECT
    index_size / 8192 AS pages,
    leaf_pages,
    -- NaN where there is no leaf.
    nullif(avg_leaf_density, 'NaN')::float8 AS leaf_density_percent
FROM {schema}.pgstatindex(%(oid)s::oid::regclass)
